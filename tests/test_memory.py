"""A map that does not fit in memory is made in smaller passes, and says so only where nothing is small enough."""

from __future__ import annotations

import contextlib
import gc
import weakref

import numpy as np
import pytest
import torch

from mllm_widgets.errors import TraceError
from mllm_widgets.tracing import EmbeddingNoise, engine, passes, prepare_trace, run_trace, suffix

from .random_llava import random_question, random_vlm
from .test_interrupts import StateOfModel, another_thread_gets_the_lock

TOLERANCE = 1e-5
CPU_MESSAGE = (
    "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."
)
ERRORS = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), RuntimeError(CPU_MESSAGE)]


@pytest.fixture
def setup():
    return prepare_trace(random_vlm(), random_question(), corruption="Taj Mahal")


@contextlib.contextmanager
def room_for(setup, cells, error=ERRORS[0]):
    """Memory for that many cells in a pass; gives the number of cells of each pass tried."""
    tried = []

    def hook(_module, given):
        count = given[0].shape[0] * given[0].shape[1]  # rows of a batch, or copies in a sequence: one position of each
        tried.append(count)
        if count > cells:
            raise error

    with setup.vlm.model.lm_head.register_forward_pre_hook(hook):
        yield tried


@pytest.fixture(params=["packed", "rows"])
def way(request, monkeypatch):
    if request.param == "rows":
        monkeypatch.setattr(suffix, "MASKED_ATTENTION", ())
    return request.param


@pytest.mark.parametrize("error", ERRORS, ids=["GPU", "CPU"])
def test_a_pass_that_does_not_fit_is_halved(setup, way, error):
    wanted = run_trace(setup).restored
    before = StateOfModel(setup.vlm)
    seen = []
    with room_for(setup, 7, error) as tried:
        restored = run_trace(setup, on_cells=seen.append).restored
    assert np.abs(restored - wanted).max() <= TOLERANCE
    assert tried[0] > 7
    assert tried[1] == tried[0] // 2
    assert sum(count for count in tried if count <= 7) == seen[-1].total  # nothing is left out, or done twice
    assert sum(count > 7 for count in tried) <= 6
    assert StateOfModel(setup.vlm) == before
    assert another_thread_gets_the_lock(setup.vlm)


def test_the_size_that_fitted_is_kept_for_the_next_map(setup):
    with room_for(setup, 7):
        run_trace(setup)
    with room_for(setup, 7) as tried:
        run_trace(setup, window=3)
    assert max(tried) <= 7
    with room_for(setup, 100) as tried:  # other runs may need less
        run_trace(prepare_trace(setup.vlm, random_question(), corruption="that box near Paris"))
    assert max(tried) > 7


def test_what_does_not_fit_in_the_smallest_pass_is_raised(setup):
    run_trace(setup)
    with room_for(setup, 0) as tried, pytest.raises(torch.OutOfMemoryError):
        run_trace(setup)
    assert tried[-1] == 1
    with room_for(setup, 10_000) as tried:
        run_trace(setup)
    assert max(tried) > 1  # nothing fitted, so no size was kept


def test_other_errors_are_not_taken_for_it(setup):
    run_trace(setup)
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with room_for(setup, 7, error) as tried, pytest.raises(RuntimeError, match="mat1"):
        run_trace(setup)
    assert len(tried) == 1


def test_passes_are_as_wide_as_free_memory_allows(setup, way, monkeypatch):
    cells = engine.order_cells(setup, 2)
    wide = passes.pass_size(setup, cells, 30, 96)
    one = passes.packed_bytes(setup, 64) if way == "packed" else 3 * passes.row_bytes(setup)
    monkeypatch.setattr(passes, "free_bytes", lambda _device: int(one / passes.MEMORY_SHARE))
    narrow = passes.pass_size(setup, cells, 30, 96)
    assert 1 <= narrow < wide
    if way == "rows":
        assert narrow == 3
    monkeypatch.setattr(passes, "free_bytes", lambda _device: 0)
    assert passes.pass_size(setup, cells, 30, 96) >= 1


def test_the_first_of_several_passes_is_small(setup, way, monkeypatch):
    monkeypatch.setattr(passes, "token_budget", lambda *_: 10_000)
    seen = []
    run_trace(setup, on_cells=seen.append)
    first, *others = [len(cells.layer) for cells in seen]
    assert first == passes.FIRST_CELLS
    assert max(others) == 96
    axis = np.array(setup.text_positions)
    assert set(axis[seen[0].token]) <= {*setup.encoded.constraint, axis[-1]}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_reported(setup, value):
    run_trace(setup)

    def spoil(_module, _given, output):
        output[0, -1, 0] = value

    seen = []
    with (
        setup.vlm.model.lm_head.register_forward_hook(spoil),
        pytest.raises(TraceError, match=r"1 of \d+ .* not finite"),
    ):
        run_trace(setup, on_cells=seen.append)
    assert not seen


@pytest.mark.parametrize("corruption", ["Taj Mahal", EmbeddingNoise(draws=2)], ids=["one draw", "two draws"])
def test_runs_are_given_back_as_soon_as_nobody_holds_them(corruption):
    """Not at the next garbage collection: on a GPU they may be gigabytes."""
    vlm = random_vlm()
    gc.collect()
    gc.disable()
    try:
        setup = prepare_trace(vlm, random_question(), corruption=corruption)
        trace = run_trace(setup, modules="residual", sever="mlp")
        kept = [weakref.ref(setup), weakref.ref(setup.continuation), weakref.ref(setup.clean_outputs["mlp"])]
        numbers = trace.without_runs()
        assert all(one() is not None for one in kept)
        del setup, trace
        assert [one() for one in kept] == [None] * 3
    finally:
        gc.enable()
    assert numbers.restored.size


def test_many_draws_are_prepared_in_smaller_passes_where_memory_runs_out(setup):
    noise = EmbeddingNoise(draws=7)
    wanted = prepare_trace(setup.vlm, random_question(), corruption=noise)
    with room_for(setup, 3) as tried:
        found = prepare_trace(setup.vlm, random_question(), corruption=noise)
    assert tried == [1, 1, 7, 3, 3, 1]  # the clean run, the same continued, and the draws
    assert abs(found.corrupted - wanted.corrupted) <= TOLERANCE
    with room_for(setup, 0), pytest.raises(torch.OutOfMemoryError):
        prepare_trace(setup.vlm, random_question(), corruption=noise)

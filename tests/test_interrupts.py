"""Whatever stops a trace, or runs beside it, the model is afterwards as it was before."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.tracing import PixelNoise

from .random_llava import random_question, random_vlm

# which forward pass of a trace is hit; the fourth is of copies with nothing restored
CLEAN, CONTINUED, CORRUPTED, FIRST_CELLS, LATER_CELLS = 1, 2, 3, 5, 6
BATCH = 60  # so that a map takes several passes


class StateOfModel:
    """Everything a trace must leave alone; two of these are equal if nothing changed."""

    def __init__(self, vlm):
        modules = list(vlm.model.modules())
        self.hooks = [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), m.training) for m in modules
        ]
        self.grad = [torch.is_grad_enabled(), torch.is_inference_mode_enabled()]
        self.requires_grad = [p.requires_grad for p in vlm.model.parameters()]
        training = [m for m in modules if m.training]
        vlm.model.eval()
        with torch.no_grad():
            logits = vlm.model(**vlm.encode(random_question()).inputs).logits
        for module in training:
            module.training = True
        self.logits = logits.numpy().tobytes()

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


def trace(vlm, corruption: Any = "Taj Mahal", **more: Any):
    return mw.causal_trace(vlm, random_question(), corruption=corruption, batch_size=BATCH, **more)


def another_thread_gets_the_lock(vlm) -> bool:
    got = []

    def take():
        if vlm.lock.acquire(timeout=2):
            vlm.lock.release()
            got.append(True)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return bool(got)


@contextlib.contextmanager
def during(vlm, layer, call, action):
    """Run `action` in the forward pass number `call`, right after a layer's attention."""
    calls = 0

    def hook(*_):
        nonlocal calls
        calls += 1
        if calls == call:
            action()

    with vlm.layers[layer].self_attn.register_forward_hook(hook):
        yield
    assert calls >= call, "the hook was never reached"


def interrupt():
    signal.raise_signal(signal.SIGINT)


def run_out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture(autouse=True)
def interrupts_are_heard():
    """A shell that starts the tests in the background may have told them to ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def vlm():
    """A model in training mode, as someone who fine-tunes has it, with one part that is not."""
    vlm = random_vlm()
    vlm.model.train()
    vlm.layers[1].mlp.eval()
    yield vlm
    vlm.model.eval()


@pytest.mark.parametrize("layer", [3, 5])
@pytest.mark.parametrize(
    ("call", "action", "error"),
    [(call, interrupt, KeyboardInterrupt) for call in (CLEAN, CONTINUED, CORRUPTED, FIRST_CELLS, LATER_CELLS)]
    # later passes are halved: test_memory.py
    + [(call, run_out_of_memory, torch.OutOfMemoryError) for call in (CLEAN, CONTINUED, CORRUPTED)],
)
def test_a_stopped_trace_leaves_nothing_behind(vlm, layer, call, action, error):
    wanted = trace(vlm)
    before = StateOfModel(vlm)
    with during(vlm, layer, call, action), pytest.raises(error):
        trace(vlm)
    assert StateOfModel(vlm) == before
    assert another_thread_gets_the_lock(vlm)
    interleaver = vlm.nnsight.interleaver
    assert not any((interleaver.interleaving, interleaver.mediators, interleaver.batcher))
    assert np.array_equal(trace(vlm).restored, wanted.restored)


MANNERS: dict[str, dict[str, Any]] = {
    "words": {},
    "pictures and groups": {"corruption": PixelNoise(draws=2, sigma=0.1), "groups": ["visual"], "modules": "mlp"},
    "a severed target": {"target": "a red hammer", "sever": "mlp", "modules": "residual"},
}


@pytest.mark.parametrize("manner", list(MANNERS))
def test_interrupts_at_any_moment_leave_nothing_behind(vlm, manner):
    """A timer's signal lands anywhere: in nnsight, in the stored keys, in the tokenizer, between two passes."""
    how = MANNERS[manner]
    begin = time.perf_counter()
    wanted = trace(vlm, **how)
    whole = time.perf_counter() - begin
    before = StateOfModel(vlm)
    stopped = 0

    def fire(*_):
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGALRM, fire)
    try:
        for moment in np.linspace(0.001, 0.8 * whole, 20):
            try:
                signal.setitimer(signal.ITIMER_REAL, moment)
                trace(vlm, **how)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                stopped += 1
            assert another_thread_gets_the_lock(vlm)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
    assert stopped >= 5
    assert StateOfModel(vlm) == before
    again = trace(vlm, **how)
    assert np.array_equal(again.restored, wanted.restored)
    assert again.groups == wanted.groups
    if wanted.group_restored is not None:
        assert again.group_restored is not None
        assert np.array_equal(again.group_restored, wanted.group_restored)


def test_a_trace_stopped_while_another_picture_is_looked_at_leaves_nothing_behind(vlm):
    """Its vision tower runs, its decoder does not."""
    corruption = PixelNoise(draws=2, sigma=0.1)
    wanted = trace(vlm, corruption)
    for action, error in ((interrupt, KeyboardInterrupt), (run_out_of_memory, torch.OutOfMemoryError)):
        before, calls = StateOfModel(vlm), []

        def hook(*_, calls=calls, action=action):
            calls.append(1)
            if len(calls) == 3:  # the clean picture, the first draw, the second
                action()

        with vlm.model.model.vision_tower.register_forward_hook(hook), pytest.raises(error):
            trace(vlm, corruption)
        assert len(calls) == 3
        assert StateOfModel(vlm) == before
        assert another_thread_gets_the_lock(vlm)
        assert not any((vlm.nnsight.interleaver.interleaving, vlm.nnsight.interleaver.mediators))
        assert np.array_equal(trace(vlm, corruption).restored, wanted.restored)


def test_an_interrupt_while_training_mode_comes_back_is_raised_after(vlm, monkeypatch):
    """Half the model in evaluation mode would be a silent change of what is trained next."""
    before = StateOfModel(vlm)
    kind = type(vlm.layers[2])
    plain = torch.nn.Module.__setattr__
    fired = []

    def set_attribute(self, name, value):
        if name == "training" and value and isinstance(self, kind) and not fired:
            fired.append(True)
            interrupt()
        plain(self, name, value)

    with pytest.raises(KeyboardInterrupt), vlm.running():
        monkeypatch.setattr(torch.nn.Module, "__setattr__", set_attribute)
    monkeypatch.undo()
    assert fired
    assert StateOfModel(vlm) == before
    assert another_thread_gets_the_lock(vlm)


def in_threads(*works):
    results: list[Any] = [None] * len(works)
    errors = []
    gate = threading.Barrier(len(works))

    def run(index, work):
        try:
            gate.wait(10)
            results[index] = work()
        except BaseException as error:  # noqa: BLE001 - reported by the test
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    return results


def test_two_threads_on_one_model_are_served_in_turn():
    vlm = random_vlm()
    inside, most = 0, 0

    def enter(*_):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)

    def leave(*_):
        nonlocal inside
        inside -= 1

    phrases = ("Taj Mahal", "that red box")
    wanted = [trace(vlm, phrase).restored for phrase in phrases]
    assert not np.allclose(wanted[0], wanted[1], atol=1e-3)
    with vlm.model.register_forward_pre_hook(enter), vlm.model.register_forward_hook(leave):
        got = in_threads(*(lambda phrase=phrase: trace(vlm, phrase).restored for phrase in phrases * 2))
    assert most == 1
    for restored, right in zip(got, wanted * 2, strict=True):
        assert np.array_equal(restored, right)


def test_one_model_loaded_twice_has_one_lock():
    """Two VLMs of one model (two templates, say) run the same modules."""
    vlm = random_vlm()
    again = mw.load(vlm.model, vlm.processor, template="{image} Q: {question} A:")
    assert again.lock is vlm.lock
    wanted = [trace(vlm).restored, trace(again).restored]
    got = in_threads(*(lambda one=one: trace(one).restored for one in (vlm, again, vlm, again)))
    for restored, right in zip(got, wanted * 2, strict=True):
        assert np.array_equal(restored, right)


def test_two_models_may_be_traced_at_once():
    one, other = random_vlm(), random_vlm("{image}{question}?")
    assert one.lock is not other.lock
    wanted = [trace(one).restored, trace(other).restored]
    got = in_threads(*(lambda vlm=vlm: trace(vlm).restored for vlm in (one, other, one, other)))
    for restored, right in zip(got, wanted * 2, strict=True):
        assert np.array_equal(restored, right)

"""Packed passes, with each saving on and off: against the plain-hook reference, and against rows of a batch."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.tracing import engine, packing, prepare_trace, suffix
from mllm_widgets.tracing.packing import Layout, Shortcuts, corrupted_run, run_packed

from .families import random_qwen
from .random_llava import random_question, random_vlm
from .reference import MODULES, recorded, reference_cell

TOLERANCE = 1e-5  # between two orders of the same float32 sums
MODES = [Shortcuts(False), *(Shortcuts(True, *on) for on in itertools.product((True, False), repeat=3))]


@pytest.fixture(scope="module")
def setup():
    return prepare_trace(random_vlm(), random_question(), corruption="Taj Mahal")


def some_cells(setup, modules, count, seed=0):
    """Cells drawn at random, so that a pass mixes tokens and layers."""
    cells = engine.order_cells(setup, len(modules))
    drawn = np.random.default_rng(seed).permutation(len(cells))[:count]
    return engine.Cells(cells.module[drawn], cells.layer[drawn], cells.position[drawn])


def run(setup, modules, window, shortcuts, count=40):
    """(cells, their restored probabilities) of one pass."""
    cells = some_cells(setup, modules, count)
    with setup.vlm.running():
        return cells, engine.restored_scores(setup, modules, cells, window, shortcuts)


def reference(setup, modules, cells, window):
    layers = len(setup.vlm.layers)
    clean = recorded(setup.vlm, setup.encoded.inputs)
    return np.array(
        [
            reference_cell(
                setup.vlm, setup, modules[m], engine.window_layers(int(layer), window, layers), int(p), clean
            )
            for m, layer, p in zip(cells.module, cells.layer, cells.position, strict=True)
        ]
    )


@pytest.fixture(scope="module")
def wanted(setup):
    return functools.cache(lambda window: reference(setup, MODULES, some_cells(setup, MODULES, 40), window))


@pytest.mark.parametrize("shortcuts", MODES, ids=str)
@pytest.mark.parametrize("window", [1, 3, 5])
def test_every_mode_gives_the_reference(setup, wanted, window, shortcuts):
    restored = run(setup, MODULES, window, shortcuts)[1]
    assert is_packed(setup)  # or rows would be compared
    assert wanted(window).std() > 0.02  # a flat map would agree with anything
    assert np.abs(restored - wanted(window)).max() <= TOLERANCE


@pytest.mark.parametrize("window", [1, 3, 5])
def test_the_demo_packed_gives_the_reference(window):
    setup = prepare_trace(mw.load(), mw.datasets.demo_question("Eiffel Tower", "city"), corruption="Taj Mahal")
    cells, restored = run(setup, MODULES, window, packing.ALL)
    assert is_packed(setup)
    right = reference(setup, MODULES, cells, window)
    assert np.ptp(right) > 0.9
    assert np.abs(restored - right).max() <= TOLERANCE


def is_packed(setup):
    with setup.vlm.running():
        return corrupted_run(setup) is not None


def stored_run(setup):
    with setup.vlm.running():
        stored = corrupted_run(setup)
    assert stored is not None
    return stored


def test_the_residual_stream_is_restored_packed_as_in_rows(setup):
    packed, rows = (run(setup, ("residual", "mlp"), 2, mode, count=80)[1] for mode in (packing.ALL, MODES[0]))
    assert np.abs(packed - setup.corrupted).max() > 0.1
    assert np.abs(packed - rows).max() <= TOLERANCE


def layers_run(setup, shortcuts, cells):
    """How often each layer runs, and on how many tokens, in one pass."""
    seen = {}
    handles = [
        layer.mlp.register_forward_hook(lambda _m, given, _o, i=i: seen.update({i: given[0].shape[:2]}))
        for i, layer in enumerate(setup.vlm.layers)
    ]
    kept = []
    handles.append(setup.vlm.model.lm_head.register_forward_hook(lambda _m, given, _o: kept.append(given[0].shape[1])))
    try:
        with setup.vlm.running():
            engine.restored_scores(setup, ("mlp",), cells, 1, shortcuts)
    finally:
        for handle in handles:
            handle.remove()
    return seen, kept


def test_each_saving_saves(setup):
    """What is exact whether it is on or off must be seen to be on: layers run, tokens in them, logits made."""
    end = setup.text_positions[-1]
    cells = engine.Cells(np.array([0, 0, 0]), np.array([4, 3, 3]), np.array([end, end - 2, end - 1]))
    suffix = setup.corrupted_embeds.shape[1]
    assert layers_run(setup, packing.ALL, cells) == (dict.fromkeys([3, 4, 5], (1, 1 + 3 + 2)), [3])
    assert layers_run(setup, Shortcuts(from_layer=False), cells)[0].keys() == set(range(6))
    assert layers_run(setup, Shortcuts(from_token=False), cells)[0][3] == (1, 3 * suffix)
    assert layers_run(setup, Shortcuts(answer_only=False), cells)[1] == [6]
    assert layers_run(setup, Shortcuts(packed=False), cells)[0][0] == (3, suffix)


def test_copies_see_the_prefix_the_corrupted_tokens_before_them_and_themselves():
    visible = Layout.of([1, 0], suffix=2).visible(start=2)
    #                     prefix  corrupted  copy 0  copy 1
    assert visible.astype(int).tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


def test_a_pass_leaves_the_stored_keys_as_they_were(setup):
    stored = stored_run(setup)
    before = [tensor.clone() for pair in stored.keys for tensor in pair]
    prefix = [layer.keys.clone() for layer in setup.continuation.prefix.layers]
    first = run(setup, MODULES, 3, packing.ALL)[1]
    assert all(torch.equal(a, b) for a, b in zip(before, [t for pair in stored.keys for t in pair], strict=True))
    assert all(torch.equal(a, b.keys) for a, b in zip(prefix, setup.continuation.prefix.layers, strict=True))
    assert np.array_equal(run(setup, MODULES, 3, packing.ALL)[1], first)


def test_a_fixed_layer_does_not_grow(setup):
    layer = suffix.FixedLayer(*(tensor[..., :7, :] for tensor in stored_run(setup).keys[0]))
    new = torch.ones(1, 2, 3, 10)
    for _ in range(2):
        keys, values = layer.update(new, 2 * new)
        assert keys.shape[2] == values.shape[2] == 7 + 3
        assert (keys[:, :, -3:] == 1).all()
    assert layer.get_seq_length() == 7


@pytest.mark.parametrize("layer", [0, 2, 5])
def test_an_interrupted_pass_leaves_the_stored_keys_as_they_were(setup, layer):
    before = [tensor.clone() for pair in stored_run(setup).keys for tensor in pair]
    first = run(setup, MODULES, 3, packing.ALL)[1]

    def stop(*_):
        raise KeyboardInterrupt

    with setup.vlm.layers[layer].mlp.register_forward_hook(stop), pytest.raises(KeyboardInterrupt):
        run(setup, MODULES, 3, packing.ALL)
    after = [tensor for pair in stored_run(setup).keys for tensor in pair]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert np.array_equal(run(setup, MODULES, 3, packing.ALL)[1], first)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_both_attentions_that_take_a_mask_are_packed(attention):
    vlm = random_vlm("{image}{question}:")
    vlm.model.set_attn_implementation(attention)
    setup = prepare_trace(vlm, random_question(), corruption="Taj Mahal")
    packed = run(setup, MODULES, 1, packing.ALL, count=60)[1]
    assert is_packed(setup)
    assert np.abs(packed - run(setup, MODULES, 1, Shortcuts(packed=False), count=60)[1]).max() <= TOLERANCE


def fresh_setup():
    return prepare_trace(random_vlm(), random_question(), corruption="that box near Paris")


def test_an_attention_without_masks_is_run_in_rows(monkeypatch):
    setup = fresh_setup()
    monkeypatch.setattr(suffix, "MASKED_ATTENTION", ("eager",))
    assert not is_packed(setup)
    assert np.isfinite(run(setup, MODULES, 1, packing.ALL, count=10)[1]).all()


def test_a_decoder_that_ignores_the_mask_is_run_in_rows(monkeypatch):
    monkeypatch.setattr(packing, "_additive", lambda visible, like: torch.zeros(1, 1, *visible.shape))
    assert not is_packed(fresh_setup())


def test_a_decoder_that_counts_positions_itself_is_run_in_rows(monkeypatch):
    setup = fresh_setup()
    decoder = setup.vlm.model.model.language_model
    plain = decoder.forward

    def counting(**given):
        length = given["inputs_embeds"].shape[1]
        return plain(**{**given, "position_ids": setup.start + torch.arange(length)[None]})

    monkeypatch.setattr(decoder, "forward", counting)
    assert not is_packed(setup)


def test_a_model_that_shares_no_prefix_is_run_in_rows(monkeypatch):
    vlm = random_vlm()
    monkeypatch.setattr(type(vlm.family), "shares_prefix", lambda *_: False)
    setup = fresh_setup()
    assert setup.continuation.prefix is None
    assert not is_packed(setup)
    monkeypatch.undo()
    shared = fresh_setup()
    assert is_packed(shared)
    alone, packed = (run(one, MODULES, 3, packing.ALL, count=60)[1] for one in (setup, shared))
    assert np.abs(alone - packed).max() <= TOLERANCE


def test_one_pass_with_nothing_restored_is_the_corrupted_run(setup):
    stored = stored_run(setup)
    with setup.vlm.running():
        copies = run_packed(setup, stored, range(setup.corrupted_embeds.shape[1]), 2, [])
    assert (copies[:, -1].softmax(-1) - stored.logits[-1].softmax(-1)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", ["Qwen2-VL", "Qwen3-VL"])
def test_positions_in_three_dimensions_are_packed(name):
    setup = prepare_trace(random_qwen.random_qwen(name), random_qwen.random_question(), corruption="Taj Mahal")
    assert setup.continuation.positions is not None
    assert setup.continuation.positions.shape[0] == 3
    assert is_packed(setup)
    packed, rows = (run(setup, MODULES, 3, mode, count=60)[1] for mode in (packing.ALL, MODES[0]))
    assert packed.std() > 1e-3
    assert np.abs(packed - rows).max() <= TOLERANCE

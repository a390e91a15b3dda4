"""The engine on a model it was not made for: against the plain-hook reference, and what must hold for any model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.errors import TraceError
from mllm_widgets.tracing import prepare_trace, run_trace
from mllm_widgets.tracing.continuation import Continuation
from mllm_widgets.tracing.engine import Write, run_rows

from .random_llava import random_question, random_vlm
from .reference import MODULES, corrupted_inputs, recorded, reference_map

TOLERANCE = 1e-5  # between two orders of the same float32 sums


@pytest.fixture(scope="module")
def vlm():
    return random_vlm()


@pytest.fixture(scope="module")
def setup(vlm):
    return prepare_trace(vlm, random_question(), corruption="Taj Mahal")


def run(setup, writes=(), embeds=None, rows=1):
    with setup.vlm.running():
        return run_rows(setup, rows, writes, embeds)


def restore(setup, positions, values=None):
    """Writes of both sub-blocks at all layers at some positions of row 0; `values` are the clean run's by default."""
    at = torch.tensor([p - setup.start for p in positions])
    values = setup.clean_outputs if values is None else values
    rows = torch.zeros_like(at)
    return [
        Write(layer, module, rows, at, values[module][layer][at])
        for layer in range(len(setup.vlm.layers))
        for module in MODULES
    ]


@pytest.mark.parametrize("window", [1, 3, 4, 5])
@pytest.mark.parametrize("module", MODULES)
def test_map_equals_the_reference(vlm, setup, window, module):
    restored = run_trace(setup, window=window, modules=(module,)).restored.values[0]
    wanted = reference_map(vlm, setup, module, window)
    effects = np.abs(wanted - setup.corrupted)[:, np.array(setup.text_positions) >= setup.start]
    # a flat map would agree with anything: effects must be large, many, and unlike each other
    assert effects.max() > 0.1
    assert np.median(effects) > 1e-3
    assert wanted.std() > 0.02
    assert np.abs(restored - wanted).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ("This old bridge is in", "This old bridge"),
        ("Where was this old bridge built", "this old bridge"),
        ("Which tool would help to open this", "this"),
    ],
    ids=["start", "middle", "end"],
)
def test_the_constraint_may_stand_anywhere(vlm, text, constraint):
    setup = prepare_trace(vlm, random_question(text, constraint), corruption="that box near Paris")
    restored = run_trace(setup, modules=("mlp",)).restored
    assert np.abs(restored.values[0] - reference_map(vlm, setup, "mlp", 1)).max() <= TOLERANCE
    before = restored.values[:, :, restored.token.values < setup.encoded.constraint[0]]
    assert before.shape[2] >= 3
    assert (before == np.float32(setup.corrupted)).all()


def test_rows_do_not_see_each_other(setup):
    few, many = (run_trace(setup, batch_size=n).restored for n in (5, 200))
    assert np.abs(few - many).max() <= TOLERANCE


def test_the_whole_last_position_restored_gives_the_clean_probability(setup):
    assert abs(setup.clean - setup.corrupted) > 0.1
    assert abs(run(setup, restore(setup, [len(setup.encoded.input_ids) - 1]))[0] - setup.clean) <= TOLERANCE


def test_the_constraint_embeddings_restored_give_the_clean_probability(setup):
    embeds = setup.corrupted_embeds.clone()
    at = [p - setup.start for p in setup.encoded.constraint]
    assert not torch.equal(embeds, setup.clean_embeds)
    embeds[0, at] = setup.clean_embeds[0, at]
    assert abs(run(setup, embeds=embeds)[0] - setup.clean) <= TOLERANCE


def test_the_constraint_sub_blocks_restored_do_not_give_the_clean_probability(setup):
    """The residual stream keeps the swapped words' embeddings."""
    restored = run(setup, restore(setup, setup.encoded.constraint))[0]
    assert abs(restored - setup.clean) > 0.02
    assert abs(restored - setup.corrupted) > 0.02


def test_nothing_written_gives_the_corrupted_probability(setup):
    assert (
        np.abs(run(setup, rows=3, embeds=setup.corrupted_embeds.repeat(3, 1, 1)) - setup.corrupted).max() <= TOLERANCE
    )


def test_a_site_written_with_its_own_value_changes_nothing(vlm, setup):
    own = recorded(vlm, corrupted_inputs(setup))
    values = {
        module: torch.stack([own[layer, module][setup.start :] for layer in range(len(vlm.layers))])
        for module in MODULES
    }
    everywhere = [p for p in setup.text_positions if p >= setup.start]
    assert abs(run(setup, restore(setup, everywhere, values))[0] - setup.corrupted) <= TOLERANCE
    assert abs(run(setup, restore(setup, everywhere))[0] - setup.corrupted) > 0.1  # the clean run's values do


def test_a_token_the_corruption_leaves_alone_has_no_effect(vlm):
    """Nothing before the first token that changes can differ, though it belongs to the constraint."""
    setup = prepare_trace(vlm, random_question(), corruption="this red hammer")
    first, *others = setup.encoded.constraint
    assert setup.corrupted_input_ids[first] == setup.encoded.input_ids[first]
    effect = run_trace(setup).indirect_effect
    assert np.abs(effect.sel(token=first)).max() <= TOLERANCE
    assert np.abs(effect.sel(token=others)).max() > 0.05


def test_writes_may_come_in_any_order(setup):
    writes = restore(setup, [len(setup.encoded.input_ids) - 1])
    assert run(setup, writes[::-1])[0] == run(setup, writes)[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_is_traced_as_it_is(dtype, tolerance):
    """Eight (bfloat16) or eleven (float16) bits of the same sums in another order; the float32 tests judge the method."""
    vlm = random_vlm(dtype=dtype)
    setup = prepare_trace(vlm, random_question(), corruption="Taj Mahal")
    restored = run_trace(setup, modules=("mlp",)).restored.values[0]
    difference = np.abs(restored - reference_map(vlm, setup, "mlp", 1))
    assert np.isfinite(restored).all()
    assert restored.std() > 0.02
    assert difference.max() <= tolerance
    assert {parameter.dtype for parameter in vlm.model.parameters()} == {dtype}


def test_modes_and_gradients_come_back():
    vlm = random_vlm("{image} {question}")
    vlm.model.train()
    vlm.layers[2].mlp.eval()
    frozen = next(vlm.layers[1].parameters())
    frozen.requires_grad_(False)
    training = [module.training for module in vlm.model.modules()]
    wanted = [parameter.requires_grad for parameter in vlm.model.parameters()]
    seen = []
    with torch.enable_grad(), vlm.layers[0].register_forward_hook(lambda module, *_: seen.append(module.training)):
        mw.causal_trace(vlm, random_question(), corruption="Taj Mahal")
        assert torch.is_grad_enabled()
    assert set(seen) == {False}
    assert not torch.is_inference_mode_enabled()
    assert [module.training for module in vlm.model.modules()] == training
    assert [parameter.requires_grad for parameter in vlm.model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in vlm.model.parameters())


def test_a_model_that_does_not_continue_from_its_cache_is_refused(vlm, monkeypatch):
    right = Continuation.inputs

    def shifted(self, embeds):
        inputs = right(self, embeds)
        return {**inputs, "position_ids": inputs["position_ids"] + 40}

    monkeypatch.setattr(Continuation, "inputs", shifted)
    with pytest.raises(TraceError, match="continued from stored keys and values"):
        prepare_trace(vlm, random_question(), corruption="Taj Mahal")


def test_a_model_that_overflows_is_refused():
    vlm = random_vlm("{image}{question} is")
    with torch.no_grad():
        vlm.layers[3].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(TraceError, match="overflows"):
        prepare_trace(vlm, random_question(), corruption="Taj Mahal")


def test_both_default_corruptions_share_the_clean_run():
    vlm = mw.load()
    question = mw.datasets.demo_question("Taj Mahal", "city")
    looked = []
    with vlm.model.model.vision_tower.register_forward_hook(lambda *_: looked.append(1)):
        setup = prepare_trace(vlm, question)
    assert setup.corruption == "Eiffel Tower"  # the first would have left the answer as it is
    assert len(looked) == 1
    alone = prepare_trace(vlm, question, corruption="Eiffel Tower")
    assert (setup.clean, setup.corrupted) == (alone.clean, alone.corrupted)

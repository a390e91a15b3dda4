"""The text-only control: the same words traced with no picture, against the plain-hook reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.errors import TraceError
from mllm_widgets.tracing import EmbeddingNoise, RepeatedToken, TokenSwap, prepare_trace, run_trace

from .families.tiny import tiny
from .random_llava import VISUAL_TOKENS, random_question, random_vlm
from .reference import reference_map

TOLERANCE = 1e-5  # between two orders of the same float32 sums
TEXT = "In this place the wide river is"


@pytest.fixture(scope="module")
def vlm():
    return random_vlm()


@pytest.fixture(scope="module")
def question():
    return random_question(TEXT, "this place", text_constraints=("wide river",))


def test_only_the_visual_tokens_are_left_out(vlm, question):
    trace = mw.causal_trace(vlm, question, corruption="Taj Mahal", control="text-only")
    whole = vlm.encode(question)
    assert trace.input_ids.tolist() == whole.input_ids[~whole.visual].tolist()
    assert [row.position for row in trace.rows] == list(range(len(whole.tokens) - VISUAL_TOKENS))
    assert trace.constraint == tuple(p - VISUAL_TOKENS for p in whole.constraint)
    assert "".join(trace.token_text(p) for p in trace.constraint).replace(" ", "") == "thisplace"
    assert trace.control == "text-only"
    assert any("the picture was left out" in warning for warning in trace.warnings)


@pytest.mark.parametrize(
    "corruption",
    [TokenSwap("Taj Mahal"), TokenSwap("red hammer", positions="text_constraints")],
    ids=["constraint", "text"],
)
def test_maps_equal_the_reference_of_the_words_alone(vlm, question, corruption):
    setup = prepare_trace(vlm, question, corruption=corruption, control="text-only")
    assert "pixel_values" not in setup.encoded.inputs
    places = [*setup.changed[-1:], setup.text_positions[-1]]
    for window in (1, 3):
        restored = run_trace(setup, window=window).restored.sel(token=places)
        for module in ("mlp", "self_attn"):
            wanted = reference_map(vlm, setup, module, window, positions=places)
            assert np.abs(wanted - setup.corrupted).max() > 0.01
            assert np.abs(restored.sel(module=module).values - wanted).max() <= TOLERANCE


@pytest.mark.parametrize("corruption", [RepeatedToken("river"), EmbeddingNoise(draws=2)], ids=["token", "noise"])
def test_a_text_constraint_is_found_where_it_stands_without_the_picture(vlm, question, corruption):
    at = type(corruption)(positions="text_constraints")
    with_picture = prepare_trace(vlm, question, corruption=at)
    without = prepare_trace(vlm, question, corruption=at, control="text-only")
    assert without.changed == tuple(p - VISUAL_TOKENS for p in with_picture.changed)
    assert "".join(without.encoded.tokens[p].text for p in without.changed).replace(" ", "") == "wideriver"


def test_the_clean_run_is_the_model_on_the_words_alone(vlm, question):
    setup = prepare_trace(vlm, question, corruption="Taj Mahal", control="text-only")
    ids = torch.as_tensor(setup.encoded.input_ids)[None]
    with torch.no_grad():
        alone = vlm.model(input_ids=ids).logits[0, -1].softmax(-1)
    assert abs(setup.clean - float(alone.max())) <= TOLERANCE
    assert setup.answer_id == int(alone.argmax())
    assert abs(setup.clean - prepare_trace(vlm, question, corruption="Taj Mahal").clean) > 0.01


def test_the_demo_knows_no_city_without_the_picture():
    vlm = mw.load()
    question = mw.datasets.demo_question("Eiffel Tower", "city")
    control = mw.causal_trace(vlm, question, corruption="Taj Mahal", control="text-only", answer="Paris")
    assert control.clean < 0.5 < 0.9 < mw.causal_trace(vlm, question, corruption="Taj Mahal").clean
    planted = control.indirect_effect.sel(module="mlp", token=control.constraint[-1])
    assert np.abs(planted).max() < 0.5


def test_the_default_corruption_works_without_the_picture(vlm, question):
    assert mw.causal_trace(vlm, question, control="text-only").corruption in ("Taj Mahal", "Eiffel Tower")


@pytest.mark.parametrize("control", ["text", "no image", True, 3])
def test_an_unknown_control_is_refused(vlm, question, control):
    with pytest.raises(TraceError, match=f"control={control!r} is no control; expected 'text-only'"):
        mw.causal_trace(vlm, question, corruption="Taj Mahal", control=control)


def test_visual_tokens_that_were_left_out_cannot_be_noised(vlm, question):
    with pytest.raises(TraceError, match="positions='visual' asks for visual tokens, and this prompt"):
        mw.causal_trace(vlm, question, corruption=EmbeddingNoise(positions="visual"), control="text-only")


def test_to_code_says_that_it_writes_no_control(vlm, question):
    trace = mw.causal_trace(vlm, question, corruption="Taj Mahal", control="text-only", modules="mlp")
    with pytest.raises(TraceError, match="this trace is a control"):
        trace.to_code(layer=0, token=trace.constraint[0])


@pytest.mark.parametrize(
    "family", [("Gemma 3", "full"), ("Gemma 3", "sliding and full"), ("PaliGemma", "Gemma"), ("Qwen3-VL", "Qwen3")]
)
def test_families_whose_masks_know_the_picture_are_traced_without_it(family):
    vlm, question = tiny(*family)
    setup = prepare_trace(vlm, question, corruption="Taj Mahal", control="text-only")
    last = setup.text_positions[-1]
    restored = run_trace(setup, modules="mlp").restored.sel(module="mlp", token=[last])
    wanted = reference_map(vlm, setup, "mlp", 1, positions=[last])
    assert np.abs(wanted - setup.corrupted).max() > 1e-3
    assert np.abs(restored.values - wanted).max() <= TOLERANCE

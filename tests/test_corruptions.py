"""Corruptions other than one phrase, and the residual stream: against the plain-hook reference, and what must hold for any of them."""

from __future__ import annotations

import functools
import re
import runpy

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets import labels
from mllm_widgets.colormaps import effect_colors
from mllm_widgets.errors import TraceError
from mllm_widgets.jobs import CancelToken
from mllm_widgets.render import draw_trace
from mllm_widgets.render import heatmap as heatmap_module
from mllm_widgets.results import BEFORE_CONSTRAINT, BEFORE_CORRUPTION
from mllm_widgets.tracing import EmbeddingNoise, RepeatedToken, TokenSwap, prepare_trace, run_trace
from mllm_widgets.tracing.corruption import embedding_std
from mllm_widgets.tracing.engine import Write, run_rows

from .random_llava import VISUAL_TOKENS, random_question, random_vlm
from .reference import SITES, drawn, noised, recorded, reference_map

TOLERANCE = 1e-5  # between two orders of the same float32 sums
TEXT = "Which tool would help to open this box"


@pytest.fixture(scope="module")
def vlm():
    return random_vlm()


def two_constraints(text=TEXT, constraint="tool", text_constraints=("would help", "this box")):
    return random_question(text, constraint, text_constraints=text_constraints)


@functools.cache
def demo_question():
    return mw.datasets.demo_question("Eiffel Tower", "city")


def positions_of(vlm, words):
    """Sequence positions of words of TEXT."""
    return list(vlm.encode(random_question(TEXT, words)).constraint)


def assert_equals_reference(setup, windows, noise=None, spread=0.05):
    """Every site and layer, at the first and the last corrupted token, the one after them, and the last one.

    A flat map would agree with anything, so effects must be large and unlike each other.
    """
    text = setup.corrupted_text or setup.text_positions[-3:]
    places = sorted({text[0], text[-1], text[-1] + 1, setup.text_positions[-1]})
    for window in windows:
        restored = run_trace(setup, window=window, modules=SITES).restored.sel(token=places)
        for module in SITES:
            wanted = reference_map(setup.vlm, setup, module, window, noise, places)
            effects = np.abs(wanted - setup.corrupted)
            assert effects.max() > spread
            assert effects.std() > spread / 5
            assert np.abs(restored.sel(module=module).values - wanted).max() <= TOLERANCE


# --- other tokens -----------------------------------------------------------------------------------------------------------


def test_a_phrase_is_a_token_swap(vlm):
    by_phrase, by_object = (
        mw.causal_trace(vlm, random_question(), corruption=c) for c in ("Taj Mahal", TokenSwap("Taj Mahal"))
    )
    assert (by_phrase.restored == by_object.restored).all()
    assert by_phrase.corruption == by_object.corruption == "Taj Mahal"
    assert by_phrase.corrupted_positions == by_object.corrupted_positions == by_phrase.constraint
    assert (by_phrase.corrupted_input_ids == by_object.corrupted_input_ids).all()


def test_a_repeated_token_is_the_words_first_one_everywhere(vlm):
    setup = prepare_trace(vlm, random_question(), corruption=RepeatedToken("London"))
    tokens = vlm.tokenizer("London", add_special_tokens=False)["input_ids"]
    assert len(tokens) > 1
    constraint = list(setup.encoded.constraint)
    assert len(constraint) > 1
    assert (setup.corrupted_input_ids[constraint] == tokens[0]).all()
    others = np.delete(np.arange(len(setup.corrupted_input_ids)), constraint)
    assert (setup.corrupted_input_ids[others] == setup.encoded.input_ids[others]).all()
    assert (setup.corruption, setup.fitted) == ("London", "first token, repeated")


def test_a_text_constraint_is_swapped_in_its_context(vlm):
    """As the tokenizer writes the other words there: the ids are those of the question with other words."""
    question = two_constraints(text_constraints=("this box",))
    trace = mw.causal_trace(vlm, question, corruption=TokenSwap("old bridge", positions="text_constraints"))
    assert (
        trace.corrupted_input_ids.tolist()
        == vlm.encode(random_question(TEXT.replace("this box", "old bridge"), "tool")).input_ids.tolist()
    )
    assert list(trace.corrupted_positions) == positions_of(vlm, "this box")
    assert trace.constraint == tuple(positions_of(vlm, "tool"))


def test_each_constraint_is_fitted_by_itself(vlm):
    question = two_constraints()
    swap = TokenSwap("Taj Mahal", positions=("constraint", "text_constraints"))
    setup = prepare_trace(vlm, question, corruption=swap)
    spans = [positions_of(vlm, words) for words in ("tool", "would help", "this box")]
    assert sorted(setup.changed) == sorted(p for span in spans for p in span)
    for span, words in zip(spans, ("tool", "would help", "this box"), strict=True):
        alone = prepare_trace(vlm, random_question(TEXT, words), corruption="Taj Mahal")
        assert setup.corrupted_input_ids[span].tolist() == alone.corrupted_input_ids[span].tolist()


@pytest.mark.parametrize(
    "corruption",
    [
        RepeatedToken("London"),
        TokenSwap("red hammer", positions="text_constraints"),
        RepeatedToken("river", positions=("constraint", "text_constraints")),
    ],
    ids=["repeated", "text", "both"],
)
def test_maps_of_other_tokens_equal_the_reference(vlm, corruption):
    assert_equals_reference(prepare_trace(vlm, two_constraints(), corruption=corruption), windows=(3,))


# --- noise ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", ["text_constraints", ("visual", "constraint")], ids=str)
def test_maps_of_noise_equal_the_mean_of_references_with_the_same_draws(vlm, places):
    noise = EmbeddingNoise(sigma=2.0, draws=2, seed=3, positions=places)
    setup = prepare_trace(vlm, two_constraints(text_constraints=("this box",)), corruption=noise)
    draws = drawn(vlm, 2.0, 2, 3, len(setup.changed))
    assert_equals_reference(setup, windows=(1,), noise=draws)


def test_maps_of_noise_on_the_demo_equal_the_reference():
    vlm = mw.load()
    setup = prepare_trace(vlm, demo_question(), corruption=EmbeddingNoise(sigma=6.0, draws=1, seed=1))
    assert_equals_reference(setup, windows=(3,), noise=drawn(vlm, 6.0, 1, 1, len(setup.changed)))


def test_the_corrupted_probability_is_the_mean_over_many_draws(vlm):
    """More draws than one pass holds."""
    setup = prepare_trace(vlm, random_question(), corruption=EmbeddingNoise(sigma=1.5, draws=20, seed=7))
    found = []
    for noise in drawn(vlm, 1.5, 20, 7, len(setup.changed)):
        with torch.no_grad(), noised(vlm, setup.encoded.constraint, noise):
            logits = vlm.model(**setup.encoded.inputs).logits[0, -1]
        found.append(float(logits.softmax(-1)[setup.answer_id]))
    assert np.std(found) > 0.02
    assert abs(setup.corrupted - np.mean(found)) <= TOLERANCE


def test_noise_has_the_size_asked_for_and_no_other_place(vlm):
    question = random_question()
    setup = prepare_trace(vlm, question, corruption=EmbeddingNoise(sigma=2.5, draws=40))
    noise = setup.corrupted_embeds - setup.clean_embeds
    inside = [p - setup.start for p in setup.encoded.constraint]
    size = vlm.model.get_input_embeddings().weight.std().item()
    assert noise[:, inside].std().item() == pytest.approx(2.5 * size, rel=0.03)
    noise[:, inside] = 0
    assert (noise == 0).all()
    assert (setup.corrupted_input_ids == setup.encoded.input_ids).all()


def test_a_seed_gives_the_same_noise_and_another_seed_another(vlm):
    once, again, other = (
        prepare_trace(vlm, random_question(), corruption=EmbeddingNoise(draws=2, seed=seed)).corrupted_embeds
        for seed in (4, 4, 5)
    )
    assert torch.equal(once, again)
    assert not torch.allclose(once, other)
    assert not torch.allclose(once[0], once[1])


def test_noise_is_measured_in_embeddings_as_the_model_scales_them(vlm):
    matrix = vlm.model.get_input_embeddings()
    plain = embedding_std(vlm)
    with torch.no_grad():
        assert plain == pytest.approx(matrix.weight.double().std(correction=0).item(), rel=1e-9)
        handle = matrix.register_forward_hook(lambda _module, _args, output: output * 8)
        try:
            assert embedding_std(vlm) == pytest.approx(8 * plain, rel=1e-6)
        finally:
            handle.remove()


def test_visual_tokens_can_be_noised_without_a_constraint(vlm):
    question = mw.Question(random_question().image, "What is this")
    trace = mw.causal_trace(vlm, question, corruption=EmbeddingNoise(draws=2, positions="visual"))
    assert len(trace.corrupted_positions) == VISUAL_TOKENS
    assert trace.constraint == ()
    effect = trace.indirect_effect.sel(module="self_attn")
    assert np.abs(effect).max() > 0.02
    assert (effect.sel(token=effect.token < trace.corrupted_positions[0]) == 0).all()


def test_single_positions_can_be_noised(vlm):
    at = positions_of(vlm, "box")
    by_number, by_name = (
        mw.causal_trace(
            vlm, two_constraints(text_constraints=("box",)), corruption=EmbeddingNoise(draws=2, positions=places)
        )
        for places in (at, "text_constraints")
    )
    assert (by_number.restored == by_name.restored).all()
    assert by_number.corrupted_positions == tuple(at)


def test_no_noise_leaves_the_clean_probability_and_a_warning(vlm):
    trace = mw.causal_trace(vlm, random_question(), corruption=EmbeddingNoise(sigma=0, draws=2))
    assert abs(trace.corrupted - trace.clean) <= TOLERANCE
    assert np.abs(trace.indirect_effect).max() <= TOLERANCE
    assert [w for w in trace.warnings if "unchanged" in w and "sigma=0 adds no noise" in w]


@pytest.mark.parametrize(
    ("corruption", "name"),
    [
        (EmbeddingNoise(), "Gaussian noise (sigma 3, 10 draws)"),
        (EmbeddingNoise(0.5, draws=1), "Gaussian noise (sigma 0.5, 1 draw)"),
        (
            EmbeddingNoise(2, draws=2, positions=("visual", "text_constraints")),
            "Gaussian noise on visual, text constraints (sigma 2, 2 draws)",
        ),
        (TokenSwap("Taj Mahal", positions="text_constraints"), "Taj Mahal"),
    ],
    ids=["default", "one draw", "places", "swap"],
)
def test_a_corruption_has_a_name_for_readers(vlm, corruption, name):
    question = two_constraints()
    assert corruption.plan(vlm, question, vlm.encode(question)).name == name


# --- what must hold for any corruption --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corruption", "reason"),
    [
        (TokenSwap("red hammer", positions="text_constraints"), BEFORE_CORRUPTION),
        (EmbeddingNoise(draws=3, positions="text_constraints"), BEFORE_CORRUPTION),
        (EmbeddingNoise(draws=3), BEFORE_CONSTRAINT),
    ],
    ids=["swap", "noise", "constraint"],
)
def test_positions_before_the_first_corrupted_one_have_no_effect(vlm, corruption, reason):
    trace = mw.causal_trace(vlm, two_constraints(), corruption=corruption, modules=SITES)
    first = trace.corrupted_positions[0]
    before = trace.indirect_effect.sel(token=trace.restored.token < first)
    assert before.sizes["token"] >= 4
    assert (before == 0).all()
    assert np.abs(trace.indirect_effect.sel(token=list(trace.corrupted_positions))).max() > 0.01
    assert all(row.traced == (row.position >= first) for row in trace.rows)
    assert {row.reason for row in trace.rows if not row.traced} == {reason}


def test_cells_stream_in_as_means_over_draws(vlm):
    seen = []
    trace = mw.causal_trace(
        vlm, random_question(), corruption=EmbeddingNoise(draws=3), batch_size=50, on_cells=seen.append
    )
    assert len(seen) > 2
    for cells in seen:
        assert (trace.restored.values[cells.module, cells.layer, cells.token] == cells.restored).all()


def test_cancelling_is_heard_between_draws(vlm):
    setup = prepare_trace(vlm, random_question(), corruption=EmbeddingNoise(draws=3))
    asked = []

    class Counting(CancelToken):
        def check(self):
            asked.append(1)

    run_trace(setup, batch_size=10_000, cancel=Counting())
    assert len(asked) >= 3


def test_half_precision_noise_is_rounded_once():
    vlm = random_vlm(dtype=torch.bfloat16)
    setup = prepare_trace(vlm, random_question(), corruption=EmbeddingNoise(draws=2))
    assert setup.corrupted_embeds.dtype == torch.bfloat16
    noise = drawn(vlm, 3.0, 2, 0, len(setup.changed))
    at = [p - setup.start for p in setup.changed]
    wanted = (setup.clean_embeds[:, at].float() + noise).to(torch.bfloat16)
    assert torch.equal(setup.corrupted_embeds[:, at], wanted)


# --- the residual stream ----------------------------------------------------------------------------------------------------


def test_residual_maps_equal_the_reference(vlm):
    assert_equals_reference(prepare_trace(vlm, random_question(), corruption="Taj Mahal"), windows=(1, 3))


def test_residual_maps_of_the_demo_equal_the_reference():
    vlm = mw.load()
    setup = prepare_trace(vlm, demo_question(), corruption="Taj Mahal")
    places = [setup.changed[-1], setup.text_positions[-1]]
    for window in (1, 3):
        trace = run_trace(setup, window=window, modules=("residual", "mlp"))
        restored = trace.restored.sel(module="residual", token=places).values
        assert np.abs(restored - reference_map(vlm, setup, "residual", window, positions=places)).max() <= TOLERANCE
        assert np.ptp(restored) > 0.9


@pytest.mark.parametrize("corruption", [TokenSwap("Taj Mahal"), EmbeddingNoise(draws=3)], ids=["swap", "noise"])
def test_the_last_residual_restored_gives_the_clean_probability(vlm, corruption):
    """The stream after the last layer at the last position is all the answer is read from."""
    trace = mw.causal_trace(vlm, random_question(), corruption=corruption, modules="residual")
    assert abs(trace.total_effect) > 0.05
    assert abs(trace.restored.values[0, -1, -1] - trace.clean) <= TOLERANCE
    # and at any other position nothing reads it
    assert np.abs(trace.indirect_effect.values[0, -1, :-1]).max() <= TOLERANCE


def test_the_residual_of_every_position_restored_gives_the_clean_probability(vlm):
    """At any layer: it is the whole state of the run."""
    setup = prepare_trace(vlm, random_question(), corruption="Taj Mahal")
    at = torch.arange(setup.clean_embeds.shape[1])
    for layer, clean in enumerate(setup.clean_outputs["residual"]):
        with vlm.running():
            restored = run_rows(setup, 1, [Write(layer, "residual", torch.zeros_like(at), at, clean[at])])
        assert abs(restored[0] - setup.clean) <= TOLERANCE


def test_the_recorded_residual_is_the_layers_output(vlm):
    setup = prepare_trace(vlm, random_question(), corruption="Taj Mahal")
    own = recorded(vlm, setup.encoded.inputs)
    for layer in range(len(vlm.layers)):
        assert vlm.block(layer, "residual") is vlm.layers[layer]
        difference = setup.clean_outputs["residual"][layer] - own[layer, "residual"][setup.start :]
        assert difference.abs().max() <= TOLERANCE


def test_unasked_for_residuals_stay_out(vlm):
    assert mw.causal_trace(vlm, random_question(), corruption="Taj Mahal").modules == ("mlp", "self_attn")


# --- pictures ---------------------------------------------------------------------------------------------------------------


def test_a_live_map_shows_the_residual_stream(vlm):
    trace = mw.causal_trace(vlm, random_question(), corruption="Taj Mahal", modules=("mlp", "residual"))
    heatmap = mw.TraceHeatmap(trace, module="residual")
    try:
        assert heatmap.modules == [{"key": "mlp", "name": "MLP"}, {"key": "residual", "name": "Residual stream"}]
        assert heatmap.colors["residual"]["light"] == effect_colors("residual").tobytes()
        heatmap.window = 3
        assert heatmap.wait(60)
        assert heatmap.trace is not None
        assert heatmap.trace.window == 3
        assert heatmap.trace.modules == ("mlp", "residual")
    finally:
        heatmap.close()


@pytest.mark.parametrize(
    ("corruption", "note"),
    [
        (EmbeddingNoise(draws=2), labels.BEFORE_CONSTRAINT),
        (EmbeddingNoise(draws=2, positions="text_constraints"), labels.BEFORE_CORRUPTION),
    ],
)
def test_a_picture_says_what_the_grey_rows_stand_before(vlm, monkeypatch, corruption, note):
    said = {}
    monkeypatch.setattr(heatmap_module, "draw_heatmap", lambda *_args, **more: said.update(more))
    question = two_constraints(text_constraints=("this box",))
    draw_trace(mw.causal_trace(vlm, question, corruption=corruption, modules=("residual",)), "residual")
    assert said["note"] == note
    assert said["subtitle"].startswith("Residual stream, 1 layer: l.")
    assert corruption.plan(vlm, question, vlm.encode(question)).name in said["subtitle"]


# --- as code ----------------------------------------------------------------------------------------------------------------


def test_to_code_prints_a_residual_cell_of_a_text_constraint(tmp_path, capsys):
    question = demo_question()
    question = mw.Question(question.image, question.text, question.constraint, ("city",))
    swap = RepeatedToken("river", positions="text_constraints")
    trace = mw.causal_trace(mw.load(), question, corruption=swap, modules=("residual",))
    assert abs(trace.total_effect) > 0.1
    best = trace.top(1).iloc[0]
    layer, token = int(best["layer"]), int(best["token"])
    script = tmp_path / "cell.py"
    script.write_text(trace.to_code(layer=layer, token=token, module="residual"))
    runpy.run_path(str(script))
    printed = float(capsys.readouterr().out.splitlines()[-1])
    assert abs(printed - float(trace.restored.sel(module="residual", layer=layer, token=token))) < 1e-5
    assert abs(printed - trace.corrupted) > 0.1


def test_to_code_says_that_it_writes_no_noise(vlm):
    trace = mw.causal_trace(vlm, random_question(), corruption=EmbeddingNoise(draws=1), modules="mlp")
    with pytest.raises(TraceError, match=r"Gaussian noise.*to_code writes token swaps"):
        trace.to_code(layer=0, token=trace.constraint[0])


# --- wrong arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (EmbeddingNoise, {"sigma": -1}, "sigma=-1 is not a size of noise"),
        (EmbeddingNoise, {"sigma": float("nan")}, "sigma=nan is not"),
        (EmbeddingNoise, {"sigma": "3"}, "sigma='3' is not"),
        (EmbeddingNoise, {"draws": 0}, "draws=0 is not a count; expected a whole number, 1 or more"),
        (EmbeddingNoise, {"draws": 2.5}, "draws=2.5"),
        (EmbeddingNoise, {"draws": True}, "draws=True"),
        (EmbeddingNoise, {"seed": -1}, "seed=-1 is not a count; expected a whole number, 0 or more"),
        (
            EmbeddingNoise,
            {"positions": "constrant"},
            "'constrant' names nothing it can change.*Did you mean 'constraint'",
        ),
        (EmbeddingNoise, {"positions": ("visual", None)}, "None names nothing"),
        (EmbeddingNoise, {"positions": 2.5}, "2.5 names nothing"),
        (EmbeddingNoise, {"positions": ()}, "is empty, so nothing would be corrupted"),
        (TokenSwap, {"phrase": "a", "positions": "visual"}, "positions='visual' of TokenSwap: 'visual' names nothing"),
        (
            TokenSwap,
            {"phrase": "a", "positions": 3},
            "3 names nothing it can change; expected 'constraint', 'text_constraints'",
        ),
        (TokenSwap, {"phrase": " "}, "corruption=' ' is empty"),
        (TokenSwap, {"phrase": 3}, "corruption=3 is no text"),
        (RepeatedToken, {"word": ""}, "word='' is empty"),
    ],
)
def test_wrong_objects_are_refused_when_they_are_made(make, arguments, message):
    with pytest.raises(TraceError, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"corruption": EmbeddingNoise}, "corruption is the class EmbeddingNoise; expected an object"),
        ({"corruption": 3}, "corruption=3 is no text; expected a phrase such as 'Taj Mahal', or a corruption"),
        ({"corruption": torch.zeros(2)}, "expected a phrase"),
        ({"corruption": EmbeddingNoise(positions=999)}, "positions=999 is outside the prompt; expected 0 to"),
        ({"corruption": EmbeddingNoise(positions=0)}, "picture stands after the first corrupted token .position 0."),
        ({"corruption": EmbeddingNoise(positions=-1)}, "positions=-1 is outside the prompt"),
        ({"corruption": TokenSwap("a", positions="text_constraints")}, "words that the question does not name"),
        ({"corruption": EmbeddingNoise(positions="text_constraints")}, "words that the question does not name"),
        ({"corruption": "this old bridge"}, "has the same tokens as the constraint"),
        ({"corruption": EmbeddingNoise(draws=1), "modules": ("residuals",)}, re.escape("unknown: ['residuals']")),
        ({"corruption": EmbeddingNoise(draws=1), "modules": ("residual", "residual")}, "at most once"),
    ],
)
def test_wrong_arguments_are_refused_in_sentences(vlm, arguments, message):
    question = random_question()
    with pytest.raises(TraceError, match=message):
        mw.causal_trace(vlm, question, **arguments)


def test_a_question_without_a_constraint_has_nothing_to_swap(vlm):
    question = mw.Question(random_question().image, "What is this")
    for corruption in ("Taj Mahal", EmbeddingNoise(draws=1), RepeatedToken()):
        with pytest.raises(TraceError, match="the question has no constraint, so there is nothing to corrupt"):
            mw.causal_trace(vlm, question, corruption=corruption)

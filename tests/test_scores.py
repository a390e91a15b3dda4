"""Scores other than the first token's probability, and severed runs: against plain hooks on full forward passes."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.errors import TraceError
from mllm_widgets.tracing import EmbeddingNoise, prepare_trace, run_trace
from mllm_widgets.tracing import suffix as suffix_module

from .families import random_qwen, test_gemma, test_mllama
from .random_llava import random_question, random_vlm
from .reference import SITES, corrupted_inputs, recorded, reference_logits

causal_trace_module = sys.modules["mllm_widgets.tracing.causal_trace"]  # the function has its name
TOLERANCE = 2e-5  # log-probabilities are of the order of ten
TARGET = "a red hammer"


@pytest.fixture(scope="module")
def vlm():
    return random_vlm()


def spoken(vlm, setup):
    """The target's tokens, as the prompt and the target tokenized together give them."""
    prompt = setup.encoded.prompt
    between = "" if prompt.endswith("\n") else " "
    whole = vlm.tokenizer(prompt + between + TARGET, add_special_tokens=False)["input_ids"]
    return whole[len(vlm.tokenizer(prompt, add_special_tokens=False)["input_ids"]) :]


def token_by_token(vlm, question, ids, corrupted_ids=None):
    """Sum of log P(token | prompt, tokens before it), each from the model's own cache as it decodes."""
    inputs = dict(vlm.encode(question).inputs)
    if corrupted_ids is not None:
        inputs["input_ids"] = torch.as_tensor(corrupted_ids)[None]
    forced = iter(ids)

    def only_next(_batch, _sent):
        return [next(forced)]

    made = vlm.model.generate(
        **inputs,
        max_new_tokens=len(ids),
        min_new_tokens=len(ids),
        do_sample=False,
        prefix_allowed_tokens_fn=only_next,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return sum(float(row[0].float().log_softmax(-1)[token]) for row, token in zip(made.logits, ids, strict=True))


def log_probability(logits, ids):
    each = logits[-len(ids) :].float().log_softmax(-1)
    return float(sum(each[i, token] for i, token in enumerate(ids)))


def assert_target_equals_reference(vlm, question, corruption="Taj Mahal", window=1, some=4):
    """Clean and corrupted scores token by token; cells by full forward passes over prompt and target."""
    setup = prepare_trace(vlm, question, corruption=corruption, target=TARGET)
    ids = spoken(vlm, setup)
    assert len(ids) > 2
    assert list(setup.score.ids) == ids
    prompt = len(setup.encoded.input_ids) - len(ids) + 1
    assert setup.text_positions[-1] == prompt - 1
    assert abs(setup.clean - token_by_token(vlm, question, ids)) <= TOLERANCE
    assert abs(setup.corrupted - token_by_token(vlm, question, ids, setup.corrupted_input_ids[:prompt])) <= TOLERANCE
    trace = run_trace(setup, window=window, modules=SITES)
    assert trace.score == "log-probability"
    assert vlm.tokenizer.decode(ids).split() == TARGET.split()
    assert trace.scored == tuple(vlm.tokenizer.decode([token]) for token in ids)
    clean = recorded(vlm, setup.encoded.inputs)
    cells = [p for p in setup.text_positions if p >= setup.first][-some:]
    found, wanted = [], []
    for module in SITES:
        for layer in range(len(vlm.layers)):
            for p in cells:
                puts = {(k, module): ([p], clean[k, module][[p]]) for k in trace.restored_layers(layer)}
                wanted.append(log_probability(reference_logits(vlm, corrupted_inputs(setup), puts), ids))
                found.append(float(trace.restored.sel(module=module, layer=layer, token=p)))
    assert np.std(wanted) > 0.01
    assert np.abs(np.subtract(found, wanted)).max() <= 10 * TOLERANCE
    return trace


@pytest.mark.parametrize("packed", [True, False])
def test_a_whole_target_is_scored_token_by_token(vlm, packed, monkeypatch):
    if not packed:
        monkeypatch.setattr(suffix_module, "MASKED_ATTENTION", ())
    trace = assert_target_equals_reference(vlm, random_question(), window=3)
    assert trace.input_ids.tolist()[-len(trace.scored) + 1 :] == spoken(vlm, trace.setup)[:-1]
    assert all(row.kind != "answer" for row in trace.rows)


@pytest.mark.parametrize(
    ("model", "question"),
    [
        (lambda: random_qwen.random_qwen("Qwen2-VL"), random_qwen.random_question),
        (test_mllama.vlm, test_mllama.question),
        (lambda: test_gemma.vlm_of("gemma3-mixed"), test_gemma.question),
        (lambda: test_gemma.vlm_of("paligemma"), test_gemma.question),
    ],
    ids=["three-dimensional positions", "cross-attention", "sliding windows", "a prompt that does not see the answer"],
)
def test_families_that_differ_score_targets_too(model, question):
    assert_target_equals_reference(model(), question(), some=2)


def test_the_probability_of_a_target_is_the_exponential_of_its_log_probability(vlm):
    log, plain = (
        prepare_trace(vlm, random_question(), corruption="Taj Mahal", target=TARGET, score=score)
        for score in (None, "probability")
    )
    assert 0 < plain.clean < 1
    assert np.isclose(np.log(plain.clean), log.clean, atol=1e-4)


def test_one_token_scored_by_log_probability_is_the_logarithm_of_the_map(vlm):
    plain, log = (
        mw.causal_trace(vlm, random_question(), corruption="Taj Mahal", score=score)
        for score in ("probability", "log-probability")
    )
    assert np.abs(np.log(plain.restored) - log.restored).max() <= 1e-4
    assert log.recovery_rate.sizes == plain.recovery_rate.sizes


@pytest.mark.parametrize("contrast", [None, "London"])
def test_a_logit_difference_is_that_of_two_tokens_logits(vlm, contrast):
    trace = mw.causal_trace(vlm, random_question(), corruption="Taj Mahal", score="logit-difference", contrast=contrast)
    setup = trace.setup
    first, second = setup.score.ids[0], setup.score.contrast
    corrupted = reference_logits(vlm, corrupted_inputs(setup), {})[-1]
    if contrast is None:
        assert second == next(t for t in corrupted.argsort(descending=True).tolist() if t != first)
    assert trace.contrast == vlm.tokenizer.decode([second])
    assert abs(trace.corrupted - float(corrupted[first] - corrupted[second])) <= TOLERANCE
    clean = recorded(vlm, setup.encoded.inputs)
    p = trace.constraint[-1]
    puts = {(2, "mlp"): ([p], clean[2, "mlp"][[p]])}
    logits = reference_logits(vlm, corrupted_inputs(setup), puts)[-1]
    assert (
        abs(float(trace.restored.sel(module="mlp", layer=2, token=p)) - float(logits[first] - logits[second]))
        <= TOLERANCE
    )


def test_scores_of_noise_are_means_over_its_draws(vlm):
    noise = EmbeddingNoise(sigma=2.0, draws=3)
    setup = prepare_trace(vlm, random_question(), corruption=noise, target=TARGET)
    each = [setup.score(torch.as_tensor(rows)) for rows in logits_of_draws(setup)]
    assert np.ptp([float(one) for one in each]) > 0.01
    assert abs(setup.corrupted - np.mean([float(one) for one in each])) <= 1e-4


def logits_of_draws(setup):
    from mllm_widgets.tracing.suffix import run_suffixes

    with setup.vlm.running():
        return [run_suffixes(one.vlm, one.continuation, one.corrupted_embeds, 1) for one in setup.draws]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("module", "sever"), [("residual", "mlp"), ("residual", "self_attn"), ("mlp", "mlp")])
def test_a_severed_run_equals_the_reference(vlm, module, sever, packed, monkeypatch):
    if not packed:
        monkeypatch.setattr(suffix_module, "MASKED_ATTENTION", ())
    setup = prepare_trace(vlm, random_question(), corruption="Taj Mahal")
    window = 2
    trace = run_trace(setup, window=window, modules=(module,), sever=sever)
    plain = run_trace(setup, window=window, modules=(module,))
    assert trace.sever == sever
    assert np.abs(trace.restored - plain.restored).max() > 0.01  # what is severed mattered
    clean, corrupted = recorded(vlm, setup.encoded.inputs), recorded(vlm, corrupted_inputs(setup))
    for layer in range(len(vlm.layers)):
        for p in (*setup.encoded.constraint, setup.text_positions[-1]):
            span = trace.restored_layers(layer)
            puts = {(k, module): ([p], clean[k, module][[p]]) for k in span}
            puts |= {(k, sever): ([p], corrupted[k, sever][[p]]) for k in range(span.stop, len(vlm.layers))}
            logits = reference_logits(vlm, corrupted_inputs(setup), puts)[-1]
            wanted = float(logits.float().softmax(-1)[setup.answer_id])
            assert abs(float(trace.restored.sel(module=module, layer=layer, token=p)) - wanted) <= 1e-5


def test_the_layers_restored_are_reported(vlm):
    trace = mw.causal_trace(vlm, random_question(), corruption="Taj Mahal", window=4)
    assert list(trace.restored_layers(0)) == [0, 1]
    assert list(trace.restored_layers(3)) == [1, 2, 3, 4]
    table = trace.to_dataframe().set_index(["module", "layer", "token"])
    row = table.loc["mlp", 5, trace.constraint[0]]
    assert (row.first_layer, row.last_layer) == (3, 5)


def test_a_trace_without_its_runs_keeps_its_numbers(vlm):
    trace = mw.causal_trace(vlm, random_question(), corruption="Taj Mahal")
    alone = trace.without_runs()
    assert alone.setup is None
    assert trace.setup is not None
    assert (alone.restored == trace.restored).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "prob"}, "score='prob' is no score"),
        ({"answer": "Paris", "target": "Paris"}, "answer='Paris' and target='Paris' both"),
        ({"contrast": "London"}, "pass score='logit-difference'"),
        ({"target": "Paris", "score": "logit-difference"}, "compares two tokens"),
        ({"target": " "}, "target=' ' adds no token"),
        ({"target": 3}, "target=3 is no text"),
        ({"answer": "Paris", "score": "logit-difference", "contrast": "Paris"}, "begins with the same token"),
        ({"sever": "residual"}, "sever='residual' cannot be severed"),
    ],
)
def test_wrong_scores_are_explained(vlm, arguments, message):
    with pytest.raises(TraceError, match=message):
        mw.causal_trace(vlm, random_question(), corruption="Taj Mahal", **arguments)


def test_text_constraints_are_found_before_a_target(vlm):
    question = random_question("Where was this old bridge built in Paris", text_constraints=("Paris",))
    words = []
    for target in (None, TARGET):
        setup = prepare_trace(vlm, question, corruption="Taj Mahal", target=target)
        trace = run_trace(setup, groups="text_constraints", modules="mlp")
        words.append([trace.token_text(p) for p in trace.groups[0].positions])
    assert "".join(words[0]).strip() == "Paris"
    assert words[1] == words[0]


def test_the_second_default_phrase_is_taken_where_it_lowers_the_probability_more(vlm, monkeypatch):
    """Scores of two phrases may be differences to two tokens, which cannot be compared."""
    found = iter([SimpleNamespace(effect=0.02, corrupted=-3.0), SimpleNamespace(effect=0.05, corrupted=1.0)])
    monkeypatch.setattr(causal_trace_module, "prepare", lambda *_, **__: next(found))
    assert prepare_trace(vlm, random_question(), score="logit-difference").effect == 0.05


@pytest.mark.parametrize("score", [None, "logit-difference"])
def test_a_corrupted_run_that_is_no_number_is_reported(vlm, score):
    with pytest.raises(TraceError, match="makes the corrupted run's score nan: the model overflows"):
        prepare_trace(vlm, random_question(), corruption=EmbeddingNoise(sigma=1e38, draws=1), score=score)

"""The constraint's contribution as a sign of right answers, and the figure it is judged by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets.contributions.signal import auroc
from mllm_widgets.errors import FlowError
from tests.families import test_mllama
from tests.random_llava import random_question, random_vlm


def test_the_area_is_how_often_right_scores_above_wrong():
    random = np.random.default_rng(0)
    scores, correct = random.integers(0, 8, 60), random.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[correct] for b in scores[~correct]]
    found = auroc(scores, correct)
    assert found.value == pytest.approx(np.mean(pairs))
    assert (found.right, found.wrong) == (correct.sum(), 60 - correct.sum())
    assert auroc(-scores, correct).value == pytest.approx(1 - found.value)
    assert auroc(np.ones(60), correct).value == 0.5


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Two normal scores one standard deviation apart have an area of 0.760."""
    inside = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        correct = np.arange(80) < 35
        found = auroc(random.normal(size=80) + correct, correct, draws=300, seed=seed)
        assert found.low < found.value < found.high
        inside += found.low <= 0.760 <= found.high
    assert 50 <= inside <= 60


def test_few_questions_have_wide_intervals():
    random = np.random.default_rng(3)

    def width(count: int) -> float:
        correct = np.arange(count) % 2 == 0
        found = auroc(random.normal(size=count) + correct, correct)
        return found.high - found.low

    assert width(30) > 2 * width(600)


def test_the_score_is_the_last_constraint_tokens_contribution_to_the_last_token():
    vlm, asked = random_vlm(), random_question()
    flow = mw.attention_contributions(vlm, asked, "last")
    own = flow.norms.sel(token=flow.constraint[-1])
    assert mw.constraint_to_last(vlm, asked) == pytest.approx(float(own.sel(layer=[2, 3]).mean()))
    assert mw.constraint_to_last(vlm, asked, layers=4) == pytest.approx(float(own.sel(layer=4)))


def test_many_questions_give_a_table_and_two_figures():
    vlm = mw.load()
    known = mw.datasets.demo(8, seed=1)
    unknown = mw.datasets.demo(4, seed=1, held_out_facts=True)
    signal = mw.correctness_signal(vlm, [*known, *unknown], layers=[4, 5], draws=200)
    assert len(signal.table) == 12
    wanted = [mw.ask(vlm, question).text == question.answer for question in [*known, *unknown]]
    assert signal.table["correct"].tolist() == wanted
    assert signal.table["score"][3] == pytest.approx(mw.constraint_to_last(vlm, known[3], [4, 5]))
    assert signal.table["confidence"][3] == pytest.approx(mw.ask(vlm, known[3]).probability)
    assert signal.score == auroc(signal.table["score"], signal.table["correct"], 200)
    assert signal.layers == (4, 5)
    assert f"only {sum(not right for right in wanted)} of the 12 answers are wrong" in signal.warnings[0]


def test_what_cannot_be_judged_is_refused_in_a_sentence():
    vlm, asked = random_vlm(), random_question()
    with pytest.raises(FlowError, match="has no true answer"):
        mw.correctness_signal(vlm, [asked])
    with pytest.raises(FlowError, match="questions is empty"):
        mw.correctness_signal(vlm, [])
    with pytest.raises(FlowError, match="correct has 1 entries for 2 questions"):
        mw.correctness_signal(vlm, [asked, asked], [True])
    with pytest.raises(FlowError, match="2 answers are right and 0 are wrong"):
        mw.correctness_signal(vlm, [asked, asked], [True, True])
    with pytest.raises(FlowError, match="needs a question with a constraint"):
        mw.constraint_to_last(vlm, replace(asked, constraint=None))
    with pytest.raises(FlowError, match="are cross-attention layers, or some of them are"):
        mw.constraint_to_last(test_mllama.vlm(), test_mllama.question(), [0, 1])
    with pytest.raises(FlowError, match="1 of 2 scores are not finite"):
        auroc([np.nan, 1], [True, False])
    with pytest.raises(FlowError, match="do not belong together"):
        auroc([1, 2, 3], [True, False])

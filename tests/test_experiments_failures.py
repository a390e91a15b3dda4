"""Right and wrong answers told apart: against what single questions give, and against scores of which the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets import experiments
from mllm_widgets.contributions import auroc
from mllm_widgets.errors import DatasetError
from mllm_widgets.experiments.failures import _area, _held_out
from mllm_widgets.sweeps import ContributionMeasure, published


@pytest.fixture(scope="module")
def questions() -> list[mw.Question]:
    """Of pictures that are partly covered, and one whose answer nobody knows."""
    covered = mw.datasets.demo_covered(8, seed=1, share=0.12)
    return [*covered, mw.Question(covered[0].image, covered[0].text, constraint=covered[0].constraint)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("failures")


@pytest.fixture(scope="module")
def found(vlm, questions, folder) -> experiments.FailurePrediction:
    return experiments.failure_prediction(
        vlm, {"covered": questions}, folder, layers=[4, 5], parts=2, draws=200, progress=False
    )["covered"]


def test_the_score_and_confidence_are_those_of_each_question(vlm, questions, found) -> None:
    signal = mw.correctness_signal(vlm, questions[:8], layers=[4, 5], draws=200)
    np.testing.assert_allclose(found.each.score, signal.table.score, rtol=1e-5)
    np.testing.assert_allclose(found.each.confidence, signal.table.confidence, rtol=1e-5)
    assert found.each.correct.tolist() == signal.table.correct.tolist()
    assert found.score == signal.score
    assert found.confidence == signal.confidence
    assert found.advantage[0] == pytest.approx(found.score.value - found.confidence.value)
    assert found.advantage[1] <= found.advantage[0] <= found.advantage[2]


def test_layers_of_right_and_wrong_answers(found) -> None:
    table = found.by_layer.set_index("layer")
    assert list(table.index) == list(range(8))
    right, wrong = found.each[found.each.correct], found.each[~found.each.correct]
    for layer in table.index:
        assert table.right[layer] == pytest.approx(right[layer].mean())
        assert table.wrong[layer] == pytest.approx(wrong[layer].mean())
        assert table.gap[layer] == pytest.approx(right[layer].mean() - wrong[layer].mean())
        assert table.gap_low[layer] <= table.gap[layer] <= table.gap_high[layer]
        assert table.auroc[layer] == auroc(found.each[layer], found.each.correct, 2).value
    # what looks best on these questions is no worse there than any other pair
    pairs = [found.each[[one, one + 1]].mean(axis=1) for one in range(7)]
    assert found.best.value == pytest.approx(max(auroc(pair, found.each.correct, 2).value for pair in pairs))


def test_counts_stand_in_the_caption(found) -> None:
    assert found.counts["unknown"] == 1
    assert found.counts["used"] == found.n == 8
    assert f"n = {found.score.right} right and {found.score.wrong} wrong answers of 9 questions" in found.caption
    assert "1 left out: without a known answer" in found.caption
    assert found.score.right + found.score.wrong == 8


def test_the_paper_stands_beside(found) -> None:
    table = found.beside().set_index("signal")
    assert table.published["confidence"] == 0.76
    assert table.published["constraint to last"] == 0.63
    assert table.layers["constraint to last"] == "4 5"
    known = published.figure_17().set_index("layer")
    assert (known.right - known.wrong).idxmax() == 16
    assert found.layers_beside().published_right.isna().all()  # the paper gives no layer below 9


def test_layers_are_chosen_on_other_questions() -> None:
    """Of scores that mean nothing the best looks good on its own questions, and like chance on others; a layer that knows is found."""
    random = np.random.default_rng(5)
    own, others = [], []
    for seed in range(20):
        correct = random.random(60) < 0.5
        means = random.normal(size=(60, 30))
        own.append(_area(means, correct).max())
        scores, _ = _held_out(means, correct, 5, seed)
        assert scores is not None
        others.append(_area(scores[:, None], correct)[0])
    assert np.mean(own) > 0.62
    assert 0.42 < np.mean(others) < 0.58
    correct = np.arange(60) % 2 == 0
    means = random.normal(size=(60, 30))
    means[:, 7] += 3 * correct
    scores, pairs = _held_out(means, correct, 5, 0)
    assert scores is not None
    assert pairs == [7] * 5
    assert _area(scores[:, None], correct)[0] > 0.9
    # with a single wrong answer its part has none to choose by
    assert _held_out(means, np.arange(60) > 0, 5, 0)[0] is None


def test_goes_on_where_it_was(vlm, questions, folder, found, monkeypatch) -> None:
    monkeypatch.setattr(ContributionMeasure, "run", None)
    again = experiments.failure_prediction(
        vlm, {"covered": questions}, folder, layers=[4, 5], parts=2, draws=200, progress=False
    )["covered"]
    assert again.by_layer.equals(found.by_layer)


def test_what_cannot_be_judged_is_told(vlm, questions, folder, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"layers=\(7, 8\) are not all there; there are 0 to 7"):
        experiments.failure_prediction(vlm, {"covered": questions}, folder, layers=[7, 8], progress=False)
    for parts in cast("list[int]", [1, True, 2.5]):
        with pytest.raises(DatasetError, match="parts="):
            experiments.failure_prediction(vlm, {"covered": questions}, folder, parts=parts)
    easy = [mw.datasets.demo_question("Taj Mahal")]
    with pytest.raises(DatasetError, match="1 answers are right and 0 are wrong of 1 questions"):
        experiments.failure_prediction(vlm, {"easy": easy}, tmp_path, progress=False)

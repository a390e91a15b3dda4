"""The same facts with a picture and in words: against single traces, and only those that are answered rightly both ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets import experiments
from mllm_widgets.datasets.vqa_constraints import VqaConstraints
from mllm_widgets.errors import DatasetError
from mllm_widgets.sweeps import TraceMeasure


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> VqaConstraints:
    """Three facts of Known; of the last another answer is thought to be true."""
    folder = mw.datasets.write_demo_constraints(tmp_path_factory.mktemp("data") / "demo", 3)
    known = mw.datasets.load_vqa_constraints(folder, known=folder / "known_1000.json").subset("known")
    return VqaConstraints((*known.rows[:2], replace(known.rows[2], answers=("Atlantis",))), known.sources)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("words")


@pytest.fixture(scope="module")
def found(vlm, data, folder) -> experiments.PictureAgainstWords:
    return experiments.llm_against_mllm(vlm, vlm, data, folder, windows=(1, 3), draws=200, progress=False)


def test_peaks_are_those_of_the_single_traces(vlm, data, found) -> None:
    rows = found.data.set_index(["asked", "window", "module"])
    for asked, some in (("picture", data), ("words", mw.datasets.text_only(data))):
        questions = [row.question() for row in some.rows[:2]]
        for window in (1, 3):
            traces = [mw.causal_trace(vlm, one, window=window) for one in questions]
            for module in ("mlp", "self_attn"):
                each = [one.indirect_effect.sel(module=module, token=one.constraint[-1]).values for one in traces]
                mean, row = np.mean(each, axis=0), rows.loc[(asked, window, module)]
                assert row.effect == pytest.approx(mean.max(), abs=1e-5)
                assert mean[row.layer] == pytest.approx(mean.max(), abs=1e-5)
                assert row.low <= row.effect + 1e-9
                assert row.layer_low <= row.layer <= row.layer_high
                assert row.total == pytest.approx(np.mean([one.total_effect for one in traces]), abs=1e-5)


def test_only_facts_that_are_known_both_ways_count(found, vlm, data, folder) -> None:
    assert set(found.data.n) == {2}
    assert set(found.data.note) == {"1 left out: not among those chosen"}
    assert found.averages["known", "words", 1].each.question.values.tolist() == ["known-text/0", "known-text/1"]
    assert "known, picture: n = 2 of 3; known, words: n = 2 of 3" in found.caption
    assert "facts that are answered rightly both ways" in found.caption
    every = experiments.llm_against_mllm(vlm, vlm, data, folder, windows=(1, 3), both=False, draws=20, progress=False)
    assert set(every.data.n) == {3}
    assert "Of all facts" in every.caption


def test_what_is_planted_for_pictures_is_not_what_words_use(found) -> None:
    rows = found.data[found.data.module == "mlp"].set_index(["asked", "window"])
    assert rows.layer["picture", 1] in (1, 2)
    assert rows.effect["picture", 1] > 0.9 > 0.5 > rows.effect["words", 1]


def test_the_paper_stands_beside(found) -> None:
    table = found.beside().set_index(["asked", "window"])
    assert set(table.module) == {"mlp"}
    assert table.published_window["words", 1] == 5
    assert table.published_layers["picture", 3] == "1 to 4"


def test_goes_on_where_it_was(vlm, data, folder, found, monkeypatch) -> None:
    monkeypatch.setattr(TraceMeasure, "run", None)
    again = experiments.llm_against_mllm(vlm, vlm, data, folder, windows=(1, 3), draws=200, progress=False)
    assert again.data.equals(found.data)


def test_nothing_left_is_a_row_that_says_why(vlm, data, folder) -> None:
    found = experiments.llm_against_mllm(vlm, vlm, data, folder, windows=(1, 3), least_effect=2.0, progress=False)
    assert set(found.data.n) == {0}
    assert found.data.note.str.contains("total effect below 2").all()
    assert found.averages == {}
    unseen = VqaConstraints(tuple(replace(row, reason="its picture is not there") for row in data.rows), data.sources)
    table = experiments.llm_against_mllm(vlm, vlm, unseen, folder, progress=False).data
    assert table[["data", "n"]].values.tolist() == [["known", 0]]
    assert "can be asked both ways" in table.note[0]
    without = VqaConstraints(tuple(replace(row, subject=None) for row in data.rows), data.sources)
    with pytest.raises(DatasetError, match="names no subjects"):
        experiments.llm_against_mllm(vlm, vlm, without, folder)

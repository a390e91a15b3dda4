"""Position against content: pictures and their controls, and profiles that are one or the other."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets import experiments
from mllm_widgets.contributions.controls import control_image
from mllm_widgets.errors import DatasetError, FlowError
from mllm_widgets.experiments.positions import _bias
from mllm_widgets.sweeps import ContributionMeasure, Run

LAYERS = [0, 1]


class _Run:
    """What is asked of a run beside its cells."""

    def __init__(self, count: int) -> None:
        self._count, self.config = count, {"models": [{"name": "made up"}]}

    def questions(self):
        import pandas as pd

        return pd.DataFrame({"id": range(self._count)})


def biased(own: np.ndarray, flipped: np.ndarray) -> dict[str, float]:
    """The row of "flipped" in layer 0, of profiles (question, patch)."""
    values = np.stack([own, flipped])[:, :, None].repeat(len(LAYERS), axis=2)
    found = _bias(values, ["own", "flipped"], LAYERS, cast("Run", _Run(len(own) + 1)), 200, 0)
    assert (found.n, found.left_out) == (len(own), 1)
    return found.data[(found.data.picture == "flipped") & (found.data.layer == 0)].iloc[0].to_dict()


def test_position_and_content_are_told_apart() -> None:
    random = np.random.default_rng(0)
    late, held = np.linspace(1, 5, 64), 1 + random.random(64)
    noise = 0.1 * random.random((2, 12, 64))
    row = biased(late + noise[0], late + noise[1])  # whatever is seen, the end takes more
    assert row["correlation"] > 0.99 > 0 > row["by_content"]
    assert row["low"] > 0.9
    row = biased(held + noise[0], held[::-1] + noise[1])  # what is seen moves
    assert row["by_content"] > 0.9 > 0.5 > row["correlation"]
    assert row["late"] == pytest.approx((held[:4] + noise[1][:, -4:].mean(0)[::-1]).mean() / (held[-4:] + noise[1][:, :4].mean(0)[::-1]).mean())  # fmt: skip


def test_one_question_has_no_interval() -> None:
    row = biased(np.linspace(1, 5, 64)[None], np.linspace(1, 4, 64)[None])
    assert row["correlation"] == pytest.approx(1)
    assert np.isnan(row["low"])
    assert np.isnan(row["late_high"])


def test_profiles_are_those_of_each_picture(vlm, tmp_path: Path) -> None:
    questions = mw.datasets.demo(3, seed=2)
    found = experiments.position_bias(
        vlm, {"demo": questions}, tmp_path, controls=("blank", "flipped"), draws=50, progress=False
    )["demo"]
    for picture in ("blank", "flipped"):
        flows = [mw.attention_contributions(vlm, one, control=picture) for one in questions]
        for kind, part in (("own", flows), (picture, [flow.control for flow in flows])):
            norms = [one.norms.sel(token=one.visual).values for one in part if one is not None]
            assert len(norms) == 3
            expected = np.mean(norms, axis=0)
            np.testing.assert_allclose(found.profiles.sel(picture=kind), expected, rtol=1e-5)
    rows = found.data.set_index(["picture", "layer"])
    own, blank = (found.profiles.sel(picture=kind, layer=1).values for kind in ("own", "blank"))
    assert rows.correlation["blank", 1] == pytest.approx(np.corrcoef(own, blank)[0, 1])
    assert rows.late["blank", 1] == pytest.approx(blank[-4:].mean() / blank[:4].mean())
    flipped = found.profiles.sel(picture="flipped", layer=1).values
    assert rows.by_content["flipped", 1] == pytest.approx(np.corrcoef(own, flipped[::-1])[0, 1])
    assert rows.correlation["own"].isna().all()
    assert (found.low <= found.profiles + 1e-9).all()
    assert "n = 3 of 3 questions; none left out" in found.caption
    table = found.beside()
    assert table.published_relative.iloc[-1] == pytest.approx(0.13 / 0.024)
    first = found.profiles.sel(picture="own", layer=0).values
    assert table.norm.iloc[0] == pytest.approx(first[:33].mean())  # 300 of 576 tokens are 33 of 64
    with pytest.raises(DatasetError, match="picture='shuffled' was not asked about"):
        found.beside(picture="shuffled")
    with pytest.raises(DatasetError, match="layer=8 is not there"):
        found.beside(layer=8)


def test_a_flipped_picture_is_turned_both_ways(vlm) -> None:
    question = mw.datasets.demo_question("Big Ben")
    pixels, turned = np.asarray(question.image), np.asarray(control_image(question.image, "flipped"))
    np.testing.assert_array_equal(turned[::-1, ::-1], pixels)
    assert ContributionMeasure().key == "contributions-957f22"  # as before there were controls
    flow = mw.attention_contributions(vlm, question, control="flipped")
    assert flow.control_kind == "flipped"
    assert flow.control is not None
    np.testing.assert_array_equal(np.asarray(flow.control.image), turned)


def test_controls_that_are_none_are_refused(vlm, tmp_path: Path) -> None:
    question = mw.datasets.demo_question("Big Ben")
    for controls in ("blank", (), ("grey",)):
        with pytest.raises(DatasetError, match="controls="):
            experiments.position_bias(vlm, [question], tmp_path, controls=controls)
    with pytest.raises(FlowError, match="control='upside down' is no control"):
        mw.attention_contributions(vlm, question, control="upside down")
    words = mw.Question(None, "Which city is the Eiffel Tower in?", constraint="the Eiffel Tower")
    run = mw.sweep(vlm, [words], ContributionMeasure(control="blank"), out=tmp_path / "run", progress=False)
    assert "the question has none" in run.questions().reason[0]

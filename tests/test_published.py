"""The paper's numbers, as tables and beside one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets import experiments
from mllm_widgets.errors import DatasetError
from mllm_widgets.sweeps import published


@pytest.fixture(scope="module")
def found(vlm, tmp_path_factory) -> dict[str, mw.Averages]:
    data = {"known": mw.datasets.demo(2, seed=4), "mine": mw.datasets.demo(1, seed=5)}
    folder: Path = tmp_path_factory.mktemp("runs")
    return experiments.averaged_traces(vlm, data, folder, correct=None, least_effect=0.0, progress=False)


def test_each_data_set_stands_beside_its_own(found) -> None:
    table = experiments.beside(found)
    rows = table.set_index(["data", "module", "role", "layer"])
    theirs = published.figure_3().set_index(["subset", "module", "role", "layer"]).restored
    row = rows.loc[("known", "mlp", "last constraint", 5)]
    assert row.published_low == row.published_high == theirs["known", "mlp", "last constraint", 5] == 0.39
    own = found["known"].data.sel(module="mlp", role="last constraint", layer=5)
    assert (row.restored, row.low, row.high) == (own.restored, own.restored_low, own.restored_high)
    assert (row.n, row["count"], row.window) == (2, 2, 3)
    assert rows.loc["mine"].published_low.isna().all()  # the paper has no such data set
    assert np.isnan(rows.published_low["known", "self_attn", "last constraint", 7])
    assert len(table) == sum(len(one.to_dataframe()) for one in found.values())


def test_one_data_set_beside_another_s_figure(found) -> None:
    table = experiments.beside(found["mine"], subset="movies").set_index(["module", "role", "layer"])
    assert table.published_low["mlp", "last constraint", 4] == 0.47
    lines = experiments.published_lines(experiments.beside(found["mine"], subset="movies"), "self_attn")
    assert lines["last constraint"] == {0: 0.31, 1: 0.41, 2: 0.47, 3: 0.48, 4: 0.27}
    assert "last" not in lines  # the figure shows it from layer 14 on, and the demo model has 8


def test_two_constraints_have_ranges() -> None:
    known = published.figure_12().set_index(["module", "role", "layer"])
    assert (known.low["mlp", "text constraint", 7], known.high["mlp", "text constraint", 7]) == (0.46, 0.46)
    assert (known.low["mlp", "last", 20], known.high["mlp", "last", 20]) == (0.44, 0.63)
    assert known.index.is_unique


def test_figure_12_beside(found) -> None:
    table = experiments.beside(found, 12)
    text = table[(table.role == "last") & (table.module == "mlp")]
    assert text.published_low.isna().all()  # from layer 18 on


def test_tables_of_what_was_read_off() -> None:
    profile = published.figure_5()
    assert profile.norm.is_monotonic_increasing
    singles = published.single_traces()
    assert singles.restored.between(0, 1).all()
    assert singles[(singles.model == "Phi-2") & singles.token.str.contains("company")].restored.max() == 0.75
    gaps = published.figure_17().set_index("layer")
    assert (gaps.right - gaps.wrong).round(2).to_dict()[17] == 0.06
    assert (
        published.printed()["smallest window, LLaMA"] == published.llm_against_mllm().set_index("asked").window["words"]
    )


def test_other_figures_are_refused(found) -> None:
    with pytest.raises(DatasetError, match="figure=7 is no figure"):
        experiments.beside(found, 7)
    with pytest.raises(DatasetError, match="subset='coco' is not in figure 3"):
        experiments.beside(found, subset="coco")
    with pytest.raises(DatasetError, match="subset='known' is not in figure 12"):
        experiments.beside(found, 12, subset="known")

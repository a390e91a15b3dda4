"""What every experiment begins with, and the table its averages end in."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

import mllm_widgets as mw
from mllm_widgets import experiments
from mllm_widgets.errors import DatasetError
from mllm_widgets.render import Line, Mean, draw_beside, draw_lines, draw_means, joined, stacked
from mllm_widgets.sweeps import published


@pytest.fixture(scope="module")
def small() -> experiments.Study:
    return experiments.study("figure_03", per_set=2)


def test_the_demo_world_is_written_and_read(small) -> None:
    assert repr(small) == "demo, 8 layers; questions: 2 of okvqa, 2 of known, 2 of movies (at most 2 each)"
    assert small.demo
    assert small.out.name == "figure_03"
    assert all(row.answers for row in small.data.usable)
    assert small.data.usable[0].question().image is not None


def test_released_files_are_drawn_from(tmp_path: Path) -> None:
    folder = mw.datasets.write_demo_constraints(tmp_path / "data", 6)
    (folder / "filmographies.json").unlink()
    (folder / "okvqa.csv").unlink()
    some = [experiments.study("x", "demo", folder, 4, tmp_path / "runs", seed=seed) for seed in (1, 1, 3)]
    assert some[0].out == tmp_path / "runs" / "demo" / "x"
    assert [len(one.data) for one in some] == [8, 8, 8]
    names = [[row.id for row in one.data] for one in some]
    assert names[0] == names[1] != names[2]
    assert names[0] == sorted(names[0])  # in the order of the files
    answered = {row.subset: bool(row.answers) for row in some[0].data}
    assert answered == {"known": True, "movies": False}  # nobody said which films there are
    assert experiments.study("x", "demo", folder, 60, tmp_path).data.subset("known").rows.__len__() == 6


def test_each_experiment_has_its_questions(small, tmp_path: Path) -> None:
    folder = mw.datasets.write_demo_constraints(tmp_path / "data", 6)
    released = experiments.study("x", small.vlm, folder, 4, tmp_path / "runs")
    # of released files the rows themselves
    assert released.to_edit()["A"].sources.keys() == released.hard()["known"].sources.keys() == {"known"}
    assert [row.subset for row in released.with_two_constraints()] == ["movies-year"] * 4
    assert all(row.text_constraints for row in released.with_two_constraints())
    assert {row.subset for row in released.unrelated(4)} == {"okvqa", "movies"}
    assert len(released.unrelated(4)) == 4
    # of the demo world what it has beyond the three files
    assert set(small.to_edit()) == {"A", "B"}
    assert all(one.text_constraints for one in small.with_two_constraints()["languages"].values())
    assert len(small.hard()["covered"]) == len(small.with_two_constraints()["languages"]) == small.per_set
    asked = {one.text for one in small.to_edit()["B"].values()}
    assert not {mw.ask(small.vlm, one).text for one in small.to_edit()["B"].values()} - {"unknown"}, asked
    assert len(small.unrelated(5)) == 5


@pytest.mark.parametrize("per_set", [0, True, 2.5])
def test_no_count_is_refused(per_set) -> None:
    with pytest.raises(DatasetError, match=r"per_set=.* is no count"):
        experiments.study("x", per_set=per_set)


@pytest.fixture(scope="module")
def found(small) -> dict[str, mw.Averages]:
    some = {"known": small.data.subset("known")}
    return experiments.averaged_traces(small.vlm, some, small.out, progress=False)


def test_the_strongest_layers_stand_beside_the_paper_s(found) -> None:
    table = experiments.peaks(found, quantity="restored", published=published.figure_3())
    assert list(table.module) == ["mlp", "self_attn"]
    mlp, attention = table.to_dict("records")
    assert mlp["layer"] in (1, 2)
    assert attention["layer"] in (4, 5)
    assert (mlp["n"], mlp["of"]) == (2, 2)
    assert mlp["low"] <= mlp["restored"] <= mlp["high"]
    assert (mlp["layer (LLaVA)"], mlp["restored (LLaVA)"]) == (0, 0.56)
    assert (attention["layer (LLaVA)"], attention["restored (LLaVA)"]) == (18, 0.27)
    with pytest.raises(DatasetError, match="quantity='colour'"):
        experiments.peaks(found, quantity="colour")
    with pytest.raises(DatasetError, match="none of them occurs"):
        experiments.peaks(found, [("mlp", "text constraint")])


def test_own_and_published_lines_share_their_scale(found) -> None:
    theirs = published.figure_3()
    drawing = draw_beside(found["known"], theirs.query("subset == 'known'"), "self_attn")
    text = drawing.svg()
    assert found["known"].caption in drawing.description
    for words in ("LLaVA-1.5-7B, read off the figure", "first constraint token: none given", "n = 2", ">30<"):
        assert words in text


def test_a_drawing_shows_itself_in_a_notebook() -> None:
    line = draw_lines(
        [Line("one", {0: 0.1, 1: 0.4}, {0: 0.0, 1: 0.2}, {0: 0.2, 1: 0.5})],
        title="Lines",
        across="layer",
        caption="n = 2",
    )
    rows = draw_means([Mean("edited", 0.8, 0.7, 0.9, 0.82), Mean("unedited", -0.1)], title="Means", across="efficacy")
    assert {"0.80 (0.70 to 0.90); published 0.82", "-0.10"} <= set(rows.svg().replace("<", ">").split(">"))
    both = stacked([line, joined([line, rows])])
    data, size = both._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.width == 2 * size["image/png"]["width"] == 2 * both.width
    assert data["text/plain"] == size["image/png"]["alt"] == "Lines; Lines; Means. n = 2 n = 2"

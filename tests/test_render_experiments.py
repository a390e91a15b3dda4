"""Figures of edits, of failures and of places: what is drawn is what the tables say, with the paper's numbers beside it."""

from __future__ import annotations

import re

import pytest

import mllm_widgets as mw
from mllm_widgets import experiments
from mllm_widgets.errors import DatasetError
from mllm_widgets.render import (
    draw_edit_layers,
    draw_edit_methods,
    draw_failures,
    draw_places,
    draw_positions,
    draw_words,
)
from mllm_widgets.render.pen import Area, Dot, Drawing, Line, Placed


def marks(drawing: Drawing, kind: type) -> list:
    """All marks of a kind, of drawings within it too."""
    found = []
    for mark in drawing.marks:
        if isinstance(mark, Placed):
            found += marks(mark.drawing, kind)
        elif isinstance(mark, kind):
            found.append(mark)
    return found


def words(drawing: Drawing) -> set[str]:
    return set(re.findall(r">([^<>]+)<", drawing.svg()))


@pytest.fixture(scope="module")
def edits(vlm, tmp_path_factory) -> experiments.EditAverages:
    data = {"B": {"arc": mw.datasets.demo_question("Arc de Triomphe")}}
    return experiments.edit_methods(
        vlm, data, tmp_path_factory.mktemp("methods"), methods=("unedited", "MultEdit"), steps=12, others=0, progress=False
    )["B"]  # fmt: skip


def test_methods_stand_beside_the_paper_s(edits) -> None:
    drawing = draw_edit_methods(edits, "B")
    value = edits.data.set_index(["method", "measure"])["value"]["MultEdit", "efficacy"]
    assert f"{value:.2f}; published 0.83" in words(drawing)  # one edit has no interval
    assert edits.caption in drawing.description
    assert "task B" in drawing.description
    assert len([dot for dot in marks(drawing, Dot) if dot.color == "white"]) == 2  # the paper's two
    with pytest.raises(DatasetError, match="none was taken"):
        draw_edit_methods(edits, "B", ("beauty",))


def test_layers_stand_beside_the_paper_s(vlm, tmp_path) -> None:
    data = {"B": {"arc": mw.datasets.demo_question("Arc de Triomphe")}}
    found = experiments.edit_layers(vlm, data, tmp_path, layers=(1, 2), steps=12, progress=False)["B"]
    drawing = draw_edit_layers(found, ["efficacy"])
    assert len([dot for dot in marks(drawing, Dot) if dot.color == "white"]) == 32 + 1  # and the legend's
    assert {"efficacy", "LLaVA-1.5-7B, read off figure 14"} <= words(drawing)
    with pytest.raises(DatasetError, match="measure='beauty' was not taken"):
        draw_edit_layers(found, ["beauty"])


def test_right_and_wrong_answers(vlm, tmp_path) -> None:
    questions = {f"q{i}": one for i, one in enumerate(mw.datasets.demo_covered(16, seed=4, share=0.2))}
    (found,) = experiments.failure_prediction(vlm, {"covered": questions}, tmp_path, progress=False).values()
    drawing = draw_failures(found)
    said = words(drawing)
    assert {f"right answers, n = {found.score.right}", f"wrong answers, n = {found.score.wrong}"} <= said
    assert any(f"{found.confidence.value:.2f}" in one and "published 0.76" in one for one in said)
    assert found.caption in drawing.description
    assert len(marks(drawing, Area)) == 2  # a band each


def test_places_of_own_and_other_pictures(vlm, tmp_path) -> None:
    questions = {"known": {f"q{i}": one for i, one in enumerate(mw.datasets.demo(2))}}
    own = experiments.picture_to_constraint(vlm, questions, tmp_path / "own", progress=False)["known"]
    drawing = draw_places(own, (0, 3))
    assert {"layer 0, n = 2", "layer 3, n = 2", "LLaVA-1.5-7B, read off figure 5"} <= words(drawing)
    assert max(len(line.points) for line in marks(drawing, Line)) == 64
    bias = experiments.position_bias(vlm, questions, tmp_path / "bias", controls=("blank",), progress=False)["known"]
    assert {"own pictures", "blank picture"} <= words(draw_positions(bias, 1))
    for wrong in (lambda: draw_places(own, (8,)), lambda: draw_positions(bias, 8)):
        with pytest.raises(DatasetError, match="layer=8 is not there"):
            wrong()


def test_the_same_facts_with_a_picture_and_in_words(vlm, tmp_path) -> None:
    folder = mw.datasets.write_demo_constraints(tmp_path / "data", 1)
    data = mw.datasets.load_vqa_constraints(folder, known=folder / "known_1000.json").subset("known")
    found = experiments.llm_against_mllm(vlm, vlm, data, tmp_path / "runs", windows=(1, 3), progress=False)
    drawing = draw_words(found)
    assert {"About the picture, demo", "In words, demo"} <= words(drawing)
    lines = [line for line in marks(drawing, Line) if len(line.points) == 8]
    assert len(lines) == 4  # two windows, asked both ways
    assert found.caption in drawing.description
    assert "known, words: n = 1 of 1" in found.caption
    with pytest.raises(DatasetError, match="data='movies' has no averages; there are known"):
        draw_words(found, "movies")

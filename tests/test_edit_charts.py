"""Charts and the picture of edits: what is drawn is what was measured."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from bokeh.embed import file_html
from bokeh.resources import INLINE
from PIL import Image

import mllm_widgets as mw
from mllm_widgets.render import draw_edit, lambda_figure, layer_figure, loss_figure
from mllm_widgets.render.edit import EditFigure, Effect, _dashed
from mllm_widgets.render.pen import Dot, Line


@pytest.fixture(scope="module")
def edit(vlm, question):
    return mw.multedit(vlm, question, "Rome", layer=2, steps=4)


@pytest.fixture(scope="module")
def sweep(edit, question):
    others = [mw.datasets.demo_question(name, "city") for name in ("Taj Mahal", "Big Ben")]
    return mw.lambda_sweep(edit, [question, *others], [0.01, 10.0, 1e4])


def lines(chart: Any) -> dict[str, np.ndarray]:
    """The lines of a figure by their names in the legend."""
    names = {item.renderers[0]: item.label.value for item in chart.legend[0].items}
    return {names[renderer]: np.asarray(renderer.data_source.data["y"]) for renderer in chart.renderers}


def test_the_loss_chart_has_every_step(edit):
    chart: Any = loss_figure(edit)
    drawn = lines(chart)
    assert drawn["loss"].tolist() == list(edit.losses)
    assert drawn["P(Rome) with the value in place"].tolist() == list(edit.probabilities)
    assert chart.y_range.end >= max(edit.losses)
    assert "Rome" in file_html(chart, INLINE)


def test_the_lambda_chart_has_the_means_of_each_kind(sweep):
    drawn = lines(lambda_figure(sweep, ["edited", "same phrase", "same phrase"]))
    assert drawn["efficacy"] == pytest.approx(sweep.target.values[0])
    assert drawn["same-phrase leakage (2)"] == pytest.approx(sweep.target.values[1:].mean(0))
    drawn = lines(lambda_figure(sweep))
    assert drawn["specificity (2)"] == pytest.approx(sweep.agrees.values[1:].mean(0))
    assert lambda_figure(sweep).x_range is not None
    with pytest.raises(ValueError, match="kinds has 2 entries, and the sweep 3 questions"):
        lambda_figure(sweep, ["edited", "unrelated"])


def test_the_layer_chart_has_two_bars_for_each_layer(vlm, question):
    sweep = mw.layer_sweep(vlm, question, "Rome", [1, 3], steps=2)
    chart: Any = layer_figure(sweep)
    data = chart.renderers[0].data_source.data
    assert data["layer"] == ["1", "3"]
    assert data["reached"] == sweep.reached.values.tolist()
    assert data["efficacy"] == sweep.efficacy.values.tolist()
    assert [renderer.glyph.top for renderer in chart.renderers] == ["reached", "efficacy"]


def test_bokeh_is_loaded_by_the_first_chart_only():
    code = "import sys, mllm_widgets.render; print('bokeh' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- the picture ----------------------------------------------------------------------------------------------------------------


def edit_picture(*args, **more) -> Image.Image:
    return draw_edit(*args, **more).image()


def figure(**more) -> EditFigure:
    return EditFigure(
        "What is the city of this building?", (20, 33), "1 edit applied: “Rome”, λ 0.01.", True, 8, **more
    )


def test_what_is_not_known_at_a_lambda_is_left_out():
    """In half precision an edit in full may be more than the model can hold."""
    shown = {"lams": [0.01, 1, 100], "after": [("·Rome", np.nan)]}
    known, gap = (draw_edit(figure(**shown, lines={"efficacy": [first, 0.5, 0]}, at=0)) for first in (0.0, np.nan))
    dots, lines = ([sum(type(mark) is kind for mark in one.marks) for one in (known, gap)] for kind in (Dot, Line))
    assert (dots, lines) == ([1, 0], [1, 1])
    assert gap.image().size == known.image().size
    assert "nan" not in gap.svg()
    for values in ([np.nan, 0.5, np.nan], [np.nan] * 3):
        draw_edit(figure(**shown, lines={"leakage": values})).image()


def test_a_picture_without_an_edit_is_smaller_and_holds_the_picture():
    question = mw.datasets.demo_question("Eiffel Tower").image
    bare = edit_picture(figure(before=[("·Paris", 0.9)]), question)
    assert bare.mode == "RGB"
    full = edit_picture(
        figure(
            effects=[0.0, 0.9, 1.0, 0, 0, 0, 0, 0],
            causal=2,
            layer=2,
            target="Rome",
            swept={1: (0.9, 0.8), 2: (1.0, 1.0)},
            losses=[9, 4, 0.01],
            chances=[0, 0.1, 0.99],
            before=[("·Paris", 0.9)],
            after=[("·Rome", 0.8)],
            lams=[0.01, 1, 100],
            lines={"efficacy": [1, 0.5, 0], "leakage": [0.4, 0.1, 0]},
            table=[
                Effect("the edited question", "Which city?", True, ("Paris", 0.9), ("Rome", 0.8), 0.8, "changed"),
                Effect("unrelated", "Which country?", False, ("India", 0.9), ("India", 0.8), 0.0, "kept"),
            ],
            warnings=["even the value does not reach it"],
        ),
        question,
    )
    assert full.width == bare.width
    assert full.height > bare.height


def test_a_low_bar_is_lower_than_a_high_one_and_the_switch_has_the_colour_of_its_state():
    colors = np.asarray(edit_picture(figure(target="Rome", swept={0: (0.2, 0.2), 4: (1.0, 1.0)})))
    blue = (colors == (0x0A, 0x58, 0xCA)).all(-1)
    columns = blue[:, 28:400].sum(0), blue[:, 400:830].sum(0)
    assert 0 < columns[0].max() < columns[1].max()
    purple = (0x8A, 0x3A, 0xB9)
    assert (colors == purple).all(-1).sum() > 1000
    original = EditFigure("q", (), "The model is as it was loaded.", False, 8)
    assert (np.asarray(edit_picture(original)) == purple).all(-1).sum() == 0


def test_a_dashed_line_has_gaps_and_keeps_its_corners():
    parts = _dashed([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)], (8, 4))
    assert parts == [[(0.0, 0.0), (8.0, 0.0)], [(10.0, 2.0), (10.0, 10.0)]]
    assert _dashed([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)], (15, 1))[0] == [(0.0, 0.0), (10.0, 0.0), (10.0, 5.0)]


def test_the_picture_of_no_picture_is_drawn_too():
    assert isinstance(edit_picture(EditFigure("q", (), "", False, 40, effects=[0.1] * 40)), Image.Image)

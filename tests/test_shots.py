"""The pictures beside live views: taken anew by hand, by the camera button, and after changes."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets.errors import WidgetError
from mllm_widgets.widgets.shots import SIGNATURE

LONG = 60


class Outputs:
    """A notebook's outputs by their display id, each with the pictures it has held."""

    def __init__(self) -> None:
        self.pictures: dict[str, list[str]] = {}
        self.sizes: list[dict[str, Any]] = []

    def display(self, data: Any, raw: bool, metadata: Any = None, display_id: str = "") -> None:
        assert raw
        if "image/png" in data:
            self.pictures[display_id] = [data["image/png"]]
            self.sizes.append(metadata["image/png"])

    def update(self, data: Any, raw: bool, metadata: Any, display_id: str) -> None:
        assert raw
        assert data["text/plain"]
        self.pictures[display_id].append(data["image/png"])
        self.sizes.append(metadata["image/png"])


@pytest.fixture
def outputs(monkeypatch):
    found = Outputs()
    monkeypatch.setattr("IPython.display.display", found.display)
    monkeypatch.setattr("IPython.display.update_display", found.update)
    return found


@pytest.fixture
def shown(vlm, question):
    values = np.random.default_rng(0).random((8, 64))
    return mw.PatchMap(question.image, vlm.geometry(question), values, tuple(range(8)))


def test_a_snapshot_puts_the_present_picture_into_every_output(shown, outputs):
    grid = mw.PatchGrid(shown, layer=1)
    grid._ipython_display_()
    grid._ipython_display_()
    assert (grid.outputs, grid.taken) == (2, 0)
    grid.layer = 6
    assert grid.snapshot() == 2
    assert (grid.outputs, grid.taken) == (2, 1)
    for first, second in outputs.pictures.values():
        assert first != second
        assert base64.b64decode(second) == grid.to_png()
    assert outputs.sizes[-1] == {"width": grid.picture().width // 2, "alt": repr(grid)}


def test_a_picture_is_known_by_its_widget_whatever_its_size(vlm, question, shown, outputs):
    grid = mw.PatchGrid(shown)
    grid._ipython_display_()
    known = grid.picture_id
    other = mw.PatchGrid(shown)
    other._ipython_display_()
    assert other.picture_id != known
    before = grid.picture().size
    grid.show(mw.PatchMap(question.image.resize((300, 90)), vlm.geometry(question), shown.values, shown.layers))
    assert grid.picture().size != before
    grid.snapshot()
    first, second = outputs.pictures[next(iter(outputs.pictures))]
    assert first[SIGNATURE] == second[SIGNATURE] == known == grid.picture_id
    assert grid.model_id[:24].encode() in base64.b64decode(known)


def test_a_widget_that_was_displayed_in_a_box_has_no_output_to_bring_up_to_date(shown, outputs):
    grid = mw.PatchGrid(shown)
    assert (grid.snapshot(), grid.outputs) == (0, 0)
    grid.set_state({"snapshots": 1})
    assert grid.shots.wait(LONG)
    assert outputs.pictures == {}


def test_the_camera_button_takes_a_snapshot_on_a_thread(shown, outputs):
    grid = mw.PatchGrid(shown)
    grid._ipython_display_()
    grid.set_state({"layer": 5, "snapshots": 1})
    assert grid.shots.wait(LONG)
    assert grid.taken == 1
    assert [len(pictures) for pictures in outputs.pictures.values()] == [2]


def test_why_a_picture_could_not_be_taken_is_said_each_time(vlm, question, outputs, monkeypatch):
    explorer = mw.Explorer(vlm, question, auto_snapshot=True)
    explorer._ipython_display_()
    assert explorer.wait(LONG)
    assert explorer.shots.wait(LONG)
    said, taken = [], explorer.taken
    explorer.panel.observe(lambda change: said.append(change["new"]), "refused")
    nothing, other = WidgetError("there is nothing to draw yet."), ValueError("two\nlines")
    errors = iter([nothing, nothing, other, other])

    def fails():
        raise next(errors)

    monkeypatch.setattr(explorer, "drawing", fails)
    explorer.select(layer=7)
    assert explorer.shots.wait(LONG)
    assert said == [], "nobody asked for it"
    for count in (1, 2, 3):
        explorer.panel.set_state({"snapshots": count})
        assert explorer.shots.wait(LONG)
    told = "the picture could not be drawn: ValueError: two"
    assert [reason for reason in said if reason] == ["there is nothing to draw yet.", told, told]
    assert explorer.taken == taken
    monkeypatch.undo()
    explorer.panel.set_state({"snapshots": 4})
    assert explorer.shots.wait(LONG)
    assert explorer.taken == taken + 1
    explorer.close()


def test_nothing_is_taken_after_a_change_unless_that_was_asked_for(shown, outputs):
    grid = mw.PatchGrid(shown)
    grid._ipython_display_()
    grid.layer = 3
    assert not grid.shots._jobs.busy
    assert grid.shots.wait(LONG)
    assert grid.taken == 0


def test_with_auto_snapshot_the_last_of_many_changes_is_what_the_output_shows(shown, outputs):
    grid = mw.PatchGrid(shown, layer=0, auto_snapshot=True)
    grid._ipython_display_()
    for layer in range(1, 8):
        grid.set_state({"layer": layer})
    assert grid.shots.wait(LONG)
    [pictures] = outputs.pictures.values()
    assert base64.b64decode(pictures[-1]) == grid.to_png()
    assert grid.taken <= 2, "one for the first change, and one for the rest"
    taken = grid.taken
    grid.set_state({"offline": True})  # which no picture shows
    assert grid.shots.wait(LONG)
    assert grid.taken == taken
    grid.close()


def test_a_widget_that_is_closed_keeps_its_last_picture(shown, outputs):
    grid = mw.PatchGrid(shown)
    grid._ipython_display_()
    with grid._traits_lock:
        grid.set_state({"layer": 5, "snapshots": 1})  # its picture cannot be drawn yet
        grid.shots.close()
    assert grid.shots.wait(LONG)
    assert [len(pictures) for pictures in outputs.pictures.values()] == [1]
    grid.close()


def test_what_is_being_computed_is_photographed_when_it_is_there(vlm, question, outputs):
    heatmap = mw.TraceHeatmap(mw.causal_trace(vlm, question), auto_snapshot=True)
    heatmap._ipython_display_()
    heatmap.window = 3
    assert heatmap.wait(LONG)
    assert heatmap.shots.wait(LONG)
    [pictures] = outputs.pictures.values()
    assert base64.b64decode(pictures[-1]) == heatmap.to_png()
    heatmap.close()


def test_before_there_is_a_picture_a_snapshot_says_so(vlm, question, outputs):
    heatmap = mw.TraceHeatmap(mw.tracing.prepare_trace(vlm, question))
    heatmap._trace = None
    with pytest.raises(WidgetError, match="no complete map yet"):
        heatmap.snapshot()
    heatmap.close()
    assert heatmap.wait(LONG)


def test_an_explorer_is_one_picture_whichever_of_its_views_is_asked(vlm, question, outputs):
    explorer = mw.Explorer(vlm, question, auto_snapshot=True)
    try:
        explorer._ipython_display_()
        assert explorer.wait(LONG)
        assert explorer.shots.wait(LONG)
        assert len(outputs.pictures) == 1
        assert explorer.panel.outputs == explorer.outputs == 1
        taken = explorer.taken
        assert explorer.heatmap is not None
        explorer.heatmap.set_state({"module": "self_attn"})
        assert explorer.shots.wait(LONG)
        assert explorer.taken == explorer.panel.taken > taken
        taken = explorer.taken
        explorer.panel.set_state({"snapshots": 1})
        assert explorer.shots.wait(LONG)
        assert explorer.taken == taken + 1
        [pictures] = outputs.pictures.values()
        assert base64.b64decode(pictures[-1]) == explorer.to_png()
        explorer.heatmap.close()
        explorer.panel.set_state({"snapshots": 2})
        assert explorer.shots.wait(LONG)
        assert explorer.taken == taken + 2, "a view that goes takes its Explorer's pictures with it"
    finally:
        explorer.close()


def test_a_view_of_an_explorer_displayed_alone_has_a_picture_of_its_own(vlm, question, outputs):
    explorer = mw.Explorer(vlm, question)
    try:
        explorer._ipython_display_()
        assert explorer.wait(LONG)
        for view in (explorer.heatmap, explorer.grid, explorer.lens):
            assert view is not None
            view._ipython_display_()
            assert base64.b64decode([*outputs.pictures.values()][-1][-1]) == view.to_png()
            assert view.outputs == 1
            assert view.picture_id != explorer.picture_id
        explorer.panel._ipython_display_()  # which has none
        assert len(outputs.pictures) == 4
        assert explorer.heatmap is not None
        explorer.heatmap.module = "self_attn"
        assert explorer.heatmap.snapshot() == 2  # its own and the Explorer's
        whole, own, *_ = outputs.pictures.values()
        assert base64.b64decode(own[-1]) == explorer.heatmap.to_png()
        assert base64.b64decode(whole[-1]) == explorer.to_png()
    finally:
        explorer.close()

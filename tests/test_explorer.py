"""The Explorer without a browser: what follows what, generations, undo, the copied code, and what it says when something is wrong."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np
import pytest
from PIL import Image

import mllm_widgets as mw
from mllm_widgets.errors import FlowError, QuestionError, WidgetError
from mllm_widgets.vlm.spans import words_of
from mllm_widgets.widgets import wire
from mllm_widgets.widgets.explorer import compute
from mllm_widgets.widgets.explorer.history import History
from mllm_widgets.widgets.explorer.lens_panel import LensPanel
from mllm_widgets.widgets.explorer.messages import hear, uploaded
from mllm_widgets.widgets.explorer.question_panel import QuestionPanel
from mllm_widgets.widgets.explorer.trials_panel import TrialsPanel
from mllm_widgets.widgets.explorer.view import View
from mllm_widgets.widgets.explorer.views import STEERED
from tests.families import test_mllama as mllama
from tests.families.tiny_llava import llava_next
from tests.families.tiny_llava import question as tiny_question
from tests.families.tiny_text import question as text_question
from tests.families.tiny_text import tiny_text
from tests.front_end import interface_fields, sent_traits

LONG = 60


@pytest.fixture
def explorer(vlm, question):
    made = mw.Explorer(vlm, question)
    assert made.wait(LONG)
    yield made
    made.close()


@pytest.fixture(scope="module")
def one(vlm, question):
    made = mw.Explorer(vlm, question)
    assert made.wait(LONG)
    yield made
    made.close()


@pytest.fixture
def shared(one):
    """One for all tests that ask nothing else and break nothing: what they do to it is undone."""
    yield one
    while one.panel.can_undo:
        one.undo()
    assert one.wait(LONG)


def say(explorer: mw.Explorer, kind: str, *buffers: bytes, **content: Any) -> None:
    """What the browser would send."""
    hear(explorer._session, {"kind": kind, "id": 1, **content}, list(buffers))


def png(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def shown(explorer: mw.Explorer) -> list[str]:
    """The questions that the views on show belong to."""
    views = [explorer.heatmap, explorer.grid]
    return [explorer.panel.question, *(view.question for view in views if view is not None)]


# --- what is shown ------------------------------------------------------------------------------------------------------------


def test_every_view_is_of_the_question_and_has_the_values_python_gives(shared, vlm, question):
    assert shared.answer.text == "Paris"
    assert shown(shared) == [question.text] * 3
    wanted = mw.causal_trace(vlm, question).restored.values
    assert np.abs(wire.array(shared.heatmap.values) - wanted).max() <= 1e-6
    flow = mw.attention_contributions(vlm, question, target=shared.view.token)
    assert np.allclose(shared.grid.patch_map.values, flow.norms.sel(token=flow.visual).values, atol=1e-5)
    lens = mw.logit_lens(vlm, question, shared.view.token)
    place = shared.lens.positions.index(shared.view.token)
    words = shared.lens.words[place][3]
    assert [w["p"] for w in words] == pytest.approx([p for _, p in lens.words(3, shared.view.token)], abs=1e-5)
    assert [child for column in shared.children[1:] for child in column.children] == [
        shared.heatmap,
        shared.lens,
        shared.grid,
        shared.trials,
    ]


def test_it_begins_at_the_last_constraint_token_where_the_picture_writes_most(shared, vlm, question):
    flow = mw.attention_contributions(vlm, question, target=vlm.encode(question).constraint[-1])
    assert shared.view.token == flow.targets[0]
    assert shared.view.layer == flow.peak_layer
    assert not shared.panel.can_undo


def test_a_cell_of_the_map_takes_grid_and_lens_with_it(shared, vlm, question):
    shared.heatmap.set_state({"token": 77, "layer": 5, "selected": [14, 5]})
    assert (shared.grid.token, shared.grid.layer) == (77, 5)
    assert (shared.lens.token, shared.lens.layer) == (77, 5)
    assert (shared.view.token, shared.view.layer) == (77, 5)
    flow = mw.attention_contributions(vlm, question, target=77)
    assert np.allclose(shared.grid.patch_map.values, flow.norms.sel(token=flow.visual).values, atol=1e-5)


def test_what_came_from_the_browser_is_not_sent_back_to_other_views(shared, monkeypatch):
    sent = []
    monkeypatch.setattr(
        ipywidgets.Widget, "send_state", lambda self, key=None: sent.append((type(self).__name__, key)), raising=True
    )
    shared.grid.set_state({"layer": 4})
    names = [name for name, key in sent if key and "layer" in key]
    assert not {"TraceHeatmap", "LensPanel", "Selection"} & set(names)
    shared.select(layer=2)  # from the kernel it must be sent
    assert {name for name, key in sent if key == "layer"} >= {"TraceHeatmap", "LensPanel", "PatchGrid"}


def test_single_views_are_tied_by_links_that_need_no_kernel(shared):
    tied = {
        (link.source[0], link.source[1], link.target[0], link.target[1])
        for link in shared.selection._links
        if isinstance(link, ipywidgets.widgets.widget_link.Link)
    }
    selection = shared.selection
    for widget in (shared.heatmap, shared.grid, shared.lens):
        assert (selection, "layer", widget, "layer") in tied
        assert (selection, "token", widget, "token") in tied
    assert (selection, "patches", shared.grid, "selected") in tied
    assert (selection, "patches", shared.trials, "patches") in tied


def test_a_token_that_was_not_sent_is_computed_when_it_is_selected(vlm, question, monkeypatch):
    monkeypatch.setattr(compute, "MOST_TARGETS", 1)
    explorer = mw.Explorer(vlm, question)
    assert explorer.wait(LONG)
    grid: Any = explorer.grid
    assert {target["position"] for target in grid.targets} == {75, 78}
    explorer.select(token=72)
    assert explorer.wait(LONG)
    flow = mw.attention_contributions(vlm, question, target=72)
    assert np.allclose(grid.patch_map.values, flow.norms.sel(token=flow.visual).values, atol=1e-5)
    explorer.close()


# --- another question -----------------------------------------------------------------------------------------------------------


def test_another_constraint_is_traced(explorer, question):
    start = question.text.index("city")
    say(explorer, "constraint", start=start, end=start + 4)
    assert explorer.wait(LONG)
    assert explorer.question.constraint == "city"
    assert explorer.panel.span == [start, start + 4]
    assert [row["label"] for row in explorer.heatmap.rows if row["constraint"]] == ["·city"]


def test_the_second_of_two_equal_words_can_be_marked(vlm, question):
    explorer = mw.Explorer(vlm, replace(question, text="Which city is the city of this building?"))
    say(explorer, "constraint", start=18, end=22)
    assert explorer.panel.span == [18, 22]
    assert (explorer.question.constraint, explorer.question.occurrence) == ("city", 1)
    explorer.close()


def test_a_question_without_a_constraint_asks_for_one_and_shows_the_rest(vlm, question):
    explorer = mw.Explorer(vlm, replace(question, constraint=None))
    assert explorer.wait(LONG)
    assert explorer.heatmap is None
    assert any("mark those that point at the picture" in note for note in explorer.panel.notes)
    assert explorer.view.token == 78
    assert explorer.grid is not None
    say(explorer, "constraint", start=20, end=33)
    assert explorer.wait(LONG)
    assert explorer.heatmap is not None
    assert explorer.panel.notes == []
    explorer.close()


def test_views_of_the_old_question_are_gone_before_the_new_words_stand_there(explorer, question):
    before = []
    explorer.panel.observe(
        lambda change: before.append((explorer.heatmap, explorer.grid, explorer.lens, explorer.children)), "question"
    )
    explorer.ask(replace(question, text="What is the country of this building?"))
    assert before == [(None, None, None, (explorer.panel,))]
    assert explorer.wait(LONG)
    assert explorer.answer.text == "France"


def test_ten_quick_questions_never_show_two_at_once(explorer, question):
    places = ("city", "country", "height", "name", "year")
    asked = [replace(question, text=f"What is the {places[i % 5]} of this building?") for i in range(10)]
    mixed, stop = [], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            with explorer._session.lock:
                seen = set(shown(explorer))
                if len(seen) > 1:
                    mixed.append(seen)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for one in asked:
        explorer.ask(one)
        time.sleep(0.05)
    assert explorer.wait(LONG)
    stop.set()
    watcher.join()
    assert mixed == []
    assert shown(explorer) == [asked[-1].text] * 3
    assert explorer.generation == 11


def test_results_of_an_old_question_are_not_installed(explorer, question, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    real = compute._flow

    def slow(*arguments):
        begun.set()
        go.wait(LONG)
        real(*arguments)

    monkeypatch.setattr(compute, "_flow", slow)
    explorer.ask(replace(question, text="What is the country of this building?"))
    assert begun.wait(LONG)
    explorer.undo()  # everything about that one is known
    go.set()
    assert explorer.wait(LONG)
    assert shown(explorer) == [question.text] * 3


def test_another_picture_is_asked_about(explorer):
    other = mw.datasets.demo_question("Taj Mahal").image
    say(explorer, "picture", png(other), name="taj.png")
    assert explorer.wait(LONG)
    assert explorer.answer.text == "Agra"
    assert np.array_equal(np.asarray(explorer.grid.patch_map.image), np.asarray(other))


# --- by cause -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tested(vlm, question) -> Iterator[tuple[mw.Explorer, dict[str, Any]]]:
    """An Explorer whose patches were all tested, and that looks elsewhere since; and what its copied code gives."""
    made: Any = mw.Explorer(vlm, question)
    assert made.wait(LONG)
    made.select(patches=list(range(64)))
    made.trace_patches()
    made.heatmap.window = 3
    made.block_patches()
    made.select(token=77, layer=6, patches=[10, 11])
    made.heatmap.module = "self_attn"
    made.grid.publish(scale="log", top_k=7, threshold=0.25)
    assert made.wait(LONG)
    scope: dict[str, Any] = {}
    exec(made.panel.head + made.panel.code, scope)
    yield made, scope
    made.close()


def test_traced_patches_are_a_row_with_the_values_python_gives(tested, vlm, question):
    explorer, scope = tested
    wanted = scope["trial_1"].group_effect
    # little, for what patches tell has left them by the end of layer 0, and still more than the comparison forgives
    assert float(abs(wanted).max()) > 5e-4
    row = explorer.trials.rows[0]
    assert row["state"] == "done"
    for module in ("residual", "mlp", "self_attn"):
        assert row["effects"][module] == pytest.approx(wanted.sel(module=module).values[:, 0].tolist(), abs=1e-5)
        assert explorer.results[0][module] == pytest.approx(row["effects"][module])
    from_the_start = float(scope["trial_1_from_the_start"][0]) - scope["trial_1"].corrupted
    assert row["all"] == pytest.approx(from_the_start, abs=1e-5)
    assert from_the_start > 0.3, "with all patches clean from the start the answer is back"
    # the code says what was done: all patches restored together, in a picture with this noise
    assert f"sigma {explorer._session.findings.sigma:g}" in scope["trial_1"].corruption
    assert scope["trial_1"].groups[0].positions == tuple(np.flatnonzero(vlm.encode(question).visual))


def test_blocked_patches_are_a_row_with_the_values_python_gives(tested, vlm, question):
    explorer, _ = tested
    cut = mw.attention_knockout(vlm, question, "visual", "constraint", window=3)
    row = explorer.trials.rows[1]
    assert row["effects"]["change"] == pytest.approx(cut.change.values.tolist(), abs=1e-6)
    every = mw.attention_knockout(vlm, question, "visual", "constraint", window=None)
    assert row["all"] == pytest.approx(float(every.change[0]), abs=1e-6)
    assert row["all"] < -0.5
    assert "Blocked 64 patches from “this building”, window 3" in row["label"]


def test_rows_can_be_removed_and_a_test_is_not_done_twice(shared):
    shared.select(patches=[1, 2])
    say(shared, "block")
    assert shared.wait(LONG)
    begun = shared._session.work.started
    say(shared, "block")
    assert shared._session.work.started == begun
    assert len(shared.trials.rows) == 1
    say(shared, "forget", trial=0)
    assert shared.trials.rows == []


def test_without_patches_there_is_nothing_to_test(shared):
    with pytest.raises(WidgetError, match="no patches are selected"):
        shared.trace_patches()
    say(shared, "block")
    assert "no patches are selected" in shared.panel.error


# --- undo, code -----------------------------------------------------------------------------------------------------------------


def test_everything_the_user_did_is_undone_and_done_again(explorer, question):
    first = explorer.view
    explorer.select(patches=[3])
    explorer.heatmap.window = 2
    explorer.ask(replace(question, text="What is the country of this building?"))
    assert explorer.wait(LONG)
    asked = explorer.view
    explorer.undo()
    assert explorer.question is question
    assert explorer.wait(LONG)
    assert (explorer.heatmap.window, explorer.grid.selected) == (2, [3])
    explorer.undo()
    assert explorer.heatmap.window == 1
    explorer.undo()
    assert explorer.view == first
    assert explorer.grid.selected == []
    assert not explorer.panel.can_undo
    explorer.undo()  # nothing left
    for _ in range(3):
        explorer.redo()
    assert explorer.view == replace(asked, layer=explorer.view.layer)
    assert not explorer.panel.can_redo


SETTINGS = {
    ("heatmap", "module"): "self_attn",
    ("grid", "scale"): "log",
    ("grid", "top_k"): 3,
    ("grid", "threshold"): 0.2,
    ("grid", "opacity"): 0.5,
    ("grid", "compare"): True,
    ("grid", "mask_sinks"): True,
    ("lens", "top_k"): 1,
    ("trials", "module"): "mlp",
}


def test_every_setting_of_every_view_is_undone_and_done_again(shared):
    def now() -> dict[tuple[str, str], Any]:
        return {(view, name): getattr(getattr(shared, view), name) for view, name in SETTINGS}

    before = now()
    for (view, name), value in SETTINGS.items():
        getattr(shared, view).set_state({name: value})  # as the browser does
    assert now() == SETTINGS
    for count in range(1, len(SETTINGS) + 1):  # one step for each
        shared.undo()
        assert now() == {**SETTINGS, **dict(list(before.items())[-count:])}
    assert not shared.panel.can_undo
    for _ in SETTINGS:
        shared.redo()
    assert now() == SETTINGS


def test_the_settings_of_each_control_that_a_user_has_are_known():
    """A control that is not among them could not be undone."""
    selected = {"token", "layer", "patches", "selected"}
    for name, kind in (("heatmap", mw.TraceHeatmap), ("grid", mw.PatchGrid)):
        said = re.search(
            r"(?:Written by the front end|Traits to steer)(.*?)(?:Written by the kernel|The others)",
            str(kind.__doc__),
            re.DOTALL,
        )
        assert said is not None
        steered = set(re.findall(r"`(\w+)`", said[1])) & set(kind.class_traits(sync=True))
        assert steered - selected - {"cancel", "window"} == set(STEERED[name])


def test_another_question_keeps_the_settings_and_undo_brings_them_back(explorer, question):
    explorer.heatmap.module = "self_attn"
    explorer.grid.scale = "log"
    explorer.ask(replace(question, text="What is the country of this building?"))
    assert explorer.wait(LONG)
    assert (explorer.heatmap.module, explorer.grid.scale) == ("self_attn", "log")
    explorer.grid.scale = "linear"
    explorer.heatmap.module = "mlp"
    for wanted in (("self_attn", "linear"), ("self_attn", "log")):
        explorer.undo()
        assert (explorer.heatmap.module, explorer.grid.scale) == wanted
    explorer.undo()
    assert explorer.question is question
    assert explorer.wait(LONG)
    assert (explorer.heatmap.module, explorer.grid.scale) == ("self_attn", "log")
    explorer.undo()
    assert (explorer.heatmap.module, explorer.grid.scale) == ("self_attn", "linear")


def test_quick_moves_of_one_control_are_one_step_to_undo(question):
    now = [0.0]
    first = View(question)
    history: Any = History(first, clock=lambda: now[0])
    for layer in (1, 2, 3):
        history.push(replace(first, layer=layer), "selection")
        now[0] += 0.2
    now[0] += 5
    history.push(replace(first, layer=4), "selection")
    assert history.step(back=True).layer == 3
    assert history.step(back=True) == first
    assert history.step(back=True) is None
    assert history.step(back=False).layer == 3


def test_the_layer_that_the_first_contributions_chose_is_not_undone(question):
    history: Any = History(View(question))
    history.push(View(question, window=2), "window")
    history.push(View(question, window=2, layer=1), "selection")
    history.step(back=True)  # at layer 0 again, when the contributions come
    history.amend(5)
    assert history.view == View(question, window=2, layer=5)
    assert history.step(back=True) == View(question, layer=5)
    history.step(back=False)
    assert history.step(back=False).layer == 1


def test_the_copied_code_gives_what_is_on_show(tested):
    explorer, scope = tested
    assert explorer.panel.head + explorer.panel.code == explorer.code()
    assert scope["answer"].text == explorer.answer.text
    assert np.allclose(scope["trace"].restored.values, explorer.trace.restored.values, atol=1e-5)
    assert (scope["heatmap"].token, scope["heatmap"].layer, scope["heatmap"].module) == (77, 6, "self_attn")
    assert (scope["patches"].layer, scope["patches"].selected) == (6, [10, 11])
    assert [getattr(scope["patches"], name) for name in ("scale", "top_k", "threshold")] == ["log", 7, 0.25]
    assert np.allclose(scope["patches"].patch_map.values, explorer.grid.patch_map.values, atol=1e-5)
    traced, blocked = map(dict, explorer.results)
    from_the_start = float(scope["trial_1_from_the_start"][0]) - scope["trial_1"].corrupted
    assert traced.pop("all") == pytest.approx(from_the_start, abs=1e-5)
    for module, effects in traced.items():
        assert scope["trial_1"].group_effect.sel(module=module).values[:, 0] == pytest.approx(effects, abs=1e-5)
    assert scope["trial_2"].change.values == pytest.approx(blocked["change"], abs=1e-5)


def test_the_picture_has_question_answer_and_views(shared, question):
    picture = shared.picture()
    assert picture.width > shared.heatmap.picture().width
    assert picture.height > shared.grid.picture().height
    alone = mw.Explorer(shared._session.vlm, replace(question, constraint=None))
    assert alone.wait(LONG)
    assert alone.picture().height > 200
    alone.close()


# --- wrong inputs, other models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.new("CMYK", (40, 30), (0, 200, 0, 0)), "TIFF"),
        (Image.fromarray(np.full((30, 40), 40000, dtype=np.uint16)), "PNG"),
        (Image.new("RGBA", (40, 30), (0, 0, 0, 0)), "PNG"),
        (Image.new("P", (40, 30)), "GIF"),
    ],
)
def test_uploaded_pictures_of_every_kind_are_read(image, kind):
    found = uploaded(png(image, kind), "file")
    assert (found.mode, found.size) == ("RGB", (40, 30))
    if image.mode == "RGBA":
        assert found.getpixel((0, 0)) == (255, 255, 255)


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    data = png(frames[0], "GIF", save_all=True, append_images=frames[1:])
    red, _, blue = np.asarray(uploaded(data, "moving.gif"))[5, 5]
    assert red > 250
    assert blue < 5


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"no picture", "'x.png' cannot be read as a picture"), (b"", "cannot be read"), (b"0" * 40_000_001, "40 MB")],
)
def test_what_is_no_picture_is_said_in_the_panel(shared, data, words):
    before = shared.view
    say(shared, "picture", data, name="x.png")
    assert words in shared.panel.error
    assert shared.view == before
    say(shared, "undo")
    assert shared.panel.error == ""


def test_a_picture_with_too_many_pixels_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(QuestionError, match="more pixels than can be decoded safely"):
        uploaded(png(Image.new("RGB", (12, 12))), "huge.png")


def test_what_is_not_there_cannot_be_selected(shared):
    before = shared.view
    with pytest.raises(WidgetError, match="token=79 is not in this prompt; expected a whole number from -1 to 78"):
        shared.select(token=79)
    with pytest.raises(WidgetError, match="layer=8 is not in this model"):
        shared.select(layer=8)
    with pytest.raises(WidgetError, match="patches=64 is not in this picture"):
        shared.select(patches=[1, 64])
    say(shared, "trace", patches=[700])
    assert "patches=700 is not in this picture" in shared.panel.error
    shared.selection.set_state({"token": 300, "patches": [3, 90]})  # late, of a longer question
    assert shared.view == replace(before, patches=(3,))


def test_an_empty_question_is_said_in_the_panel(shared):
    say(shared, "ask", text="  ")
    assert "is no question" in shared.panel.error
    assert shared.generation == 1


def broken(*_: Any) -> None:
    raise RuntimeError("CUDA out of memory")


def test_what_fails_in_the_model_is_said_in_the_panel_and_can_be_tried_again(vlm, question, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(compute, "_flow", broken)
        explorer = mw.Explorer(vlm, question)
        assert explorer.wait(LONG)
        assert explorer.panel.state == "error"
        assert explorer.panel.error == (
            "This could not be computed (following the attention): RuntimeError: CUDA out of memory. "
            "The next thing you do tries it again."
        )
        assert explorer.heatmap is not None
        assert explorer.lens is not None  # what comes after it is there all the same
    explorer.select(layer=1)
    assert explorer.wait(LONG)
    assert explorer.grid is not None
    assert (explorer.panel.state, explorer.panel.error) == ("idle", "")
    explorer.close()


def test_a_test_that_fails_leaves_the_next_one_its_turn(shared, monkeypatch):
    def first_only(*arguments: Any, real: Any = compute._trial) -> None:
        (broken if arguments[2].patches == (1,) else real)(*arguments)

    monkeypatch.setattr(compute, "_trial", first_only)
    with shared._session.lock:  # both are asked before the first is begun
        for patch in (1, 2):
            shared.select(patches=[patch])
            shared.block_patches()
    assert shared.wait(LONG)
    assert [row["state"] for row in shared.trials.rows] == ["error", "done"]
    assert shared.trials.rows[0]["note"] == "RuntimeError: CUDA out of memory"
    assert "(blocking patches)" in shared.panel.error
    monkeypatch.undo()
    shared.select(layer=2)
    assert shared.wait(LONG)
    assert [row["state"] for row in shared.trials.rows] == ["done", "done"]


def test_a_tiled_picture_works(question):
    explorer = mw.Explorer(llava_next(most=6), tiny_question(200, 300))
    assert explorer.wait(LONG)
    assert explorer.panel.error == ""
    assert explorer.grid is not None
    explorer.select(patches=explorer.grid.top(3))
    explorer.trace_patches()
    explorer.block_patches()
    assert explorer.wait(LONG)
    assert [row["state"] for row in explorer.trials.rows] == ["done", "done"]
    explorer.close()


def test_a_model_that_sees_by_cross_attention_is_traced_and_says_why_there_are_no_patches():
    vlm = mllama.build_vlm()
    explorer = mw.Explorer(vlm, mllama.question())
    assert explorer.wait(LONG)
    assert explorer.heatmap is not None
    assert explorer.grid is None
    assert "cross-attention" in explorer.panel.notes[0]
    assert not explorer.panel.pictured
    explorer.picture()
    explorer.close()


def test_a_language_model_is_traced_and_takes_no_picture():
    explorer = mw.Explorer(tiny_text("llama"), text_question())
    assert explorer.wait(LONG)
    assert explorer.heatmap is not None
    assert explorer.lens is not None
    assert (explorer.grid, explorer.panel.notes, explorer.panel.error) == (None, [], "")
    assert not explorer.panel.takes_pictures
    say(explorer, "picture", png(Image.new("RGB", (8, 8))), name="x.png")
    assert "is a language model, which reads none" in explorer.panel.error
    explorer.close()


def test_wrong_arguments_are_sentences(vlm, question):
    with pytest.raises(FlowError, match="vlm is a str"):
        mw.Explorer("demo", question)  # type: ignore[arg-type]
    with pytest.raises(WidgetError, match="does not take windows"):
        mw.Explorer(vlm, question, windows=3)
    with pytest.raises(WidgetError, match="window=9 is not in this model; expected a whole number from 1 to 8"):
        mw.Explorer(vlm, question, window=9)
    with pytest.raises(WidgetError, match="token=400 is not in this prompt; expected a whole number from 0 to 78"):
        mw.Explorer(vlm, question, token=400)


def test_closing_it_closes_every_view_and_stops_the_worker(vlm, question):
    explorer = mw.Explorer(vlm, question)
    assert explorer.wait(LONG)
    views = [explorer.heatmap, explorer.grid, explorer.lens, explorer.panel, explorer.trials, explorer.selection]
    explorer.ask(replace(question, text="What is the country of this building?"))
    explorer.close()
    assert explorer._session.work.wait(LONG)
    assert all(view.comm is None for view in views)


def test_it_is_closed_without_a_word_when_some_of_it_is_closed_already(vlm, question):
    """As at the end of a script, where Python takes things down in any order."""
    explorer = mw.Explorer(vlm, question)
    assert explorer.wait(LONG)
    explorer.panel.close()
    explorer.close()
    assert explorer.comm is None
    explorer.close()


# --- parts ----------------------------------------------------------------------------------------------------------------------


def test_words_are_told_without_the_punctuation_around_them():
    text = "“Who's” there, 北京?"
    assert [(w["text"], text[w["start"] : w["end"]]) for w in words_of(text)] == [
        ("Who's", "Who's"),
        ("there", "there"),
        ("北京", "北京"),
    ]


@pytest.mark.parametrize(
    ("widget", "interface"),
    [(QuestionPanel, "QuestionState"), (TrialsPanel, "TrialsState"), (LensPanel, "LensState")],
)
def test_the_traits_are_the_fields_the_front_end_knows(widget, interface):
    assert sent_traits(widget) == interface_fields("explorer/state.ts", interface)


def wait_for(said):
    end = time.monotonic() + LONG
    while not said():
        assert time.monotonic() < end
        time.sleep(0.02)
    return True


def test_editing_has_a_tab_and_the_views_follow_the_edited_model(vlm, question):
    made = mw.Explorer(vlm, question)
    try:
        assert made.wait(LONG)
        assert (made.panel.tab, made.panel.editable, made.edit_panel) == ("look", True, None)
        made.turn_to("edit")
        editor = made.edit_panel
        assert editor is not None
        assert made.children[0] is made.panel
        assert made.children[-1] is editor
        assert len(made.children) == 4, "the views stay in the page, where the panel shows one tab or the other"
        assert made.panel.editing
        editor.make("Rome", layer=2)
        assert editor.wait(LONG)
        assert made.wait(LONG)
        before = made.generation
        made.turn_to("look")
        assert wait_for(lambda: made.generation == before + 1), "what was found of the unedited model is gone"
        assert made.wait(LONG)
        assert answer_of(made) == "Rome"
        assert made.panel.edited == "This is the edited model: 1 edit applied."
        assert made.trace is not None
        assert made.trace.answer.text == "Rome"
        expected = mw.causal_trace(vlm, question, corruption=made.trace.corruption)  # of the model as it is, edited
        np.testing.assert_allclose(made.trace.restored, expected.restored, atol=1e-5)
        made.panel.set_state({"tab": "edit"})  # as the page does, which needs no kernel for it
        assert made.edit_panel is editor, "the panel is made once"
        editor.revert()
        made.panel.set_state({"tab": "look"})
        assert made.edit_panel is None
        assert wait_for(lambda: made.generation == before + 2)
        assert made.wait(LONG)
        assert made.panel.edited == ""
        assert answer_of(made) == "Paris"
    finally:
        made.close()


def answer_of(explorer):
    return None if explorer.answer is None else explorer.answer.text


def test_edits_stay_when_something_else_is_asked_and_go_when_the_explorer_is_closed(vlm, question):
    made = mw.Explorer(vlm, question)
    try:
        assert made.wait(LONG)
        made.turn_to("edit")
        first = made.edit_panel
        assert first is not None
        first.make("Rome", layer=2)
        assert first.wait(LONG)
        made.ask(mw.datasets.demo_question("Taj Mahal"))
        assert made.wait(LONG)
        assert made.panel.tab == "edit"
        assert made.edit_panel is not first
        assert first.edit is not None
        assert first.edit.applied
        made.undo()
        assert made.edit_panel is first
        made.ask(mw.Question(question.image, "What is this?"))
        assert (made.panel.tab, made.panel.editable) == ("look", False)
        with pytest.raises(WidgetError, match="no constraint"):
            made.turn_to("edit")
        made.panel.set_state({"tab": "edit"})
        assert (made.panel.tab, "no constraint" in made.panel.error) == ("look", True)
        with pytest.raises(WidgetError, match="'look' and 'edit'"):
            made.turn_to("sing")
    finally:
        made.close()
    assert vlm.side_terms.active == ()


def test_a_look_at_the_model_takes_the_place_of_no_question(explorer, monkeypatch):
    """It may come from another thread, just when somebody asks."""
    work = explorer._session.work
    with explorer._session.vlm.lock:
        explorer.ask(mw.datasets.demo_question("Taj Mahal", "country"))
        with monkeypatch.context() as patch:
            patch.setattr(type(work), "busy", False)  # as it was a moment ago
            explorer._session._look_again()
    assert explorer.wait(LONG)
    assert explorer.answer is not None
    assert explorer.panel.state == "idle"


def test_a_frozen_explorer_is_idle_though_somebody_looks_at_the_model_just_then(explorer, monkeypatch):
    session, looked = explorer._session, threading.Event()

    def slow(*_):
        assert looked.wait(LONG)
        return False

    def looks(*_):
        session._look_again()
        return []

    with monkeypatch.context() as patch:
        patch.setattr(session.work, "_stale", slow)
        patch.setattr("mllm_widgets.widgets.explorer.session.missing_targets", looks)
        session._freeze_contributions()
        assert session.work.busy
        assert explorer.panel.state == "idle"
        looked.set()
        assert explorer.wait(LONG)
    assert (explorer.panel.state, explorer.panel.message) == ("idle", "")


def test_an_edit_made_in_a_cell_reaches_the_views_when_they_look_again(vlm, question):
    edit = mw.multedit(vlm, question, "Rome", layer=2)
    made = mw.Explorer(vlm, question)
    try:
        assert made.wait(LONG)
        generation = made.generation
        made._session._look_again()
        assert made.wait(LONG)
        assert made.generation == generation, "nothing changed"
        with edit:
            made._session._look_again()  # as after each cell
            assert wait_for(lambda: made.generation == generation + 1)
            assert made.wait(LONG)
            assert answer_of(made) == "Rome"
    finally:
        made.close()

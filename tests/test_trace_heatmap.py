"""The live heatmap without a front end: its traits, its worker, its picture, and what it says when something is wrong."""

from __future__ import annotations

import base64
import copy
import dataclasses
import functools
import gc
import io
import json
import pickle
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
import traitlets
from PIL import Image

import mllm_widgets as mw
from mllm_widgets import colormaps, labels
from mllm_widgets.errors import WidgetError
from mllm_widgets.results import TokenInfo
from mllm_widgets.tracing import filling
from mllm_widgets.widgets import trace_heatmap, trace_view, wire
from mllm_widgets.widgets.shots import SIGNATURE
from tests.front_end import interface_fields, sent_traits

BATCH = 20  # so that a map of the demo model takes several passes
LONG = 30  # seconds; only a broken test waits that long


@pytest.fixture(scope="module")
def wanted(setup):
    """What a window's map must hold, computed without a widget; each once."""
    return functools.cache(lambda window: mw.tracing.run_trace(setup, window=window, batch_size=BATCH).restored.values)


@pytest.fixture
def show():
    """Makes heatmaps that are gone after the test, and their workers with them."""
    made: list[mw.TraceHeatmap] = []

    def make(*arguments, **more):
        made.append(mw.TraceHeatmap(*arguments, **{"batch_size": BATCH, **more}))
        return made[-1]

    yield make
    for heatmap in made:
        heatmap.close()
        assert heatmap.wait(LONG)


@pytest.fixture
def gate(monkeypatch):
    """Every pass of the model waits here until it is let through."""
    gate = Gate(filling.restored_scores)
    monkeypatch.setattr(filling, "restored_scores", gate)
    monkeypatch.setattr(trace_heatmap, "PUBLISH_EVERY", 0)
    yield gate
    gate.open()


class Gate:
    def __init__(self, run):
        self.run, self.all = run, False
        self.here, self.allowed = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, *arguments, **options):
        self.here.release()
        assert self.all or self.allowed.acquire(timeout=LONG)
        return self.run(*arguments, **options)

    def arrived(self):
        assert self.here.acquire(timeout=LONG)

    def open(self, passes=None):
        self.all = passes is None
        self.allowed.release(passes or 1)


def values_of(heatmap):
    return wire.array(heatmap.values)


def fresh_of(heatmap):
    return wire.array(heatmap.fresh)


def is_shown_completely(heatmap, trace):
    return (
        np.array_equal(values_of(heatmap), trace.restored.values)
        and fresh_of(heatmap).all()
        and (heatmap.window, heatmap.shown, heatmap.computing, heatmap.progress) == (trace.window, trace.window, 0, 0)
        and heatmap.trace is trace
    )


# --- what it shows ------------------------------------------------------------------------------------------------------------


def test_a_new_heatmap_shows_its_trace(show, trace, question):
    heatmap = show(trace)
    assert is_shown_completely(heatmap, trace)
    assert (heatmap.state, heatmap.message, heatmap.seconds, heatmap.live) == ("idle", "", 0, True)
    assert heatmap.version == wire.VERSION
    assert heatmap.question == question.text
    assert question.text[slice(*heatmap.span)] == "this building"
    assert (heatmap.answer, heatmap.corruption, heatmap.warnings) == ("Paris", "Taj Mahal", [])
    assert (heatmap.clean, heatmap.corrupted, heatmap.layers) == (trace.clean, trace.corrupted, 8)
    assert heatmap.modules == [{"key": "mlp", "name": "MLP"}, {"key": "self_attn", "name": "Self-attention"}]
    assert (heatmap.module, heatmap.selected) == ("mlp", [])
    assert heatmap.limit == colormaps.effect_limit(trace.indirect_effect.values, trace.total_effect)
    for module in trace.modules:
        for theme in colormaps.THEMES:
            assert heatmap.colors[module][theme] == colormaps.effect_colors(module, theme).tobytes()
    assert repr(heatmap) == "TraceHeatmap(8 layers x 79 tokens, window 1, indirect effect on P('Paris'))"


def test_rows_point_at_their_columns(show, trace):
    rows = show(trace).rows
    assert [row["label"] for row in rows] == [labels.visible(token.text) for token in trace.rows]
    for row, token in zip(rows, trace.rows, strict=True):
        told = (row["position"], row["id"], row["count"], row["constraint"], row["traced"], row["reason"])
        assert told == (token.position, token.token_id, token.count, token.constraint, token.traced, token.reason)
        if token.kind == "visual":
            assert (row["visual"], row["column"]) == (True, -1)
        else:
            assert trace.restored.token.values[row["column"]] == token.position


def test_folded_rows_take_their_columns_with_them():
    """Rows below a folded prompt must still read the right numbers."""
    prompt = tuple(TokenInfo(i, 1, "x", traced=False, reason="before") for i in range(50))
    image = TokenInfo(50, 2, "[image: 4 tokens]", kind="visual", traced=False, count=4)
    rest = tuple(TokenInfo(54 + i, 3, "y") for i in range(3))
    rows = trace_view.rows((*prompt, image, *rest))
    assert [(row["count"], row["column"]) for row in rows] == [(50, 0), (4, -1), (1, 50), (1, 51), (1, 52)]


def test_a_trace_of_one_module_shows_that_one(show, setup, wanted):
    heatmap = show(mw.tracing.run_trace(setup, modules=("self_attn",)))
    assert [module["key"] for module in heatmap.modules] == ["self_attn"] == [heatmap.module]
    heatmap.window = 2
    assert heatmap.wait(LONG)
    assert np.allclose(values_of(heatmap), wanted(2)[1:], atol=1e-6)
    with pytest.raises(WidgetError, match="'mlp' is not in this trace"):
        heatmap.module = "mlp"


def test_the_traits_are_the_fields_the_front_end_knows():
    assert sent_traits(mw.TraceHeatmap) == interface_fields("heatmap/state.ts", "HeatmapState")


def test_the_pinned_cell_is_told_by_its_token_and_layer_too(show, trace):
    heatmap = show(trace)
    assert (heatmap.token, heatmap.selected) == (-1, [])
    heatmap.token, heatmap.layer = 75, 3
    row = next(i for i, each in enumerate(heatmap.rows) if each["position"] == 75)
    assert heatmap.selected == [row, 3]
    heatmap.selected = [row + 1, 5]
    assert (heatmap.token, heatmap.layer) == (76, 5)
    heatmap.selected = []
    assert (heatmap.token, heatmap.layer) == (-1, 5)
    heatmap.token = 30  # one of the picture's, which share a row
    assert heatmap.rows[heatmap.selected[0]]["visual"]
    with pytest.raises(WidgetError, match="token=400 is no position"):
        heatmap.token = 400
    with pytest.raises(WidgetError, match="layer=8 is not in this map"):
        heatmap.layer = 8
    given = show(trace, token=75, layer=2)
    assert given.selected == [row, 2]


# --- another window -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [2, 5])
def test_another_window_is_computed(show, trace, wanted, window):
    heatmap = show(trace)
    heatmap.window = window
    assert heatmap.wait(LONG)
    assert np.abs(wanted(window) - trace.restored.values).max() > 0.1
    assert np.array_equal(values_of(heatmap), wanted(window))
    assert is_shown_completely(heatmap, heatmap.trace)
    assert heatmap.trace.window == window
    assert heatmap.limit == colormaps.effect_limit(heatmap.trace.indirect_effect.values, trace.total_effect)
    assert heatmap.seconds > 0
    assert heatmap.state == "idle"


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_numpy_integers_are_windows_too(show, trace, wanted, kind):
    """A loop over np.arange gives them."""
    heatmap = show(trace)
    heatmap.window = kind(2)
    assert heatmap.wait(LONG)
    assert np.array_equal(values_of(heatmap), wanted(2))
    assert type(heatmap.window) is int  # JSON knows no other
    assert show(trace, window=kind(1)).window == 1
    for wrong in (np.float64(2.5), np.bool_(True), kind(0)):
        with pytest.raises((WidgetError, traitlets.TraitError)):
            heatmap.window = wrong
        with pytest.raises(WidgetError, match="is not a whole number from 1 to 8"):
            show(trace, window=wrong)


def test_the_front_end_moves_the_slider_the_same_way(show, trace, wanted):
    heatmap = show(trace)
    heatmap.set_state({"window": 2})
    assert heatmap.wait(LONG)
    assert np.array_equal(values_of(heatmap), wanted(2))


def test_a_window_to_begin_with_is_computed_at_once(show, trace):
    heatmap = show(trace, window=3, module="self_attn")
    assert heatmap.wait(LONG)
    assert (heatmap.trace.window, heatmap.module) == (3, "self_attn")
    assert heatmap._jobs.started == 1


def test_known_windows_begin_no_computation(show, trace):
    heatmap = show(trace)
    heatmap.window = 2
    assert heatmap.wait(LONG)
    second = heatmap.trace
    for known in (trace, second, trace):
        heatmap.window = known.window
        assert not heatmap._jobs.busy
        assert is_shown_completely(heatmap, known)
    assert heatmap._jobs.started == 1


def test_cells_appear_as_they_are_computed(show, trace, wanted, gate):
    heatmap = show(trace)
    seen = []
    heatmap.observe(lambda change: seen.append(change["new"]), names=["state", "computing", "progress"])
    heatmap.window = 3
    gate.arrived()
    assert (heatmap.shown, heatmap.computing, heatmap.state) == (1, 3, "running")
    assert not fresh_of(heatmap).any()
    assert np.array_equal(values_of(heatmap), trace.restored.values)  # the old map stays until there is something new
    gate.open(2)
    gate.arrived()
    gate.arrived()
    fresh = fresh_of(heatmap).astype(bool)
    assert fresh.sum() == 2 * BATCH
    assert heatmap.progress == 0.5
    partial = values_of(heatmap)
    gate.open()
    assert heatmap.wait(LONG)
    assert np.array_equal(partial, np.where(fresh, wanted(3), trace.restored.values))
    assert np.array_equal(values_of(heatmap), wanted(3))
    started, *shares, computing, idle, progress = seen[1:]
    assert (seen[0], started, computing, idle, progress) == (3, "running", 0, "idle", 0.0)
    assert len(shares) > 2
    assert shares == sorted(set(shares))


def test_each_step_is_one_message(show, trace, monkeypatch):
    """Values and the window they belong to must never be seen apart."""
    heatmap = show(trace)
    sent: list[set[str]] = []
    send = heatmap.send_state
    monkeypatch.setattr(heatmap, "send_state", lambda key=None: (sent.append(set(key or ())), send(key)))
    heatmap.window = 2
    assert heatmap.wait(LONG)
    alone = [names for names in sent if names & {"values", "fresh", "shown", "computing"}]
    assert alone[0] >= {"fresh", "computing", "state"}
    assert alone[-1] >= {"values", "fresh", "shown", "computing", "state", "seconds"}


def test_the_newest_of_many_moves_wins(show, trace, gate):
    heatmap = show(trace)
    for window in range(2, 8):
        heatmap.window = window
    gate.open()
    assert heatmap.wait(LONG)
    assert heatmap.trace.window == heatmap.window == heatmap.shown == 7
    assert heatmap._jobs.started <= 2


def test_a_prepared_trace_streams_its_first_map(show, setup, trace, gate):
    heatmap = show(setup)
    gate.arrived()
    assert heatmap.trace is None
    assert (heatmap.shown, heatmap.computing, heatmap.state, heatmap.window) == (0, 1, "running", 1)
    assert values_of(heatmap).shape == trace.restored.shape
    assert np.isnan(values_of(heatmap)).all()
    with pytest.raises(WidgetError, match="no complete map yet"):
        heatmap.picture()
    gate.open(1)
    gate.arrived()
    fresh = fresh_of(heatmap).astype(bool)
    assert fresh.sum() == BATCH
    assert np.array_equal(np.isnan(values_of(heatmap)), ~fresh)
    gate.open()
    assert heatmap.wait(LONG)
    assert np.allclose(values_of(heatmap), trace.restored.values, atol=1e-6)
    assert is_shown_completely(heatmap, heatmap.trace)
    heatmap_of_trace = show(trace)
    assert [getattr(heatmap, name) for name in ("rows", "answer", "span", "clean", "corrupted")] == [
        getattr(heatmap_of_trace, name) for name in ("rows", "answer", "span", "clean", "corrupted")
    ]


def test_a_prepared_trace_begins_with_the_window_asked_for(show, setup):
    heatmap = show(setup, window=3)
    assert heatmap.wait(LONG)
    assert heatmap.trace.window == 3
    assert heatmap._jobs.started == 1


def test_it_says_that_the_model_is_in_use(show, trace, vlm):
    heatmap = show(trace)
    waiting = threading.Event()
    heatmap.observe(lambda change: change["new"] == "waiting" and waiting.set(), names="state")
    with vlm.lock:
        asked = time.perf_counter()
        heatmap.window = 2
        assert waiting.wait(LONG)
        assert heatmap.message == "the model is in use"
        time.sleep(1)
    assert heatmap.wait(LONG)
    assert heatmap.seconds < time.perf_counter() - asked - 1  # waiting is not computing
    assert (heatmap.state, heatmap.message, heatmap.shown) == ("idle", "", 2)


def test_two_heatmaps_of_one_model_both_end_right(show, trace, wanted):
    first, second = show(trace), show(trace)
    first.window, second.window = 2, 5
    assert first.wait(LONG)
    assert second.wait(LONG)
    for heatmap, window in ((first, 2), (second, 5)):
        assert np.array_equal(values_of(heatmap), wanted(window))


# --- stopping -----------------------------------------------------------------------------------------------------------------


def test_cancelling_puts_the_last_map_back(show, trace, gate):
    heatmap = show(trace)
    heatmap.window = 3
    gate.arrived()
    heatmap.cancel += 1
    gate.open()
    assert heatmap.wait(LONG)
    assert is_shown_completely(heatmap, trace)
    assert (heatmap.state, heatmap.message) == ("stopped", "window 3 was cancelled")
    heatmap.window = 3
    assert heatmap.wait(LONG)
    assert (heatmap.state, heatmap.message, heatmap.shown) == ("idle", "", 3)


def test_cancelling_before_the_next_window_began_puts_the_last_map_back(show, trace, gate):
    heatmap = show(trace)
    heatmap.window = 3
    gate.arrived()
    heatmap.window = 4
    heatmap.cancel += 1
    gate.open()
    assert heatmap.wait(LONG)
    assert is_shown_completely(heatmap, trace)
    assert (heatmap.state, heatmap.message) == ("stopped", "window 4 was cancelled")


def test_cancelling_the_first_map_says_so(show, setup, gate):
    heatmap = show(setup)
    gate.arrived()
    heatmap.cancel += 1
    gate.open()
    assert heatmap.wait(LONG)
    assert (heatmap.state, heatmap.computing, heatmap.shown) == ("stopped", 0, 0)
    heatmap.window = 2
    assert heatmap.wait(LONG)
    assert heatmap.shown == 2


def test_cancelling_nothing_changes_nothing(show, trace):
    heatmap = show(trace)
    heatmap.cancel += 1
    assert heatmap.wait(LONG)
    assert is_shown_completely(heatmap, trace)
    assert heatmap.state == "idle"


def test_moving_back_while_computing_shows_the_known_map_at_once(show, trace, gate):
    heatmap = show(trace)
    heatmap.window = 3
    gate.arrived()
    heatmap.window = 1
    assert is_shown_completely(heatmap, trace)
    gate.open()
    assert heatmap.wait(LONG)
    assert is_shown_completely(heatmap, trace)
    assert (heatmap.state, heatmap.message) == ("idle", "")


class Door:
    """The widget's lock; the worker, once `closed`, is held before it takes it."""

    def __init__(self, lock):
        self.lock, self.closed = lock, False
        self.arrived, self.go = threading.Event(), threading.Event()

    def __enter__(self):
        if self.closed and threading.current_thread() is not threading.main_thread():
            self.closed = False
            self.arrived.set()
            assert self.go.wait(LONG)
        return self.lock.__enter__()

    def __exit__(self, *error):
        self.lock.__exit__(*error)


def test_cells_that_come_late_do_not_spoil_the_map_put_up_meanwhile(show, trace, gate):
    heatmap = show(trace)
    heatmap.window = 3
    gate.arrived()
    heatmap._traits_lock = door = Door(heatmap._traits_lock)
    door.closed = True
    gate.open()
    assert door.arrived.wait(LONG)  # the worker has cells and is about to show them
    heatmap.window = 1
    door.go.set()
    assert heatmap.wait(LONG)
    assert is_shown_completely(heatmap, trace)
    assert (heatmap.state, heatmap.message) == ("idle", "")


def test_closing_stops_the_worker_and_nothing_is_said_any_more(show, trace, gate):
    heatmap = show(trace)
    heatmap.window = 3
    gate.arrived()
    changes = []
    heatmap.close()
    heatmap.observe(changes.append)
    gate.open()
    assert heatmap.wait(LONG)
    heatmap.window = 2
    assert heatmap.wait(LONG)
    assert heatmap._jobs.started == 1
    assert {change["name"] for change in changes} <= {"window"}
    assert heatmap.trace is trace


def test_closing_waits_for_a_message_on_its_way(show, trace):
    heatmap = show(trace)
    closed = threading.Event()
    closer = threading.Thread(target=lambda: (heatmap.close(), closed.set()))
    with heatmap._traits_lock:
        closer.start()
        time.sleep(0.05)
        assert heatmap.comm is not None
    closer.join(LONG)
    assert closed.is_set()
    assert heatmap.comm is None


# --- when something is wrong --------------------------------------------------------------------------------------------------


def break_model(monkeypatch, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(filling, "restored_scores", broken)


def test_an_error_is_shown_and_the_old_map_stays(show, trace, monkeypatch):
    heatmap = show(trace)
    with monkeypatch.context() as patch:
        break_model(patch, RuntimeError("the GPU fell off\nand more that nobody needs"))
        heatmap.window = 3
        assert heatmap.wait(LONG)
    assert is_shown_completely(heatmap, trace)
    assert heatmap.state == "error"
    assert heatmap.message == "window 3 could not be computed: RuntimeError: the GPU fell off"
    heatmap.window = 3
    assert heatmap.wait(LONG)
    assert (heatmap.state, heatmap.message, heatmap.shown) == ("idle", "", 3)


def test_an_error_without_words_names_its_kind(show, trace, monkeypatch):
    heatmap = show(trace)
    break_model(monkeypatch, KeyError())
    heatmap.window = 3
    assert heatmap.wait(LONG)
    assert heatmap.message == "window 3 could not be computed: KeyError"


def test_out_of_memory_says_what_to_try(show, trace, monkeypatch):
    heatmap = show(trace)
    break_model(monkeypatch, RuntimeError("CUDA out of memory. Tried to allocate 3 GiB"))
    heatmap.window = 3
    assert heatmap.wait(LONG)
    assert f"batch_size={BATCH // 2})" in heatmap.message


def test_an_error_in_the_first_map_is_shown_too(show, setup, monkeypatch):
    with monkeypatch.context() as patch:
        break_model(patch, RuntimeError("no"))
        heatmap = show(setup)
        assert heatmap.wait(LONG)
    assert (heatmap.state, heatmap.shown, heatmap.computing) == ("error", 0, 0)
    heatmap.window = 2
    assert heatmap.wait(LONG)
    assert (heatmap.state, heatmap.shown) == ("idle", 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"window": 0}, "window=0 is not a whole number from 1 to 8"),
        ({"window": 99}, "window=99 is not a whole number from 1 to 8"),
        ({"window": 1.5}, "window=1.5 is not a whole number from 1 to 8"),
        ({"module": "heads"}, "module='heads' is not in this trace; it has"),
        ({"widnow": 3}, "TraceHeatmap does not take widnow; its arguments are in help"),
    ],
)
@pytest.mark.parametrize("of", ["trace", "setup"])
def test_wrong_arguments_are_sentences(request, arguments, words, of):
    with pytest.raises(WidgetError, match=words):
        mw.TraceHeatmap(request.getfixturevalue(of), **arguments)


@pytest.mark.parametrize("thing", [None, 3, "trace"])
def test_what_is_no_trace_is_refused(thing: Any):
    with pytest.raises(WidgetError, match=f"trace is a {type(thing).__name__}; expected what mw.causal_trace"):
        mw.TraceHeatmap(thing)


def test_the_model_is_no_trace(vlm):
    with pytest.raises(WidgetError, match=r"trace is a VLM; expected what mw\.causal_trace"):
        mw.TraceHeatmap(vlm)


def test_a_refused_heatmap_leaves_no_noise_behind(setup, monkeypatch):
    """Python closes what was never built, too."""
    noise = []
    monkeypatch.setattr(sys, "unraisablehook", noise.append)
    wrong: list[tuple[Any, dict[str, Any]]] = [
        (None, {}),
        (setup, {"widnow": 3}),
        (setup, {"window": 99}),
        (setup, {"module": "x"}),
    ]
    for thing, arguments in wrong:
        with pytest.raises(WidgetError):
            mw.TraceHeatmap(thing, **arguments)
    gc.collect()
    assert noise == []


@pytest.mark.parametrize("window", [0, 99])
def test_a_wrong_window_changes_nothing(show, trace, window):
    heatmap = show(trace)
    with pytest.raises(WidgetError, match=f"window={window} is not a whole number from 1 to 8"):
        heatmap.window = window
    with pytest.raises(traitlets.TraitError):
        heatmap.window = "2"
    assert not heatmap._jobs.busy
    assert is_shown_completely(heatmap, trace)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda trace: pickle.loads(pickle.dumps(trace))])
def test_copies_of_a_trace_leave_the_model_behind(trace, again):
    other = again(trace)
    assert other.setup is None
    assert other.restored.identical(trace.restored)
    assert (other.answer.text, other.rows, other.warnings) == (trace.answer.text, trace.rows, trace.warnings)
    with pytest.raises(mw.errors.TraceError, match="trace again"):
        other.to_code(layer=2, token=trace.constraint[-1])


def test_a_trace_that_lost_its_model_still_shows_but_does_not_move(show, trace):
    heatmap = show(dataclasses.replace(trace, _setup=None))
    assert not heatmap.live
    assert np.array_equal(values_of(heatmap), trace.restored.values)
    assert heatmap.span == []
    with pytest.raises(WidgetError, match="lost its model"):
        heatmap.window = 2
    assert heatmap.window == heatmap.shown == 1


# --- its picture --------------------------------------------------------------------------------------------------------------


def test_the_png_knows_whose_it_is(show, trace, tmp_path):
    heatmap = show(trace)
    png = heatmap.to_png(tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes() == png
    with Image.open(io.BytesIO(png)) as image:
        chunks = getattr(image, "text")  # noqa: B009 - of PNG files only
        assert list(chunks) == ["mllm_widgets", "provenance"]  # the id first: the live view knows its picture by it
        assert chunks["mllm_widgets"] == heatmap.model_id
        assert json.loads(chunks["provenance"]) == json.loads(trace.provenance.to_json())
        assert image.convert("RGB").tobytes() == heatmap.picture().tobytes()


def test_the_picture_is_of_the_module_and_window_on_show(show, trace):
    heatmap = show(trace)
    first = heatmap.picture().tobytes()
    heatmap.module = "self_attn"
    assert heatmap.picture().tobytes() != first
    heatmap.module = "mlp"
    heatmap.window = 3
    assert heatmap.wait(LONG)
    assert heatmap.picture().tobytes() != first


@pytest.fixture
def displayed(monkeypatch):
    shown: list[dict[str, Any]] = []

    def display(data, raw, metadata=None, display_id=None):
        assert raw
        shown.append({**data, "metadata": metadata} if metadata else data)

    monkeypatch.setattr("IPython.display.display", display)
    return shown


def test_a_display_is_the_picture_and_then_the_live_map(show, trace, displayed):
    heatmap, other = show(trace), show(trace)
    heatmap._ipython_display_()
    picture, view = displayed
    assert set(picture) == {"image/png", "text/plain", "metadata"}
    assert picture["metadata"] == {"image/png": {"width": heatmap.picture().width // 2, "alt": repr(heatmap)}}
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    assert picture["text/plain"] == repr(heatmap)
    assert view["application/vnd.jupyter.widget-view+json"]["model_id"] == heatmap.model_id
    assert len(heatmap.picture_id) == 68
    assert picture["image/png"][SIGNATURE] == heatmap.picture_id
    other._ipython_display_()
    assert displayed[2]["image/png"][SIGNATURE] != heatmap.picture_id  # though it shows the same map


def test_before_the_first_map_the_live_view_is_displayed_alone(show, setup, displayed, gate):
    heatmap = show(setup)
    heatmap._ipython_display_()
    assert ["application/vnd.jupyter.widget-view+json" in data for data in displayed] == [True]
    assert heatmap.picture_id == ""


def test_a_closed_heatmap_still_has_its_picture(show, trace, displayed):
    heatmap = show(trace)
    heatmap.close()
    heatmap._ipython_display_()
    assert ["image/png" in data for data in displayed] == [True]


# --- the wire -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[0.5, -2, np.nan]]), "f4"),
        (np.arange(6, dtype=">f4").reshape(2, 3)[:, ::-1], "f4"),
        (np.array([True, False]), "u1"),
        (np.array([0, 255], dtype=np.uint8), "u1"),
        (np.zeros((2, 0, 3), dtype=np.float32), "f4"),
    ],
)
def test_arrays_survive_the_wire(array, dtype):
    sent = wire.tensor(array)
    assert sent["dtype"] == dtype
    assert sent["shape"] == list(array.shape)
    assert isinstance(sent["data"], bytes)
    assert np.array_equal(wire.array(sent), array, equal_nan=dtype == "f4")


def test_floats_are_sent_with_their_first_byte_first():
    assert wire.tensor(np.array([1.0]))["data"] == b"\x00\x00\x80\x3f"


@pytest.mark.parametrize("array", [np.array([1, 2]), np.array([300], dtype=np.uint16), np.array(["a"]), np.array([1j])])
def test_what_would_change_on_the_wire_is_refused(array):
    with pytest.raises(TypeError, match="array has dtype"):
        wire.tensor(array)

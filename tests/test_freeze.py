"""What a saved notebook can still do: maps that are sent ahead, and how large all of it is."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets import colormaps, tracing
from mllm_widgets.errors import LargeStateWarning, WidgetError
from mllm_widgets.widgets import budget, trace_maps, wire

LONG = 60


@pytest.fixture
def heatmap(trace):
    made = mw.TraceHeatmap(trace)
    yield made
    made.close()
    assert made.wait(LONG)


@pytest.fixture
def ran(monkeypatch):
    """The windows that were computed."""
    windows: list[int] = []
    run = tracing.run_trace

    def counted(setup, *, window, **options):
        windows.append(window)
        return run(setup, window=window, **options)

    monkeypatch.setattr(tracing, "run_trace", counted)
    return windows


# --- the map ------------------------------------------------------------------------------------------------------------------


def test_a_frozen_heatmap_holds_the_map_of_every_window(heatmap, setup, ran):
    heatmap.freeze()
    assert heatmap.maps["windows"] == list(range(1, 9))
    assert ran == list(range(2, 9)), "the first one was there"
    values = wire.array(heatmap.maps["values"])
    for window, of_window, limit in zip(heatmap.maps["windows"], values, heatmap.maps["limits"], strict=True):
        expected = tracing.run_trace(setup, window=window)
        np.testing.assert_allclose(of_window, expected.restored.values, atol=1e-6)
        effect = of_window - expected.corrupted
        assert limit == pytest.approx(colormaps.effect_limit(effect, expected.total_effect))
    assert (heatmap.window, heatmap.shown, heatmap.state, heatmap.message, heatmap.progress) == (1, 1, "idle", "", 0)


def test_maps_that_the_user_computed_are_sent_without_being_frozen(heatmap):
    assert heatmap.maps == {}
    for window in (4, 2):
        heatmap.window = window
        assert heatmap.wait(LONG)
    assert heatmap.maps["windows"] == [1, 2, 4]
    assert np.array_equal(wire.array(heatmap.maps["values"])[1], heatmap.trace.restored.values)


def test_of_maps_that_nobody_froze_the_newest_that_fit_are_sent(heatmap, monkeypatch):
    monkeypatch.setattr(trace_maps, "MOST", 2 * heatmap.trace.restored.size)
    for window in (4, 2, 3):
        heatmap.window = window
        assert heatmap.wait(LONG)
    assert heatmap.maps["windows"] == [2, 3]
    heatmap.freeze(windows=[1, 8])
    assert heatmap.maps["windows"] == [1, 3, 8], "of what was not frozen, what still fits beside it"


def test_freezing_again_computes_only_what_is_new(heatmap, ran):
    heatmap.freeze(windows=range(1, 4))
    heatmap.freeze(windows=[3, 4])
    assert ran == [2, 3, 4]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("CUDA out of memory")])
def test_an_interrupted_freeze_leaves_everything_as_it_was(heatmap, monkeypatch, error):
    run, told = tracing.run_trace, []

    def breaks(setup, *, window, **options):
        told.append((heatmap.state, heatmap.message))
        if window == 4:
            raise error
        return run(setup, window=window, **options)

    before = heatmap.get_state()
    monkeypatch.setattr(tracing, "run_trace", breaks)
    with pytest.raises(type(error)):
        heatmap.freeze()
    assert told == [("running", f"computing window {window}, {window - 1} of 7") for window in (2, 3, 4)]
    assert heatmap.get_state() == before
    monkeypatch.setattr(tracing, "run_trace", run)
    heatmap.window = 3
    assert heatmap.shown == 3, "what was computed by then is known"


def test_what_was_computed_when_freezing_began_is_not_said_for_ever(heatmap):
    heatmap.publish(state="running", message="computing window 4", progress=0.5)  # and done before freezing is
    heatmap.freeze(windows=[2])
    assert (heatmap.state, heatmap.message, heatmap.progress) == ("idle", "", 0)


def test_progress_is_said_while_maps_are_frozen(heatmap, monkeypatch):
    monkeypatch.setattr("mllm_widgets.widgets.trace_heatmap.PUBLISH_EVERY", 0)
    said = []
    heatmap.observe(lambda change: said.append(change["new"]), "progress")
    heatmap.freeze(windows=[2, 3])
    assert max(said) > 0.75
    assert said[:-1] == sorted(said[:-1])
    assert said[-1] == 0


@pytest.mark.parametrize(("precision", "dtype"), [("float32", "f4"), ("float16", "f2"), ("uint8", "u1")])
def test_maps_are_sent_as_precisely_as_asked_for(heatmap, precision, dtype):
    heatmap.freeze(windows=[1, 2, 3], precision=precision)
    sent = heatmap.maps["values"]
    assert (sent["dtype"], "scale" in sent) == (dtype, precision == "uint8")
    known = heatmap._maps.get(3).restored.values
    np.testing.assert_allclose(wire.array(sent)[2], known, atol={"f4": 0, "f2": 1e-3, "u1": 2.1e-3}[dtype])


def test_a_trace_that_has_lost_its_model_freezes_what_it_knows(trace):
    heatmap = mw.TraceHeatmap(trace.without_runs())
    heatmap.freeze()
    assert heatmap.maps == {}, "that one map is on show anyway"
    with pytest.raises(WidgetError, match="has lost its model"):
        heatmap.freeze(windows=[1, 2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"windows": [0]}, "window=0"),
        ({"windows": 9}, "window=9"),
        ({"windows": [True]}, "window=True"),
        ({"windows": [2.0]}, "window=2.0"),
        ({"precision": "float8"}, "precision='float8' is not known"),
    ],
)
def test_what_cannot_be_frozen_is_refused_in_sentences(heatmap, ran, options, words):
    with pytest.raises(WidgetError, match=words):
        heatmap.freeze(**options)
    assert ran == []


# --- an Explorer --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explorer(vlm, question):
    """Everything of it frozen, with one edit and one trial."""
    made = mw.Explorer(vlm, question)
    assert made.wait(LONG)
    made.select(patches=[27, 28, 35, 36])
    made.trace_patches()
    made.turn_to("edit")
    editor = made.edit_panel
    assert editor is not None
    editor.make("Rome")
    assert editor.wait(LONG)
    editor.revert()
    made.turn_to("look")
    made.freeze(lams=17)
    yield made
    made.close()


def test_a_frozen_explorer_holds_all_that_is_looked_at(explorer, vlm, question):
    assert explorer.heatmap.maps["windows"] == list(range(1, 9))
    visual = np.flatnonzero(vlm.encode(question).visual)
    text = [position for position in range(len(vlm.encode(question).tokens)) if position not in visual]
    assert [target["position"] for target in explorer.grid.targets] == [p for p in text if p > visual[0]]
    assert wire.array(explorer.grid.stacked).shape == (len(explorer.grid.targets), 8, 64)
    assert explorer.lens.positions == text
    assert explorer.trials.rows[0]["state"] == "done"
    assert len(explorer._session.views.editor.results["1"]["lams"]) == 17
    assert (explorer.panel.state, explorer.panel.tab, explorer.panel.editing) == ("idle", "look", True)


def test_views_of_another_model_are_not_frozen(explorer):
    explorer.turn_to("edit")
    explorer.edit_panel.apply()
    try:
        with pytest.raises(WidgetError, match=r"an edit that the views do not show.*revert\(\).*turn_to\('look'\)"):
            explorer.freeze()
    finally:
        explorer.edit_panel.revert()
        explorer.turn_to("look")
    assert explorer.wait(LONG)
    assert explorer.heatmap.maps["windows"] == list(range(1, 9))


def test_lambdas_that_are_none_are_told_before_anything_is_computed(vlm, question):
    made = mw.Explorer(vlm, question)
    assert made.wait(LONG)
    assert made.edit_panel is None
    with pytest.raises(WidgetError, match="lams='many' are no lambdas"):
        made.freeze(lams="many")
    assert made.heatmap is not None
    assert not made.heatmap.maps
    made.close()


def test_contributions_that_were_not_computed_are(vlm, question, monkeypatch):
    monkeypatch.setattr("mllm_widgets.widgets.explorer.compute.MOST_TARGETS", 4)
    made = mw.Explorer(vlm, question)
    try:
        assert made.wait(LONG)
        grid = made.grid
        assert grid is not None
        assert len(grid.targets) < 6
        made.freeze(windows=[1])
        assert len(grid.targets) > 10
        position = grid.targets[3]["position"]
        expected = mw.attention_contributions(vlm, question, target=position)
        there = wire.array(grid.stacked)[3]
        np.testing.assert_allclose(there, expected.norms.sel(token=expected.visual).values, rtol=1e-4, atol=1e-5)
    finally:
        made.close()


def test_contributions_to_a_single_token_are_known_as_others_are(vlm, question, monkeypatch):
    monkeypatch.setattr("mllm_widgets.widgets.explorer.compute.MOST_TARGETS", 1)
    made = mw.Explorer(
        vlm, mw.Question(question.image, question.text)
    )  # with no constraint it begins at the last token
    try:
        assert made.wait(LONG)
        assert made.grid is not None
        assert [target["position"] for target in made.grid.targets] == [made.grid.token]
        assert made.grid.picture()
        with warnings.catch_warnings():
            warnings.simplefilter("error", LargeStateWarning)
            made.freeze()
    finally:
        made.close()


def test_what_does_not_fit_is_left_out_and_named(vlm, question, monkeypatch):
    made = mw.Explorer(vlm, question)
    try:
        assert made.wait(LONG)
        monkeypatch.setattr("mllm_widgets.widgets.patch_stack.MOST_FROZEN", 5 * 8 * 64)
        with pytest.warns(LargeStateWarning, match=r"contributions to \d+ of \d+ tokens are left out"):
            made.freeze(windows=[1])
        assert made.grid is not None
        assert len(made.grid.targets) == 5
        sent = []
        made.grid.observe(sent.append, "stacked")
        made.select(layer=3)
        assert made.wait(LONG)
        assert sent == [], "what does not fit is not sent again and again"
    finally:
        made.close()


def test_many_contributions_are_sent_in_16_bits(vlm, question, monkeypatch):
    """In 8 bits on one scale, layers that write little would have no more than a few different values."""
    grid = mw.PatchGrid(mw.attention_contributions(vlm, question, target="constraint"))
    exact = wire.array(grid.stacked)
    monkeypatch.setattr(wire, "MOST_F4", 10)
    monkeypatch.setattr(wire, "MOST_F2", 20)
    assert grid.freeze() == tuple(target["position"] for target in grid.targets)
    assert grid.stacked["dtype"] == "f2"
    np.testing.assert_allclose(wire.array(grid.stacked), exact, rtol=5e-4, atol=6e-8)


# --- its size -----------------------------------------------------------------------------------------------------------------


def stored(widget):
    """Characters of a widget's state in a notebook, as ipywidgets writes it there."""
    import json

    from ipywidgets.embed import dependency_state

    state = dependency_state([widget], drop_defaults=False)
    return len(json.dumps(state[widget.model_id], ensure_ascii=False).encode())


def test_the_size_of_a_state_is_that_of_the_notebook(heatmap):
    heatmap.freeze()
    assert sum(budget.state_size(heatmap).values()) == pytest.approx(stored(heatmap), rel=0.02)


def test_a_widget_that_is_too_large_says_what_to_leave_out(heatmap, monkeypatch):
    monkeypatch.setattr(budget, "LARGE_STATE", 30_000)
    with pytest.warns(
        LargeStateWarning, match=r"this TraceHeatmap takes 0\.\d MB .*maps 0\.0\d.* MB.*freeze\(windows=\[1, 3, 5\]\)"
    ):
        heatmap.freeze()


def test_a_widget_that_is_not_too_large_says_nothing(heatmap):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        heatmap.freeze()


def test_a_frozen_explorer_of_the_demo_fits_into_a_notebook(explorer):
    """All windows, 17 lambdas of one edit, contributions to all tokens at all layers: the bar is 2 MB, base64 and bundles included."""
    sizes = {type(part).__name__: sum(budget.state_size(part).values()) for part in explorer.parts()}
    assert set(sizes) == {"QuestionPanel", "TrialsPanel", "TraceHeatmap", "PatchGrid", "LensPanel", "EditPanel"}
    assert sum(sizes.values()) < 1_000_000, sizes
    assert written(explorer) < 1_000_000
    assert written(explorer) == pytest.approx(sum(sizes.values()), rel=0.1)


def written(explorer):
    """Characters of `metadata.widgets`, layouts and links among them."""
    import json

    from ipywidgets.embed import dependency_state

    return len(json.dumps(dependency_state([explorer], drop_defaults=False), ensure_ascii=False).encode())

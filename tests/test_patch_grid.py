"""The patch grid without a front end: what it makes of contributions, its traits, its wire, and what it says when something is wrong."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import traitlets
import xarray as xr
from PIL import Image

import mllm_widgets as mw
from mllm_widgets import colormaps
from mllm_widgets.errors import WidgetError
from mllm_widgets.results import TokenInfo
from mllm_widgets.vlm.geometry import Grid, VisualGeometry
from mllm_widgets.widgets import patch_view, wire
from mllm_widgets.widgets.shots import SIGNATURE
from tests.families.tiny_llava import llava_next
from tests.families.tiny_llava import question as tiny_question
from tests.front_end import interface_fields, sent_traits
from tests.patch_maps import patch_map

GOLDEN = json.loads((Path(__file__).parent / "data" / "patches.json").read_text())


@pytest.fixture(scope="module")
def shown(vlm, question) -> mw.PatchMap:
    return patch_map(vlm, question, 8, sinks=(0,))


@pytest.fixture(scope="module")
def tiled() -> mw.PatchMap:
    """A thumbnail and a grid with row ends, from a LLaVA-NeXT."""
    return patch_map(llava_next(), tiny_question(120, 70), 3)


def small(values: Any, layers: tuple[int, ...] = (0,), **more: Any) -> mw.PatchMap:
    """Two rows of three patches of 10 x 10 pixels."""
    grid = Grid(np.arange(6).reshape(2, 3), (0, 0, 30, 20))
    return mw.PatchMap(
        Image.new("RGB", (30, 20)), VisualGeometry((grid,), 6, (30, 20)), np.array(values, dtype=float), layers, **more
    )


# --- how patches stand out ----------------------------------------------------------------------------------------------------


def test_the_largest_patch_ends_the_scale_and_has_the_first_rank():
    marks = small([[1, 4, 2, 0, 3, 4]]).highlights(0, "picture", top_k=3)
    assert marks.limit == 4
    assert marks.share.tolist() == [0.25, 1, 0.5, 0, 0.75, 1]
    assert marks.rank.tolist() == [5, 1, 4, 6, 3, 2]  # of equals, the first comes first
    assert marks.top.tolist() == [1, 5, 4]
    assert marks.drawn.tolist() == [True, True, True, False, True, True]


def test_a_logarithmic_scale_begins_at_a_hundredth():
    marks = small([[1, 0.1, 0.01, 0.001, 0, 0.5]]).highlights(0, "picture", scale="log")
    assert marks.share == pytest.approx([1, 0.5, 0, 0, 0, 1 + np.log10(0.5) / 2])
    assert marks.drawn.tolist() == [True, True, False, False, False, True]


def test_what_lies_below_the_threshold_is_not_drawn_but_keeps_its_rank():
    marks = small([[1, 0.5, 0.49, 0, 0, 0]]).highlights(0, "picture", threshold=0.5)
    assert marks.drawn.tolist() == [True, True, False, False, False, False]
    assert marks.rank[2] == 3


def test_masked_sinks_leave_scale_and_ranks_to_the_others():
    shown = small([[9, 3, 1, 0, 0, 0]], sinks={0: "takes all"})
    assert shown.highlights(0, "picture").limit == 9
    marks = shown.highlights(0, "picture", mask_sinks=True, top_k=1)
    assert marks.limit == 3
    assert marks.rank.tolist() == [0, 1, 2, 3, 4, 5]
    assert marks.top.tolist() == [1]
    assert marks.masked.tolist() == [True] + [False] * 5
    assert np.isnan(marks.values[0])


def test_one_scale_for_all_layers_ends_at_the_largest_of_all():
    shown = small([[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 4]], layers=(2, 5))
    assert shown.highlights(2, "picture").share[0] == 1
    assert shown.highlights(2, "picture", compare=True).share[0] == 0.25


def test_unknown_values_have_no_rank_and_nothing_at_all_is_no_error():
    marks = small([[np.nan, 1, np.nan, 2, 0, 0]]).highlights(0, "picture")
    assert marks.rank.tolist() == [0, 2, 0, 1, 3, 4]
    assert not small([[0] * 6]).highlights(0, "picture", scale="log").drawn.any()
    assert small([[np.nan] * 6]).highlights(0, "picture", top_k=3).top.tolist() == []


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['layer']} {case['options']}")
def test_patches_stand_out_as_the_front_end_says(case):
    values = [[np.nan if v is None else v for v in row] for row in GOLDEN["values"]]
    shown = small(values, tuple(GOLDEN["layers"]), sinks=dict.fromkeys(GOLDEN["sinks"], "x"))
    marks = shown.highlights(case["layer"], "picture", **case["options"])
    share = [np.nan if s is None else s for s in case["share"]]
    assert marks.share == pytest.approx(share, abs=1e-10, nan_ok=True)
    told = (marks.rank.tolist(), marks.drawn.tolist(), marks.top.tolist())
    assert told == (case["rank"], case["drawn"], case["top"])
    assert marks.limit == pytest.approx(case["limit"])


def test_a_tiled_picture_has_two_views_and_row_ends_are_in_none(tiled):
    assert tiled.kinds == ("picture", "thumbnail")
    on_picture, thumbnail = tiled.tokens("picture"), tiled.tokens("thumbnail")
    assert not set(on_picture) & set(thumbnail)
    assert len(on_picture) + len(thumbnail) < tiled.geometry.count
    assert np.isfinite(tiled.geometry.boxes[on_picture]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.zeros((2, 6))}, r"values has shape \(2, 6\); expected \(1, 6\)"),
        ({"values": np.zeros((1, 7))}, r"values has shape \(1, 7\).*must be cut to the visual ones"),
        ({"values": -np.ones((1, 6))}, "values runs from -1 to -1; expected finite numbers, 0 or more"),
        ({"values": np.full((1, 6), np.inf)}, "expected finite numbers"),
        ({"layers": (), "values": np.zeros((0, 6))}, "at least one"),
        ({"geometry": VisualGeometry((), 6, (30, 20))}, "geometry has no grid of patches"),
    ],
)
def test_maps_that_cannot_be_drawn_are_refused_in_sentences(change, words):
    with pytest.raises(WidgetError, match=words):
        dataclasses.replace(small(np.zeros((1, 6))), **change)


# --- contributions as a map ---------------------------------------------------------------------------------------------------


def a_flow(shown: mw.PatchMap, **more: Any) -> Any:
    """What `attention_contributions` returns, as far as a patch grid reads it: two words before the picture, three after it."""
    count = shown.geometry.count
    words = ["<s>", "USER", *[""] * count, " this", " building", "?"]
    rows = tuple(TokenInfo(i, 9, text, kind="visual" if 2 <= i < 2 + count else "text") for i, text in enumerate(words))
    norms = np.full((len(shown.layers), len(words)), 77.0)
    norms[:, 2 : 2 + count] = shown.values
    sinks = (
        SimpleNamespace(position=0, reason="activation"),
        SimpleNamespace(position=5, reason="activation"),
        SimpleNamespace(position=9, reason="attention"),
    )
    array = xr.DataArray(
        norms, dims=("layer", "token"), coords={"layer": list(shown.layers), "token": np.arange(len(words))}
    )
    told: dict[str, Any] = {
        "norms": array,
        "per_target": xr.concat([0.5 * array, 1.5 * array], dim="target").assign_coords(target=[2 + count, 3 + count]),
        "visual": np.arange(2, 2 + count),
        "layers": shown.layers,
        "geometry": shown.geometry,
        "image": shown.image,
        "question": "What is this building?",
        "model": "demo",
        "rows": rows,
        "targets": (2 + count, 3 + count),
        "target": "constraint",
        "warnings": ("a blank picture gives the same map",),
        "sinks": sinks,
        "cross": None,
        "no_geometry": "",
    }
    return SimpleNamespace(**{**told, **more})


def test_of_contributions_the_visual_tokens_are_shown(shown):
    grid = mw.PatchGrid(a_flow(shown))
    assert np.array_equal(wire.array(grid.values), shown.values)
    assert (grid.question, grid.target, grid.quantity) == ("What is this building?", "“this building”", "contribution")
    assert [sink["token"] for sink in grid.sinks] == [3, 7]  # the first word is a sink and no patch
    assert ["attention" in sink["reason"] for sink in grid.sinks] == [False, True]
    assert grid.warnings == ["a blank picture gives the same map"]


def test_attention_contributions_are_shown_as_they_are(vlm, question):
    flow = mw.attention_contributions(vlm, question)
    grid = mw.PatchGrid(flow)
    assert (grid.layer, grid.target, grid.layers) == (flow.peak_layer, "“this building”", list(flow.layers))
    assert np.array_equal(wire.array(grid.values)[2].reshape(8, 8), flow.patches(2))
    first = flow.top(grid.layer, 5, kind="visual")
    assert grid.top() == first["visual"].tolist()


def test_one_of_several_targets_is_shown_by_its_position(shown):
    grid = mw.PatchGrid(a_flow(shown))
    count = shown.geometry.count
    assert grid.targets == [{"position": 2 + count, "name": "·this"}, {"position": 3 + count, "name": "·building"}]
    assert wire.array(grid.stacked).shape == (2, *shown.values.shape)
    grid.token = 3 + count
    assert np.allclose(grid.patch_map.values, 1.5 * shown.values)
    assert grid.patch_map.target == "“·building”"
    grid.picture()
    grid.token = 4
    with pytest.raises(WidgetError, match="token=4 is no target whose contributions are known; there are"):
        grid.picture()
    with pytest.raises(WidgetError, match="token=-2 is no position"):
        grid.token = -2
    grid.show(shown)
    assert (grid.token, grid.targets) == (-1, [])


def test_further_targets_are_added_and_those_of_another_question_are_not(vlm, question):
    grid = mw.PatchGrid(mw.attention_contributions(vlm, question))
    last = mw.attention_contributions(vlm, question, target="last")
    grid.add(last)
    grid.token = last.targets[0]
    assert np.array_equal(grid.patch_map.values, last.norms.sel(token=last.visual).values)
    other = mw.Question(question.image, "Who built this?", constraint="this")
    with pytest.raises(WidgetError, match="another sequence than the grid shows"):
        grid.add(mw.attention_contributions(vlm, other))


def test_targets_that_are_no_run_are_named_one_by_one(shown):
    count = shown.geometry.count
    assert patch_view.patch_map(a_flow(shown, targets=(1, 4 + count))).target == "“USER”, “?”"


def test_the_last_token_is_called_so(shown):
    flow = a_flow(shown, targets=(4 + shown.geometry.count,), target="last")
    assert patch_view.patch_map(flow).target == "the last token, “?”"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"visual": np.array([], dtype=int)},
            "there are no patches to show: 'demo' has no visual tokens.*Ask about a pic",
        ),
        ({"visual": np.array([], dtype=int), "cross": 1}, "its picture is seen by cross-attention"),
        ({"geometry": None, "no_geometry": "it is a Pixtral."}, "lie on the picture is not known: it is a Pixtral"),
    ],
)
def test_contributions_without_patches_are_refused_in_sentences(shown, change, words):
    with pytest.raises(WidgetError, match=words):
        mw.PatchGrid(a_flow(shown, **change))


@pytest.mark.parametrize("thing", [None, 3, "flow"])
def test_what_is_no_contribution_is_refused(thing: Any):
    with pytest.raises(
        WidgetError, match=f"flow is a {type(thing).__name__}; expected what mw.attention_contributions"
    ):
        mw.PatchGrid(thing)


# --- traits -------------------------------------------------------------------------------------------------------------------


def test_a_new_grid_shows_the_layer_where_most_is_written(shown):
    grid = mw.PatchGrid(shown)
    assert grid.layer == int(shown.values.sum(axis=1).argmax())
    assert (grid.grid, grid.scale, grid.top_k, grid.selected, grid.mask_sinks) == ("picture", "linear", 5, [], False)
    assert grid.layers == list(range(8))
    for theme in colormaps.THEMES:
        assert grid.colors[theme] == colormaps.strength_colors(theme).tobytes()
    assert repr(grid) == f"PatchGrid(8 layers, 8x8 patches, contribution to “this building”, layer {grid.layer})"


def test_every_patch_lies_where_the_geometry_says(tiled):
    grid = mw.PatchGrid(tiled)
    assert np.array_equal(wire.array(grid.boxes), tiled.geometry.boxes.astype(np.float32), equal_nan=True)
    places = wire.array(grid.places)
    for index, one in enumerate(tiled.geometry.grids):
        for (row, column), token in np.ndenumerate(one.tokens):
            assert places[token].tolist() == [index, row, column]
    assert np.array_equal(np.isnan(places).all(axis=1), np.isnan(tiled.geometry.boxes).all(axis=1))
    assert [one["kind"] for one in grid.grids] == ["thumbnail", "picture"]
    assert [kind["key"] for kind in grid.kinds] == ["picture", "thumbnail"]


def test_what_the_front_end_sets_arrives(shown):
    grid = mw.PatchGrid(shown)
    grid.set_state({"layer": 2, "selected": [9, 3], "scale": "log", "mask_sinks": True, "top_k": 3})
    assert (grid.layer, grid.selected, grid.scale) == (2, [3, 9], "log")
    marks = shown.highlights(2, "picture", scale="log", mask_sinks=True, top_k=3)
    assert grid.top() == marks.top.tolist()
    assert grid.top(1) == grid.top()[:1]
    assert 0 not in grid.top()


def test_numpy_numbers_are_taken_and_kept_plain(shown):
    grid = mw.PatchGrid(shown, layer=cast("int", np.int64(3)))
    grid.selected = [*np.array([7, 7, 2]), np.int32(5)]
    grid.top_k = np.int64(2)
    assert (grid.selected, grid.top_k, grid.layer) == ([2, 5, 7], 2, 3)
    json.dumps([grid.selected, grid.top_k, grid.layer])


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("layer", 8, "layer=8 is not shown; there are layers 0 to 7, counted from 0"),
        ("layer", -1, "layer=-1 is not shown"),
        ("selected", [64], "selected has 64; expected indices among the 64 visual tokens"),
        ("selected", [-1], "selected has -1"),
        ("selected", [1.5], r"selected has 1\.5"),
        ("top_k", -1, "top_k=-1 is no count of patches"),
        ("threshold", 1.5, r"threshold=1\.5 is not a share of the scale; expected a number from 0 to 1"),
        ("opacity", -0.1, r"opacity=-0\.1 is not an opacity"),
        ("scale", "sqrt", "scale='sqrt' is not known; expected 'linear' or 'log'"),
        ("grid", "tile", r"grid='tile' is no way in which the model sees this picture; it has \('picture',\)"),
        ("palette", 1, "PatchGrid does not take palette; its arguments are in help"),
    ],
)
def test_wrong_values_are_sentences_at_first_and_later(shown, trait, value, words):
    with pytest.raises(WidgetError, match=words):
        mw.PatchGrid(shown, **{trait: value})
    if trait == "palette":
        return
    grid = mw.PatchGrid(shown)
    before = getattr(grid, trait)
    with pytest.raises(WidgetError, match=words):
        setattr(grid, trait, value)
    assert getattr(grid, trait) == before


def test_layers_that_are_not_all_there_are_listed():
    few = small(np.ones((2, 6)), layers=(4, 9))
    with pytest.raises(WidgetError, match=r"layer=5 is not shown; there are layers \(4, 9\)"):
        mw.PatchGrid(few, layer=5)
    assert mw.PatchGrid(few, layer=9).layer == 9


def test_a_token_that_is_no_patch_cannot_be_selected(tiled):
    row_end = int(np.flatnonzero(np.isnan(tiled.geometry.boxes[:, 0]))[0])
    with pytest.raises(WidgetError, match=f"selected has {row_end}, a visual token that is no patch"):
        mw.PatchGrid(tiled, selected=[row_end])


def test_the_traits_are_the_fields_the_front_end_knows():
    assert sent_traits(mw.PatchGrid) == interface_fields("patches/state.ts", "PatchState")


def test_other_values_take_the_place_of_those_on_show(shown, tiled, monkeypatch):
    grid = mw.PatchGrid(shown, layer=2, selected=[9], scale="log")
    sent: list[set[str]] = []
    monkeypatch.setattr(
        grid, "send_state", lambda key=None: sent.append({key} if isinstance(key, str) else set(key or ()))
    )
    grid.show(tiled)
    assert len(sent) == 1
    assert sent[0] >= {"image", "values", "boxes", "places", "kinds", "question", "selected"}
    assert np.array_equal(wire.array(grid.values), tiled.values)
    assert (grid.layer, grid.selected, grid.scale, grid.patch_map) == (2, [], "log", tiled)
    assert grid.top() == tiled.highlights(2, "picture", scale="log", top_k=5).top.tolist()
    grid.grid = "thumbnail"
    grid.layer = 1
    grid.show(shown, layer=7)
    assert (grid.layer, grid.grid) == (7, "picture")
    grid.show(tiled)  # which has layers 0 to 2
    assert grid.layer == tiled.peak_layer


def test_values_that_cannot_be_shown_change_nothing(shown, tiled):
    grid = mw.PatchGrid(shown, selected=[9])
    with pytest.raises(WidgetError, match="layer=8 is not shown"):
        grid.show(tiled, layer=8)
    with pytest.raises(WidgetError, match="flow is a int"):
        grid.show(cast("Any", 3))
    assert grid.patch_map is shown
    assert grid.selected == [9]


def test_linked_grids_show_the_same(shown):
    first, second = mw.PatchGrid(shown), mw.PatchGrid(shown)
    for name in ("layer", "selected", "scale"):
        traitlets.link((first, name), (second, name))
    first.layer, first.selected, first.scale = 6, [1, 2], "log"
    assert (second.layer, second.selected, second.scale) == (6, [1, 2], "log")


# --- its pictures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "kind"), [((200, 100), "PNG"), ((3000, 1500), "JPEG")])
def test_the_picture_travels_small(size, kind):
    sent = Image.open(io.BytesIO(patch_view.picture_bytes(Image.new("RGB", size, "#4080c0"))))
    assert sent.format == kind
    assert max(sent.size) <= 1024
    assert sent.width == 2 * sent.height
    pixel = sent.convert("RGB").getpixel((5, 5))
    assert np.abs(np.array(pixel) - (0x40, 0x80, 0xC0)).max() <= 3


def test_a_display_is_the_picture_and_then_the_live_grid(shown, monkeypatch):
    displayed: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: displayed.append(data))
    grid = mw.PatchGrid(shown)
    grid._ipython_display_()
    still, view = displayed
    assert base64.b64decode(still["image/png"]).startswith(b"\x89PNG")
    assert still["image/png"][SIGNATURE] == grid.picture_id
    assert view["application/vnd.jupyter.widget-view+json"]["model_id"] == grid.model_id


@pytest.mark.parametrize(
    "changes",
    [{"layer": 1}, {"scale": "log"}, {"mask_sinks": True}, {"top_k": 0}, {"selected": [27]}, {"opacity": 0.2}],
)
def test_the_picture_follows_the_traits(shown, changes):
    grid = mw.PatchGrid(shown, layer=7)
    before = grid.picture().tobytes()
    grid.set_state(changes)
    assert grid.picture().tobytes() != before


def test_a_colormap_is_that_of_the_browser_and_of_the_picture(vlm, question) -> None:
    shown = patch_map(vlm, question, 8)
    usual, other = (
        mw.PatchGrid(shown, top_k=0, opacity=1.0),
        mw.PatchGrid(shown, top_k=0, opacity=1.0, colormap="cividis"),
    )
    assert other.colors["light"] == colormaps.strength_colors("light", "cividis").tobytes()
    assert usual.picture() != other.picture()
    other.show(shown)
    assert other.colors["dark"] == colormaps.strength_colors("dark", "cividis").tobytes()
    with pytest.raises(WidgetError, match="colormap='jet' is not known; expected one of"):
        mw.PatchGrid(shown, colormap="jet")

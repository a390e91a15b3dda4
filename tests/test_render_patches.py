"""The patch grid as a picture, pixel by pixel: it must say what the live widget says."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

import mllm_widgets as mw
from mllm_widgets.colormaps import strength_colors, strength_index
from mllm_widgets.render import draw_patches
from mllm_widgets.render.patches import FADE, FIGURE, cover
from mllm_widgets.render.pen import ACCENT, FAINT, INK, SCALE, UNTRACED, WARN
from mllm_widgets.vlm.geometry import Grid, VisualGeometry
from tests.drawn_pictures import texts
from tests.patch_maps import patch_map

OPACITY = 0.8


def rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def a_map(values, box=(0, 0, 400, 200), size=(400, 200), **more) -> mw.PatchMap:
    """Two rows of four patches over a picture of one grey."""
    grid = Grid(np.arange(8).reshape(2, 4), box)
    layers = len(values)
    return mw.PatchMap(
        Image.new("RGB", size, (120, 120, 120)),
        VisualGeometry((grid,), 8, size),
        np.array(values, dtype=float),
        tuple(range(layers)),
        **more,
    )


@pytest.fixture(scope="module")
def shown() -> mw.PatchMap:
    return a_map(np.random.default_rng(0).uniform(0.1, 1, (3, 8)), sinks={5: "takes all"}, question="What is this?")


def patch_picture(*args, **more) -> Image.Image:
    return draw_patches(*args, **more).image()


def figure_of(picture: Image.Image, shown: mw.PatchMap) -> np.ndarray:
    """The part of a picture that holds the patches: it begins where the first column that is not white begins, below the words."""
    width, height = shown.image.size
    zoom = min(FIGURE[0] / width, FIGURE[1] / height) * SCALE
    pixels = np.asarray(picture)
    left = 14 * SCALE
    # words are thin: the figure's left edge is the longest run of a column that is not white
    filled = np.flatnonzero((pixels[:, left + 1] != 255).any(axis=1))
    bottom = filled[-1] + 1
    return pixels[bottom - round(height * zoom) : bottom, left : left + round(width * zoom)]


def inside(figure: np.ndarray, token: int) -> tuple[int, ...]:
    """The colour in the middle of a patch."""
    height, width = figure.shape[0] // 2, figure.shape[1] // 4
    return tuple(int(c) for c in figure[token // 4 * height + height // 2, token % 4 * width + width // 2])


def faded(opacity: float = OPACITY) -> float:
    return 120 + (255 - 120) * FADE * opacity


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_every_patch_has_its_colour(shown, scale):
    marks = shown.highlights(1, "picture", scale=scale)
    figure = figure_of(patch_picture(shown, 1, scale=scale, opacity=OPACITY), shown)
    for token, share in enumerate(marks.share):
        alpha = float(cover(share, OPACITY))
        color = strength_colors("light")[strength_index(share)]
        wanted = color * alpha + faded() * (1 - alpha)
        assert np.abs(np.array(inside(figure, token)) - wanted).max() <= 2, token


def test_weak_values_are_lifted_so_that_they_can_be_seen():
    assert cover(np.array([0, 0.1, 0.5, 1]), 1).tolist() == pytest.approx([0, 0.1995, 0.6156, 1], abs=1e-4)
    assert cover(np.array([1.0]), 0.8) == pytest.approx([0.8])


def test_without_highlights_the_picture_is_as_it_was(shown):
    figure = figure_of(patch_picture(shown, 1, opacity=0, top_k=0), shown)
    assert {inside(figure, token) for token in range(8)} == {(120, 120, 120)}


def test_patches_below_the_threshold_show_the_picture(shown):
    marks = shown.highlights(1, "picture", threshold=0.6)
    figure = figure_of(patch_picture(shown, 1, threshold=0.6), shown)
    assert 0 < marks.drawn.sum() < 8
    for token in range(8):
        plain = np.abs(np.array(inside(figure, token)) - faded()).max() <= 1
        assert plain == (not marks.drawn[token])


def frame_color(figure: np.ndarray, token: int) -> tuple[int, ...]:
    """The colour along a patch's left edge, halfway down."""
    height, width = figure.shape[0] // 2, figure.shape[1] // 4
    return tuple(int(c) for c in figure[token // 4 * height + height // 2, token % 4 * width])


def test_the_largest_are_outlined_and_the_selected_framed(shown):
    top = shown.highlights(2, "picture", top_k=2).top.tolist()
    others = [token for token in range(8) if token not in top]
    figure = figure_of(patch_picture(shown, 2, top_k=2, selected=[others[0]]), shown)
    assert {frame_color(figure, token) for token in top} == {rgb(INK)}
    assert frame_color(figure, others[0]) == rgb(ACCENT)
    assert not {frame_color(figure, token) for token in others[1:]} & {rgb(INK), rgb(ACCENT)}


def test_sinks_have_a_corner_and_masked_ones_are_striped(shown):
    plain = figure_of(patch_picture(shown, 1, top_k=0), shown)
    masked = figure_of(patch_picture(shown, 1, top_k=0, mask_sinks=True), shown)
    height, width = plain.shape[0] // 2, plain.shape[1] // 4
    for figure in (plain, masked):
        assert tuple(figure[height + 4, width + 4]) == rgb(INK)
        assert tuple(figure[4, width + 4]) != rgb(INK)
    patch = masked[height + 20 : 2 * height - 2, 2 * width - 30 : 2 * width - 2].reshape(-1, 3)
    assert {tuple(int(c) for c in color) for color in patch} == {rgb(color) for color in UNTRACED}


def test_values_below_a_logarithmic_scale_are_hatched_and_unknown_ones_crossed():
    values = np.full((1, 8), 1.0)
    values[0, 2], values[0, 3], values[0, 6] = 0.009, 0.0, np.nan
    shown = a_map(values)
    drawing = draw_patches(shown, 0, scale="log", top_k=0)
    assert {"below 0.0100", "not known"} <= set(texts(drawing))
    figure = figure_of(drawing.image(), shown)
    height, width = figure.shape[0] // 2, figure.shape[1] // 4
    ground = np.round(faded())
    for token in (2, 3):
        cell = figure[token // 4 * height : (token // 4 + 1) * height, token % 4 * width : (token % 4 + 1) * width][
            4:-4, 4:-4
        ]
        lines = np.abs(cell - ground).max(axis=2) > 10
        assert 0.08 < lines.mean() < 0.13, token  # one pixel in ten
        assert (lines[1:, 1:] == lines[:-1, :-1]).all()  # down to the right
    assert np.abs(inside(figure, 6) - np.array(rgb(FAINT))).max() < 90
    linear = draw_patches(shown, 0, top_k=0)
    assert "not known" in texts(linear)
    assert not any(text.startswith("below") for text in texts(linear))
    hidden = draw_patches(shown, 0, scale="log", threshold=0.5, top_k=0)  # who asks for less is shown less
    assert not any(text.startswith("below") for text in texts(hidden))


def test_padding_and_what_a_crop_cuts_off_are_striped():
    padded = a_map(np.full((1, 8), 0.5), box=(0, -100, 400, 300))
    figure = np.asarray(patch_picture(padded, 0, opacity=0, top_k=0))
    colors = {tuple(int(c) for c in color) for color in figure[: figure.shape[0] // 3, 40:200].reshape(-1, 3)}
    assert {rgb(color) for color in UNTRACED} <= colors
    cropped = a_map(np.full((1, 8), 0.5), box=(100, 0, 300, 200))
    figure = figure_of(patch_picture(cropped, 0, opacity=0, top_k=0), cropped)
    middle = figure[figure.shape[0] // 4]
    assert tuple(middle[figure.shape[1] // 2 + 7]) == (120, 120, 120)
    assert (
        len(np.unique(middle[10 : figure.shape[1] // 4 - 10], axis=0)) >= 2
    )  # stripes over what is left of the picture


def test_warnings_stand_in_the_picture_too(shown):
    plain = patch_picture(shown, 1)
    warned = patch_picture(dataclasses.replace(shown, warnings=("a blank picture gives the same map",)), 1)
    assert warned.height > plain.height
    brown = (np.asarray(warned) == rgb(WARN)).all(axis=2)
    assert brown.sum() > 50
    assert not (np.asarray(plain) == rgb(WARN)).all(axis=2).any()


def test_the_chart_shows_the_selected_patches(shown):
    before, after = (np.asarray(patch_picture(shown, 1, selected=selected)) for selected in ((), (2, 3)))
    side = int(0.66 * before.shape[1])
    changed = (before[:, side:] != after[:, side:]).any(axis=2)
    assert changed.sum() > 200


@pytest.mark.parametrize("size", [(30, 300), (3000, 100), (64, 64)])
def test_pictures_of_any_shape_fit_a_page(size):
    picture = patch_picture(a_map(np.ones((40, 8)), box=(0, 0, *size), size=size), 3)
    assert picture.mode == "RGB"
    assert picture.width < 1700
    assert 600 < picture.height < 1100


def test_the_same_map_gives_the_same_bytes(shown):
    def png():
        buffer = io.BytesIO()
        patch_picture(shown, 1).save(buffer, format="PNG")
        return buffer.getvalue()

    assert png() == png()


@pytest.mark.parametrize(("layer", "kind"), [(3, None), (0, "tile")])
def test_what_is_not_there_is_a_sentence(shown, layer, kind):
    with pytest.raises(ValueError, match=rf"layer={layer}, kind='\w+' is not shown; there are layers \(0, 1, 2\)"):
        patch_picture(shown, layer, kind)


def test_all_patches_masked_leave_an_empty_chart(vlm, question):
    """Every patch a sink, and sinks left out: nothing to draw, and no error."""
    shown = patch_map(vlm, question, 8, sinks=tuple(range(64)))
    assert draw_patches(shown, 3, mask_sinks=True).image().width > 400
    gaps = dataclasses.replace(shown, values=np.full_like(shown.values, np.nan))
    assert draw_patches(gaps, 3).image().width > 400

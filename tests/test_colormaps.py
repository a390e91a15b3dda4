"""The colour scales: what is 0, which way is more, and that nobody needs to see red and green to tell."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from mllm_widgets.colormaps import (
    LEAST_LIMIT,
    SIZE,
    THEMES,
    color_index,
    effect_colors,
    effect_limit,
    strength_colors,
    strength_index,
)

MODULES = ("mlp", "self_attn", "residual")
TABLES = [(module, theme) for module in MODULES for theme in THEMES]
NEUTRAL = {"light": (246, 246, 244), "dark": (43, 45, 48)}
CASES = json.loads((Path(__file__).parent / "data" / "color_index.json").read_text())["cases"]

# linear sRGB to XYZ (D65), and to the cones of Vienot, Brettel & Mollon 1999 with the middle-wave ones gone
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)
TO_CONES = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
NO_GREEN_CONES = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
DEUTERANOPIA = np.linalg.inv(TO_CONES) @ NO_GREEN_CONES @ TO_CONES


def linear(table):
    srgb = table / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear sRGB, computed another way than in the package."""
    share = rgb @ TO_XYZ.T / WHITE
    root = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize(("module", "theme"), TABLES)
def test_a_table_is_256_colours(module, theme):
    table = effect_colors(module, theme)
    assert (table.shape, table.dtype) == ((SIZE, 3), np.uint8)
    assert len(np.unique(table, axis=0)) > 200


@pytest.mark.parametrize(("module", "theme"), TABLES)
def test_no_effect_is_exactly_the_neutral_colour(module, theme):
    at_zero = effect_colors(module, theme)[color_index(np.array(0.0), 1.0)]
    assert tuple(at_zero) == NEUTRAL[theme]


@pytest.mark.parametrize(("module", "theme"), TABLES)
def test_more_effect_is_darker_on_light_and_lighter_on_dark(module, theme):
    lightness = lab(linear(effect_colors(module, theme)))[:, 0]
    outwards = -1 if theme == "light" else 1
    for half in (lightness[128:], lightness[128::-1]):
        assert (outwards * np.diff(half) > 0).all()
        assert outwards * (half[-1] - half[0]) > 60


@pytest.mark.parametrize(("module", "theme"), TABLES)
def test_signs_can_be_told_apart_without_green_cones(module, theme):
    colors = lab(np.clip(linear(effect_colors(module, theme)) @ DEUTERANOPIA.T, 0, 1))
    for effect in np.linspace(0.125, 1, 15):
        positive, negative = (colors[color_index(np.array(e), 1.0)] for e in (effect, -effect))
        assert np.linalg.norm(positive - negative) > 12  # 2.3 is a just noticeable difference


@pytest.mark.parametrize("theme", THEMES)
def test_sub_blocks_have_hues_of_their_own(theme):
    for one, other in itertools.combinations(MODULES, 2):
        colors, others = (lab(linear(effect_colors(module, theme)))[[64, 192]] for module in (one, other))
        assert (np.linalg.norm(colors - others, axis=-1) > 25).all()


@pytest.mark.parametrize(("effect", "limit", "index"), CASES)
def test_effects_fall_on_the_entries_that_the_front_end_gives_them(effect, limit, index):
    """js/test/golden.test.ts reads the same table."""
    assert color_index(np.array(effect), limit) == index


def test_entries_keep_the_shape_and_never_decrease():
    index = color_index(np.linspace(-1.5, 1.5, 3000).reshape(3, 1000), 1.0)
    assert (index.shape, index.dtype) == ((3, 1000), np.uint8)
    assert (np.diff(index.ravel().astype(int)) >= 0).all()
    assert set(index.ravel()) == set(range(SIZE))


def test_the_scale_ends_at_the_total_effect():
    assert effect_limit(np.array([0.2, -0.4]), 0.9) == 0.9
    assert effect_limit(np.array([]), -0.9) == 0.9


def test_an_overshooting_cell_stretches_the_scale():
    assert effect_limit(np.array([0.2, -1.4]), 0.9) == 1.4


def test_unknown_cells_and_flat_maps_still_have_a_scale():
    assert effect_limit(np.array([np.nan, 0.3]), 0.1) == 0.3
    assert effect_limit(np.full((2, 3), np.nan), 0.5) == 0.5
    assert effect_limit(np.zeros(4), 0.0) == LEAST_LIMIT > 0


@pytest.mark.parametrize("theme", THEMES)
def test_larger_values_are_darker_on_light_and_lighter_on_dark(theme):
    """So that they can be read without hue."""
    table = strength_colors(theme)
    assert (table.shape, table.dtype) == ((SIZE, 3), np.uint8)
    lightness = (1 if theme == "dark" else -1) * lab(linear(table))[:, 0]
    assert (np.diff(lightness) > 0).all()
    assert lightness[-1] - lightness[0] > 60


@pytest.mark.parametrize("theme", THEMES)
def test_values_have_colours_that_no_grey_picture_has(theme):
    _, a, b = np.moveaxis(lab(linear(strength_colors(theme))), -1, 0)
    assert np.hypot(a, b).min() > 25


def test_values_run_from_entry_0_to_entry_255():
    assert strength_index(np.array([-1, 0, 0.5, 1, 2])).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("name", ["cividis", "viridis"])
def test_the_usual_maps_can_be_had_and_the_strongest_stands_out(name) -> None:
    for theme, stronger in (("light", -1), ("dark", 1)):
        table = strength_colors(theme, name)
        assert (table.shape, table.dtype) == ((256, 3), np.uint8)
        lightness = lab(linear(table))[:, 0]
        assert (np.diff(lightness[::8]) * stronger > 0).all()
    assert (strength_colors("light", name) == strength_colors("dark", name)[::-1]).all()

"""Colours of the maps, made once in Python and sent to the front end, so that a PNG and a canvas agree to the bit.

An effect is drawn on a diverging scale whose middle is exactly 0 and whose ends lie equally far from it.  Each sub-block has hues of its own,
as in the paper's figures (greens for the MLP, reds for attention) and ROME's (purples for the residual stream), so that nobody mistakes one map for the other.  Anchors are joined in
OKLab, where equal steps look equal; lightness changes in one direction from the middle outwards, so the scales work without hue too.
"""

from __future__ import annotations

import functools

import numpy as np

SIZE = 256
THEMES = ("light", "dark")
SLACK = 1e-3  # of a scale: rounding to half precision moves an effect by less
LEAST_LIMIT = 0.05  # a scale that ends below this would paint noise in full colours

# From the strongest negative effect over 0 to the strongest positive one.
_ANCHORS = {
    ("mlp", "light"): ("#4a2878", "#a58cc6", "#f6f6f4", "#a6d8a3", "#43a35c", "#14713a", "#003d1a"),
    ("mlp", "dark"): ("#dcc9ff", "#7a5fae", "#2b2d30", "#1f5a3a", "#2f9a58", "#74dc90", "#dcffe4"),
    ("self_attn", "light"): ("#123f7a", "#7eaed6", "#f6f6f4", "#fcc4a8", "#ee7d5c", "#c5312c", "#750a14"),
    ("self_attn", "dark"): ("#c8e2ff", "#4b82b8", "#2b2d30", "#5f2f25", "#b84a33", "#ff8c69", "#ffe6da"),
    ("residual", "light"): ("#5a3a00", "#c9a25a", "#f6f6f4", "#cfbcec", "#9a72cf", "#6a35a8", "#35086e"),
    ("residual", "dark"): ("#ffe9b8", "#8a6a1f", "#2b2d30", "#4a3566", "#7d55b5", "#b690ee", "#eee2ff"),
}
_NEGATIVE = 2  # anchors before the middle

# "embers" is the house's own: it keeps its hue over a picture in greys.  Nunez et al. 2018 made cividis so that readers with and without a deficiency of
# colour vision see nearly the same; its ends are close to grey.
STRENGTHS = ("embers", "cividis", "viridis")
# From nothing to the largest value.  They lie over a picture in greys, which has all lightnesses but no hue.
_STRENGTHS = {
    "light": ("#ffe9a8", "#ffb63d", "#f2701d", "#d3203c", "#8c0f52"),
    "dark": ("#5a1550", "#a81c5c", "#ea4a36", "#ff9f2e", "#fff09a"),
}

_TO_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099], [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip


@functools.cache
def effect_colors(module: str, theme: str = "light") -> np.ndarray:
    """Look-up table (256, 3) uint8 of a sub-block's effects: entry 128 is 0, entries 0 and 255 are the limits."""
    anchors = _ANCHORS[module, theme]
    at = np.concatenate([np.linspace(-1, 0, _NEGATIVE + 1), np.linspace(0, 1, len(anchors) - _NEGATIVE)[1:]])
    lab = np.array([_oklab(color) for color in anchors])
    # symmetric about entry 128, so that 0 is the middle anchor itself
    steps = (np.arange(SIZE) - 128) / np.where(np.arange(SIZE) < 128, 128, 127)
    return _rgb(np.stack([np.interp(steps, at, lab[:, channel]) for channel in range(3)], axis=-1))


@functools.cache
def strength_colors(theme: str = "light", colormap: str = "embers") -> np.ndarray:
    """Look-up table (256, 3) uint8 of values from 0 (entry 0) to the scale's end (entry 255), to be laid over a picture.

    colormap: one of `STRENGTHS`.  The strongest values are the darkest in the light theme, and the lightest in the dark one.
    """
    if colormap != "embers":
        from bokeh import palettes

        colors = {"cividis": palettes.Cividis256, "viridis": palettes.Viridis256}[colormap]
        table = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors], dtype=np.uint8)
        return np.ascontiguousarray(table[::-1] if theme == "light" else table)
    lab = np.array([_oklab(color) for color in _STRENGTHS[theme]])
    at, steps = np.linspace(0, 1, len(lab)), np.linspace(0, 1, SIZE)
    return _rgb(np.stack([np.interp(steps, at, lab[:, channel]) for channel in range(3)], axis=-1))


def strength_index(share: np.ndarray) -> np.ndarray:
    """Entries (uint8) of `strength_colors` for places on a scale, 0..1.  js/src/lib/color.ts does the same."""
    return np.floor(np.clip(share, 0, 1) * (SIZE - 1) + 0.5).astype(np.uint8)


def color_index(effect: np.ndarray, limit: float) -> np.ndarray:
    """Entries (uint8) of a look-up table for effects; beyond +-limit they stick to the ends.  js/src/lib/color.ts does the same."""
    share = np.clip(np.asarray(effect, dtype=np.float64) / limit, -1, 1)
    return np.floor(128 + share * np.where(share < 0, 128, 127) + 0.5).astype(np.uint8)


def beyond(effect: np.ndarray, limit: float) -> np.ndarray:
    """1 where an effect lies beyond the upper end of a scale, -1 beyond the lower one, else 0 (int8).  js/src/lib/color.ts does the same.

    By more than `SLACK`, so that rounding marks nobody's largest cell.
    """
    share = np.nan_to_num(np.asarray(effect, dtype=np.float64) / limit, nan=0.0)
    return (share > 1 + SLACK).astype(np.int8) - (share < -1 - SLACK).astype(np.int8)


def effect_limit(effect: np.ndarray, total_effect: float) -> float:
    """The end of the colour scale: the total effect (full recovery), or the largest effect where one goes beyond it.

    Never below `LEAST_LIMIT`.  The same for every window of a trace unless a cell overshoots, so that pictures can be compared.
    """
    finite = np.abs(effect[np.isfinite(effect)])
    return float(max(abs(total_effect), finite.max(initial=0.0), LEAST_LIMIT))


def _oklab(color: str) -> np.ndarray:
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return _TO_LAB @ np.cbrt(_TO_LMS @ linear)


def _rgb(lab: np.ndarray) -> np.ndarray:
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T
    linear = np.clip(linear, 0, 1)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(srgb * 255).astype(np.uint8)

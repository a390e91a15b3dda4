"""Values over the layers, as lines: the selected patches beside all others."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from mllm_widgets.numbers import number
from mllm_widgets.patch_map import DECADES

from .pen import ACCENT, FAINT, SMALL, Drawing

if TYPE_CHECKING:
    from mllm_widgets.patch_map import PatchMap

MOST_LINES = 12  # of single patches; more than that are shown by their mean alone
LINE, GROUND, RULE = "#9dbfec", "#f6f6f4", "#c9c9c5"


def layer_chart(
    pen: Drawing,
    box: tuple[float, float, float, float],
    shown: PatchMap,
    layer: int,
    tokens: np.ndarray,
    selected: Collection[int],
    scale: str,
) -> None:
    """Draw the chart into `box` (x, y, width, height): the mean and the largest of all `tokens`, the selected ones, and where `layer` is."""
    x, y, width, height = box
    chosen = np.array([token for token in sorted(selected) if token in tokens], dtype=int)
    values = shown.values.astype(np.float64)
    lines = [(values[:, token], LINE, 1.0) for token in chosen] if len(chosen) <= MOST_LINES else []
    # gaps, and no patches at all where each of them is masked, leave gaps in the lines
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        padded = np.concatenate([values[:, tokens], np.full((len(values), 1), np.nan)], axis=1)
        mean, largest = np.nanmean(padded, axis=1), np.nanmax(padded, axis=1)
        of_chosen = np.nanmean(values[:, chosen], axis=1) if len(chosen) else mean
    lines.append((mean, FAINT, 1.5))
    keys = [("mean of all patches", FAINT)]
    if len(chosen):
        lines.append((of_chosen, ACCENT, 2.5))
        name = "1 selected patch" if len(chosen) == 1 else f"mean of {len(chosen)} selected patches"
        keys.append((name, ACCENT))
    else:
        lines.append((largest, ACCENT, 1.5))
        keys.append(("largest patch", ACCENT))
    drawn = np.concatenate([line for line, _, _ in lines])
    limit = float(drawn[np.isfinite(drawn)].max(initial=0.0)) or 1.0
    top, bottom, left = y + 20 * len(keys) - 4, y + height - 34, x + 46

    def at(index: int, value: float) -> tuple[float, float]:
        share = value / limit
        if scale == "log":
            share = 1 + np.log10(max(share, 1e-12)) / DECADES
        across = (index + 0.5) / len(shown.layers)
        return left + across * (x + width - left), bottom - float(np.clip(share, 0, 1)) * (bottom - top)

    pen.box(left, top, x + width - left, bottom - top, GROUND)
    here = at(shown.layers.index(layer), 0)[0]
    pen.box(here - 0.5, top, 1, bottom - top, RULE)
    for row, (text, color) in enumerate(keys):
        pen.box(x, y + 18 * row - 1, 14, 2, color)
        pen.text(x + 20, y + 18 * row, text, SMALL, color)
    for line, color, thick in lines:
        points = [at(i, float(v)) for i, v in enumerate(line) if np.isfinite(v)]
        pen.line(points, color, thick)
        if len(points) == 1:
            pen.box(points[0][0] - 2, points[0][1] - 2, 4, 4, color)
    least = 0.0 if scale == "linear" else limit / 10**DECADES
    pen.text(left - 5, top + 4, number(limit), SMALL, FAINT, "rm")
    pen.text(left - 5, bottom - 4, number(least), SMALL, FAINT, "rm")
    step = max(1, -(-len(shown.layers) // 10))
    for index in range(0, len(shown.layers), step):
        pen.text(at(index, 0)[0], bottom + 9, str(shown.layers[index]), SMALL, FAINT, "mm")
    pen.text((left + x + width) / 2, bottom + 24, "layer (0-based)", SMALL, FAINT, "mm")

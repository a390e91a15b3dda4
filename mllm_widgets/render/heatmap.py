"""A layer-by-token map as a picture: the same cells, labels, colours and marks as the live widget, on a white ground."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from mllm_widgets import colormaps, labels
from mllm_widgets.results import IN_GROUPS, fold_untraced

from .pen import ACCENT, FAINT, GAP, INK, PADDING, SCALE, SMALL, TEXT, TITLE, Pen, text_width

if TYPE_CHECKING:
    from mllm_widgets.results import Trace


def trace_picture(trace: Trace, module: str | None = None) -> Image.Image:
    """A trace's indirect effects as an RGB picture.

    Parameters
    ----------
    module: which sub-block; the first of the trace by default.

    Raises
    ------
    ValueError: for a module that the trace does not have.
    """
    module = trace.modules[0] if module is None else module
    if module not in trace.modules:
        raise ValueError(f"module={module!r} is not in this trace; it has {trace.modules}.")
    limit = colormaps.effect_limit(trace.indirect_effect.values, trace.total_effect)
    # in float64, as the front end subtracts, so that colours agree to the bit
    effect = trace.restored.astype(np.float64) - trace.corrupted
    column = {int(position): i for i, position in enumerate(effect.token.values)}
    rows = fold_untraced(trace.rows)
    table = np.full((len(rows), trace.layers), np.nan)
    for i, row in enumerate(rows):
        if row.traced:
            table[i] = effect.sel(module=module).values[:, column[row.position]]
    answer = trace.scored_answer.strip() or labels.visible(trace.scored_answer)
    swapped = (trace.corrupted_input_ids != trace.input_ids).any()
    corruption = f"“{trace.corruption}”" if swapped else trace.corruption
    at_constraint = trace.corrupted_positions[:1] in ((), trace.constraint[:1])
    return heatmap_picture(
        table,
        [labels.visible(row.text) for row in rows],
        module=module,
        limit=limit,
        title=trace.question,
        subtitle=f"{labels.MODULE_NAMES[module]}, {labels.window_name(trace.window)}.  "
        f"{labels.measured(labels.MEASURES[trace.score], answer)}: clean {trace.clean:.3f}, with {corruption} {trace.corrupted:.3f}",
        marked=[i for i, row in enumerate(rows) if row.constraint],
        note=labels.BEFORE_CONSTRAINT if at_constraint else labels.BEFORE_CORRUPTION,
        noted=[i for i, row in enumerate(rows) if row.reason != IN_GROUPS],
    )


def heatmap_picture(
    effect: np.ndarray,
    row_labels: Sequence[str],
    *,
    module: str,
    limit: float,
    title: str = "",
    subtitle: str = "",
    marked: Collection[int] = (),
    note: str = "",
    noted: Collection[int] | None = None,
) -> Image.Image:
    """Effects as an RGB picture on a white ground, at two pixels a unit.

    Parameters
    ----------
    effect: (rows, layers); NaN where nothing was traced (drawn striped).
    row_labels: one text a row.
    module: "mlp", "self_attn" or "residual", which chooses the colours.
    limit: the ends of the colour scale are +-`limit`.
    title, subtitle: lines above the map; they are cut where they do not fit.
    marked: rows that hold the constraint.
    note: why striped rows are striped, written over them.
    noted: the rows it is true of; all that are striped by default.
    """
    rows, layers = effect.shape
    height = 20 if rows <= 40 else 14
    width = int(np.clip(560 // layers, 10, 46))
    label = round(min(200, max([60, *(text_width(text, TEXT) for text in row_labels)]))) + 2 * GAP
    head = (TITLE + GAP if title else 0) + (SMALL + GAP if subtitle else 0)
    left, top = PADDING + label, PADDING + head
    total = (left + max(layers * width, 260) + PADDING, top + rows * height + 74)
    image = Image.new("RGB", (total[0] * SCALE, total[1] * SCALE), "white")
    pen = Pen(ImageDraw.Draw(image))
    pen.text(PADDING, PADDING + 4, title, TITLE, INK, room=total[0] - 2 * PADDING)
    pen.text(PADDING, top - GAP - 5, subtitle, SMALL, FAINT, room=total[0] - 2 * PADDING)
    table = colormaps.effect_colors(module, "light")
    for i, values in enumerate(effect):
        y = top + i * height
        if i in marked:
            pen.box(left - 4, y, 3, height, ACCENT)
        pen.text(
            left - GAP, y + height / 2, row_labels[i], TEXT, ACCENT if i in marked else INK, "rm", room=label - GAP
        )
        for layer, value in enumerate(values):
            x = left + layer * width
            if np.isnan(value):
                pen.striped(x, y, width - 1, height - 1)
            else:
                color = tuple(int(c) for c in table[colormaps.color_index(value, limit)])
                pen.box(x, y, width - 1, height - 1, color)
    striped = np.flatnonzero(np.isnan(effect).all(axis=1))
    untraced = striped if noted is None else striped[np.isin(striped, list(noted))]
    if note and len(untraced) > 1:
        middle = left + layers * width / 2, top + (untraced[0] + untraced[-1] + 1) / 2 * height
        pen.note(*middle, note, SMALL, room=layers * width - GAP)
    bottom = top + rows * height
    every = max(1, -(-18 // width))
    for layer in range(0, layers, every):
        pen.text(left + (layer + 0.5) * width, bottom + 9, str(layer), SMALL, FAINT, "mm")
    pen.text(left + layers * width / 2, bottom + 24, labels.MODULE_COLUMNS, SMALL, FAINT, "mm")
    _legend(pen, left, bottom + 40, min(max(layers * width, 200), 260), table, limit)
    return image


def _legend(pen: Pen, x: int, y: int, width: int, table: np.ndarray, limit: float) -> None:
    for i in range(width * SCALE):
        color = tuple(int(c) for c in table[round(i * 255 / (width * SCALE - 1))])
        pen.box(x + i / SCALE, y, 1 / SCALE, 10, color)
    for share, anchor in ((0.0, "lm"), (0.5, "mm"), (1.0, "rm")):
        value = limit * (2 * share - 1)
        pen.text(x + share * width, y + 18, f"{value:+.2g}" if value else "0", SMALL, FAINT, anchor)
    pen.text(x - GAP, y + 5, labels.EFFECT, SMALL, FAINT, "rm")

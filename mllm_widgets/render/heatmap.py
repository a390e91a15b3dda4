"""A layer-by-token map as a picture: the same cells, labels, colours and marks as the live widget, on a white ground."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mllm_widgets import colormaps, labels
from mllm_widgets.numbers import number, signed
from mllm_widgets.results import IN_GROUPS, fold_untraced

from .marks import NOTHING, drawn, key, looks
from .pen import ACCENT, FAINT, GAP, INK, PADDING, SMALL, TEXT, TITLE, Drawing, text_width

if TYPE_CHECKING:
    from mllm_widgets.results import Trace


def draw_trace(
    trace: Trace, module: str | None = None, *, titled: bool = True, selected: Sequence[int] = ()
) -> Drawing:
    """A trace's indirect effects as a picture.

    Parameters
    ----------
    module: which sub-block; the first of the trace by default.
    titled: write the question above them?
    selected: (row, layer) of a cell to frame, or nothing.

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
    return draw_heatmap(
        table,
        [labels.visible(row.text) for row in rows],
        module=module,
        limit=limit,
        title=trace.question if titled else "",
        subtitle=f"{labels.MODULE_NAMES[module]}, {labels.window_name(trace.window)}.  "
        f"{labels.measured(labels.MEASURES[trace.score], answer)}: clean {number(trace.clean)}, with {corruption} {number(trace.corrupted)}",
        marked=[i for i, row in enumerate(rows) if row.constraint],
        traced=[i for i, row in enumerate(rows) if row.traced],
        note=labels.BEFORE_CONSTRAINT if at_constraint else labels.BEFORE_CORRUPTION,
        noted=[i for i, row in enumerate(rows) if row.reason != IN_GROUPS],
        selected=selected,
    )


def draw_heatmap(
    effect: np.ndarray,
    row_labels: Sequence[str],
    *,
    module: str,
    limit: float,
    title: str = "",
    subtitle: str = "",
    marked: Collection[int] = (),
    traced: Collection[int] | None = None,
    note: str = "",
    noted: Collection[int] | None = None,
    selected: Sequence[int] = (),
) -> Drawing:
    """Effects as a picture on a white ground.

    Parameters
    ----------
    effect: (rows, layers); NaN where nothing is known, which a mark says.
    row_labels: (rows,) tokens; they are cut where they do not fit.
    limit: the end of the colours' scale; effects beyond it are marked.
    marked: rows that hold the constraint.
    traced: rows that can have effects, the others are striped; by default those of which anything is known.
    note: why striped rows are striped, written over them.
    noted: the rows it is true of; all that are striped by default.
    selected: (row, layer) of a cell to frame, or nothing.
    """
    rows, layers = effect.shape
    height = 20 if rows <= 40 else 14
    width = int(np.clip(560 // layers, 10, 46))
    widest = max([text_width(labels.EFFECT, SMALL), *(text_width(text, TEXT) for text in row_labels)])
    label = round(min(200, widest)) + 2 * GAP
    head = (TITLE + GAP if title else 0) + (SMALL + GAP if subtitle else 0)
    left, top = PADDING + label, PADDING + head
    table = colormaps.effect_colors(module, "light")
    striped = {int(i) for i in (np.flatnonzero(np.isnan(effect).all(axis=1)) if traced is None else range(rows))}
    striped -= set() if traced is None else set(traced)
    pen = Drawing(
        left + max(layers * width, 260) + PADDING, top + rows * height + 74, title, _summary(effect, row_labels)
    )
    pen.text(PADDING, PADDING + 4, title, TITLE, INK, room=pen.width - 2 * PADDING)
    pen.text(PADDING, top - GAP - 5, subtitle, SMALL, FAINT, room=pen.width - 2 * PADDING)
    found = set()
    for i, cells in enumerate(looks(effect, table, limit)):
        y = top + i * height
        if i in marked:
            pen.box(left - 4, y, 3, height, ACCENT)
        color = ACCENT if i in marked else INK
        pen.text(left - GAP, y + height / 2, row_labels[i], TEXT, color, "rm", room=label - GAP)
        for layer, look in enumerate(cells):
            at = (left + layer * width, y, width - 1, height - 1)
            if i in striped:
                pen.cells += 1
                pen.striped(*at)
            else:
                found.add(drawn(pen, *at, look))
    untraced = sorted(striped if noted is None else striped & set(noted))
    if note and len(untraced) > 1:
        middle = left + layers * width / 2, top + (untraced[0] + untraced[-1] + 1) / 2 * height
        pen.note(*middle, note, SMALL, room=layers * width - GAP)
    elif striped:
        found.add(NOTHING)
    if len(selected) == 2:
        frame(pen, left + selected[1] * width, top + selected[0] * height, width - 1, height - 1)
    bottom = top + rows * height
    every = max(1, -(-18 // width))
    for layer in range(0, layers, every):
        here = len(selected) == 2 and layer == selected[1]
        pen.text(left + (layer + 0.5) * width, bottom + 9, str(layer), SMALL, INK if here else FAINT, "mm")
    pen.text(left + layers * width / 2, bottom + 24, labels.MODULE_COLUMNS, SMALL, FAINT, "mm")
    _legend(pen, left, bottom + 40, min(max(layers * width, 200), 260), table, limit)
    found.discard("")
    if found:
        key(pen, left, bottom + 78, sorted(found), tuple(int(c) for c in table[255]))
        pen.height += 20
    return pen


def frame(pen: Drawing, x: float, y: float, width: float, height: float) -> None:
    """The mark of the cell that is looked at: a dark frame on a white one, seen on every colour."""
    pen.ring(x - 2.5, y - 2.5, width + 5, height + 5, "white", 4)
    pen.ring(x - 1.5, y - 1.5, width + 3, height + 3, INK, 2)


def _summary(effect: np.ndarray, row_labels: Sequence[str]) -> str:
    """What is shown, for who cannot see it."""
    rows, layers = effect.shape
    told = f"{labels.EFFECT.capitalize()} of {layers} layers by {rows} tokens."
    if np.isfinite(effect).any():
        row, layer = np.unravel_index(np.nanargmax(effect), effect.shape)
        told += f" Largest: {signed(float(effect[row, layer]))} at layer {layer}, token {row_labels[int(row)]}."
    return told


def _legend(pen: Drawing, x: float, y: float, width: float, table: np.ndarray, limit: float) -> None:
    pen.ramp(x, y, width, 10, table)
    for share, anchor in ((0.0, "lm"), (0.5, "mm"), (1.0, "rm")):
        pen.text(x + share * width, y + 18, signed(limit * (2 * share - 1)), SMALL, FAINT, anchor)
    pen.text(x - GAP, y + 5, labels.EFFECT, SMALL, FAINT, "rm")

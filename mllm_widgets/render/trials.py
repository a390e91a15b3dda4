"""What causes say about patches, as a picture: a row of effects over the layers for each trace or knockout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mllm_widgets import colormaps

from .marks import cell, key
from .pen import FAINT, GAP, INK, PADDING, SMALL, TEXT, WARN, Drawing, text_width

LABEL, ROW = (150, 340), 40  # units: least and most width of the labels, height of a row
WRITTEN = 12  # layers; more than that have no room for numbers


@dataclass(frozen=True)
class Trial:
    """One row.

    effects: (layers,), empty where they are not there yet. all: the effect in all layers at once, None where there is none. failed: is `note` why it failed?
    """

    label: str
    note: str
    effects: Sequence[float] = ()
    all: float | None = None
    failed: bool = False


def draw_trials(rows: Sequence[Trial], layers: int, *, layer: int, limit: float, restored: str = "") -> Drawing:
    """The rows as a picture on a white ground.

    Parameters
    ----------
    layer: the one looked at. limit: the end of the colours' scale.
    restored: the sub-block that traces restored, in words.
    """
    wide = 38 if layers <= WRITTEN else max(9, min(20, 460 // layers))
    more = any(row.all is not None for row in rows)
    columns = layers + (1 if more else 0)
    heading = "effect on P by layer" + (f"; traces: {restored}" if restored else "")
    texts = [heading, *(row.label for row in rows)]
    label = round(min(LABEL[1], max(LABEL[0], *(text_width(text, SMALL) + GAP + 2 for text in texts))))
    pen = Drawing(2 * PADDING + label + columns * wide + (10 if more else 0), PADDING + 44 + ROW * len(rows) + GAP)
    pen.title = "What confirms it: patches by cause"
    pen.description = "; ".join(f"{row.label}: {row.note}" for row in rows)
    pen.text(PADDING, PADDING + TEXT / 2, pen.title, TEXT, INK, room=pen.width - 2 * PADDING)
    left, top = PADDING + label, PADDING + 42
    table = colormaps.effect_colors("mlp", "light")
    pen.text(PADDING, top - 11, heading, SMALL, FAINT, room=label - GAP)
    every = max(1, -(-18 // wide))
    for place in range(0, layers, every):
        color = INK if place == layer else FAINT
        pen.text(left + (place + 0.5) * wide, top - 11, str(place), SMALL, color, "mm")
    end = left + layers * wide + 10
    if more:
        pen.text(end + wide / 2, top - 11, "all", SMALL, FAINT, "mm")
    found = set()
    for place, row in enumerate(rows):
        y = top + place * ROW
        pen.text(PADDING, y + 7, row.label, SMALL, INK, room=label - GAP)
        room = pen.width - 2 * PADDING
        pen.text(PADDING, y + 25, row.note, SMALL, WARN if row.failed else FAINT, room=room)
        values = [(left + place * wide, value) for place, value in enumerate(row.effects)]
        for x, value in [*values, *([(end, row.all)] if row.all is not None else [])]:
            found.add(cell(pen, x, y - 2, wide - 1, 18, value, table, limit))
            if layers <= WRITTEN and np.isfinite(value):
                ground = table[colormaps.color_index(np.array(value, dtype=float), limit)]
                pen.text(x + wide / 2 - 0.5, y + 7, _short(value), SMALL, _ink(ground), "mm", room=wide - 1)
    found.discard("")
    if found:
        key(pen, PADDING, top + ROW * len(rows) + 4, sorted(found), tuple(int(c) for c in table[255]))
        pen.height += 18
    return pen


def _short(value: float) -> str:
    """Two decimals are enough beside a colour."""
    return "0" if abs(value) < 0.005 else f"{value:.2f}".replace("0.", ".", 1).replace("-", "−")


def _ink(ground: np.ndarray) -> str:
    """What can be read on a colour; js/src/trials_panel.ts says the same."""
    return "black" if float(np.dot((0.2126, 0.7152, 0.0722), (ground / 255) ** 2.2)) > 0.18 else "white"

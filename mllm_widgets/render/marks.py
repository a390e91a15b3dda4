"""Cells of maps: a colour for a value, and a mark for what a colour cannot say.  js/src/lib/marks.ts draws the same on a canvas."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from mllm_widgets import colormaps

from .pen import FAINT, SMALL, UNTRACED, Drawing, text_width

NOT_KNOWN, BEYOND, BELOW, NOTHING = "not known", "beyond the scale", "below", "no effect is possible"
SAMPLE = 12  # units: side of a cell in the key


Look = tuple[
    tuple[int, ...] | None, int
]  # a cell's colour, None where it has no value, and the end of the scale that it lies beyond


def looks(effect: np.ndarray, table: np.ndarray, limit: float) -> list[list[Look]]:
    """How the cells (rows, columns) of a diverging scale look that ends at +-`limit`; found for all at once, which for a large map is ten times as quick."""
    known = ~np.isnan(effect)
    colors = table[colormaps.color_index(np.where(known, effect, 0.0), limit)].tolist()
    sides = colormaps.beyond(effect, limit).tolist()
    return [
        [(tuple(color) if here else None, side) for color, side, here in zip(*row, strict=True)]
        for row in zip(colors, sides, known.tolist(), strict=True)
    ]


def cell(
    pen: Drawing, x: float, y: float, width: float, height: float, value: float, table: np.ndarray, limit: float
) -> str:
    """Draw a cell of a diverging scale that ends at +-`limit`; returns the name of the mark it has, "" for none."""
    [[look]] = looks(np.array([[value]], dtype=float), table, limit)
    return drawn(pen, x, y, width, height, look)


def drawn(pen: Drawing, x: float, y: float, width: float, height: float, look: Look) -> str:
    """Draw a cell that looks so; returns the name of the mark it has, "" for none."""
    pen.cells += 1
    color, side = look
    if color is None:
        unknown(pen, x, y, width, height)
        return NOT_KNOWN
    pen.box(x, y, width, height, color)
    if side:
        beyond(pen, x, y, width, height, up=side > 0)
    return BEYOND if side else ""


def unknown(pen: Drawing, x: float, y: float, width: float, height: float) -> None:
    """A cell that has no value: outlined, with a small cross."""
    pen.ring(x, y, width, height, UNTRACED[1], 1)
    cross(pen, x + width / 2, y + height / 2, _arm(width, height))


def cross(pen: Drawing, x: float, y: float, arm: float, halo: bool = False) -> None:
    """Two short diagonals, on white where they lie over a picture."""
    for color, line in ((("white", 3.0),) if halo else ()) + ((FAINT, 1.0),):
        pen.line([(x - arm, y - arm), (x + arm, y + arm)], color, line)
        pen.line([(x - arm, y + arm), (x + arm, y - arm)], color, line)


def _arm(width: float, height: float) -> float:
    return max(2.0, min(4.0, 0.25 * min(width, height)))


def beyond(pen: Drawing, x: float, y: float, width: float, height: float, *, up: bool) -> None:
    """A value that its scale does not reach: a triangle in the corner towards which it goes on."""
    side = max(3.0, min(6.0, 0.4 * min(width, height)))
    right, edge, tip = x + width - 1, 1 + 0.8 * side, 1.0
    base, point = (y + edge, y + tip) if up else (y + height - edge, y + height - tip)
    pen.area([(right - side, base), (right, base), (right - side / 2, point)], "white")


def key(pen: Drawing, x: float, y: float, found: Collection[str], color: tuple[int, ...]) -> None:
    """What the marks mean that occur, in a row; `color`: of the scale's end."""
    for words in dict.fromkeys(found):
        top = y - SAMPLE / 2
        if words == NOT_KNOWN:
            unknown(pen, x, top, SAMPLE, SAMPLE)
        elif words == BEYOND:
            pen.box(x, top, SAMPLE, SAMPLE, color)
            beyond(pen, x, top, SAMPLE, SAMPLE, up=True)
        elif words == NOTHING:
            pen.striped(x, top, SAMPLE, SAMPLE)
        else:
            pen.ring(x, top, SAMPLE, SAMPLE, UNTRACED[1])
            pen.hatched(x, top, SAMPLE, SAMPLE)
        wide = text_width(words, SMALL)
        pen.text(x + SAMPLE + 5, y, words, SMALL, FAINT, room=wide + 6)
        x += SAMPLE + 5 + wide + 14

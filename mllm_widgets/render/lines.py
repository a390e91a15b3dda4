"""Lines over layers or places with bands for intervals, and rows of means with whiskers: what averages of any kind are drawn with."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .pen import FAINT, GAP, INK, PADDING, RULE, SMALL, TEXT, TITLE, Drawing, text_width

LINES = ("#0a58ca", "#c5312c", "#14713a", "#8a5a00", "#6a35a8", "#656d76")
BANDS = ("#d6e3f7", "#f6dbd9", "#d7e8dc", "#eadfca", "#e3d9f0", "#e4e6e8")
WIDTH, HEIGHT = 470, 190  # of the chart's field, in units
AXIS = 46  # units left of the field, for numbers
LEGEND = 18  # units of a line of the legend
LETTER = 5.8  # units of a letter of the caption, on average


@dataclass(frozen=True)
class Line:
    """values by place, with `low` and `high` as a band; NaN is left out. dots: others' values by place. name: as the legend says it."""

    name: str
    values: Mapping[int, float]
    low: Mapping[int, float] = field(default_factory=dict)
    high: Mapping[int, float] = field(default_factory=dict)
    dots: Mapping[int, float] = field(default_factory=dict)


def draw_lines(
    lines: Sequence[Line],
    *,
    title: str,
    across: str,
    limits: tuple[float, float] | None = None,
    span: tuple[int, int] | None = None,
    caption: str = "",
    width: int = WIDTH,
    legend: int = 0,
) -> Drawing:
    """Lines over whole numbers (layers, places of visual tokens), each with its band and its dots.

    Parameters
    ----------
    across: what the numbers are.
    limits: least and most value; by default those drawn, with 0. span: first and last number; by default those drawn.
    caption: written below.
    width: of the field. legend: lines that it has at least, so that the fields of drawings side by side stand at one height.
    """
    legend = max(legend, len(lines))
    least, most = _limits(lines) if limits is None else limits
    places = sorted({int(place) for one in lines for part in (one.values, one.dots) for place in part})
    first, last = span or ((places[0], places[-1]) if places else (0, 0))
    left, top = PADDING + float(AXIS), PADDING + TITLE + GAP + float(LEGEND * legend) + GAP
    pen = Drawing(PADDING * 2 + AXIS + width, round(top) + HEIGHT + 44, title)
    pen.text(PADDING, PADDING + 4, title, TITLE, INK, room=pen.width - 2 * PADDING)

    def at(place: float, value: float) -> tuple[float, float]:
        share = (value - least) / (most - least)
        return left + (place - first + 0.5) / (last - first + 1) * width, top + (1 - share) * HEIGHT

    def points(values: Mapping[int, float]) -> list[tuple[float, float]]:
        return [at(place, value) for place, value in sorted(values.items()) if np.isfinite(value)]

    pen.ring(left, top, width, HEIGHT, RULE, 1)
    if least < 0:
        pen.line([at(first - 0.5, 0), at(last + 0.5, 0)], RULE)
    for number, one in enumerate(lines):
        edge, back = points(one.high), points(one.low)
        if len(edge) > 1:
            pen.area([*edge, *reversed(back)], BANDS[number % len(BANDS)])
    for number, one in enumerate(lines):
        ink = LINES[number % len(LINES)]
        own = points(one.values)
        pen.line(own, ink, 2)
        if len(own) == 1:
            pen.dot(*own[0], 3, ink)
        for x, y in points(one.dots):
            pen.dot(x, y, 4, ink)
            pen.dot(x, y, 2.5, "white")
        y = PADDING + TITLE + GAP + LEGEND * number + 9
        if one.values:
            pen.line([(PADDING, y), (PADDING + 18, y)], ink, 2)
        else:
            pen.dot(PADDING + 9, y, 4, ink)
            pen.dot(PADDING + 9, y, 2.5, "white")
        pen.text(PADDING + 26, y, one.name, TEXT, INK, room=pen.width - 2 * PADDING - 26)
    for value in _ticks(least, most):
        pen.text(left - 6, at(first, value)[1], said(value), SMALL, FAINT, "rm")
    room = max(22, text_width(str(last), SMALL) + 8)
    step = max(1, int(-(-(last - first + 1) * room // width)))
    for place in range(first, last + 1, step):
        pen.text(at(place, 0)[0], top + HEIGHT + 10, str(place), SMALL, FAINT, "mm")
    pen.text(left + width / 2, top + HEIGHT + 26, across, SMALL, FAINT, "mm", room=pen.width - 2 * PADDING)
    return captioned(pen, caption)


@dataclass(frozen=True)
class Mean:
    """A row of `draw_means`: its name, value and interval, and another's value, drawn as an open dot."""

    name: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    dot: float = float("nan")


def draw_means(
    rows: Sequence[Mean],
    *,
    title: str,
    across: str,
    limits: tuple[float, float] | None = None,
    caption: str = "",
    width: int = WIDTH - 120,
) -> Drawing:
    """Means one below the other, each with its interval as a whisker, and its numbers at the end of the row.

    Parameters
    ----------
    across: what is measured. limits, caption, width: as in `draw_lines`.
    """
    values = [value for row in rows for value in (row.value, row.low, row.high, row.dot) if np.isfinite(value)]
    least, most = limits or (min([0.0, *values]), max([0.1, *values]))
    names = max([text_width(row.name, TEXT) for row in rows] or [0.0])
    told = [_told(row) for row in rows]
    numbers = max([text_width(words, SMALL) for words in told] or [0.0])
    left, top = PADDING + names + 2 * GAP, PADDING + TITLE + 2.0 * GAP
    height = 24.0 * len(rows)
    pen = Drawing(round(left + width + 2 * GAP + numbers + PADDING), round(top + height) + 44, title)
    pen.text(PADDING, PADDING + 4, title, TITLE, INK, room=pen.width - 2 * PADDING)

    def at(value: float) -> float:
        return left + (value - least) / (most - least) * width

    pen.ring(left, top, width, height, RULE, 1)
    if least < 0:
        pen.line([(at(0), top), (at(0), top + height)], RULE)
    for number, (row, words) in enumerate(zip(rows, told, strict=True)):
        y = top + 24 * number + 12
        pen.text(left - 2 * GAP, y, row.name, TEXT, INK, "rm")
        if np.isfinite(row.low):
            pen.line([(at(row.low), y), (at(row.high), y)], BANDS[0], 6)
        if np.isfinite(row.value):
            pen.dot(at(row.value), y, 4, LINES[0])
        if np.isfinite(row.dot):
            pen.dot(at(row.dot), y, 4, LINES[1])
            pen.dot(at(row.dot), y, 2.5, "white")
        pen.text(left + width + 2 * GAP, y, words, SMALL, FAINT)
    for value in _ticks(least, most):
        pen.text(at(value), top + height + 10, said(value), SMALL, FAINT, "mm")
    pen.text(left + width / 2, top + height + 26, across, SMALL, FAINT, "mm")
    return captioned(pen, caption)


def captioned(shown: Drawing, caption: str) -> Drawing:
    """With a caption below."""
    lines = textwrap.wrap(caption, max(40, round((shown.width - 2 * PADDING) / LETTER)))
    if not lines:
        return shown
    sheet = Drawing(
        shown.width,
        shown.height + 16 * len(lines) + GAP,
        shown.title,
        f"{shown.description} {caption}".strip(),
        shown.cells,
    )
    sheet.put(shown, 0, 0)
    for number, line in enumerate(lines):
        sheet.text(PADDING, shown.height + 8 + 16 * number, line, SMALL, FAINT, room=shown.width - 2 * PADDING)
    return sheet


def said(value: float) -> str:
    """A number at an axis, with three decimals at most."""
    return f"{round(value, 3) + 0.0:g}"


def _ticks(least: float, most: float) -> list[float]:
    """0, half of the largest and the largest, and the least where it has room below 0."""
    return [*([least] if least < -0.1 * most else []), 0.0, most / 2, most]


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    parts = [part for one in lines for part in (one.values, one.low, one.high, one.dots)]
    values = [value for part in parts for value in part.values() if np.isfinite(value)]
    return limits_of(values)


def limits_of(values: Sequence[float]) -> tuple[float, float]:
    """0 and round numbers that hold all values."""
    return -_round_up(max([0.0, *(-value for value in values)])), _round_up(max([0.1, *values]))


def _round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 and so on; a hundredth beyond one of them is let go."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** np.floor(np.log10(value))
    return next(float(step * unit) for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if value <= 1.01 * step * unit)


def _told(row: Mean) -> str:
    interval = f" ({row.low:.2f} to {row.high:.2f})" if np.isfinite(row.low) else ""
    other = f"; published {row.dot:.2f}" if np.isfinite(row.dot) else ""
    return f"{row.value:.2f}{interval}{other}"

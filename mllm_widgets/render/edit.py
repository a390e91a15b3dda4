"""An edit panel as one picture: what the model says before and after, where it was edited, what lambda trades, and the side effects, on a white ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from mllm_widgets import colormaps
from mllm_widgets.numbers import lam_name, number

from .marks import cell
from .pen import (
    ACCENT,
    EDITED,
    FAINT,
    GAP,
    INK,
    PADDING,
    RULE,
    SCALE,
    SMALL,
    TEXT,
    TITLE,
    WARN,
    Drawing,
    cut,
    text_width,
)

WIDTH, COLUMN = 860, 402  # units: of the picture, and of each of its two columns
CHART = 128  # high
ROW = 19  # of the table
COLORS = {"efficacy": ACCENT, "generalization": "#4c8fe8", "specificity": "#14713a", "leakage": "#c5312c"}
NAMES = {**{name: name for name in COLORS}, "leakage": "same-phrase leakage"}
DASHES = {"efficacy": (), "generalization": (2, 3), "specificity": (9, 3), "leakage": (6, 3, 2, 3)}


@dataclass(frozen=True)
class Effect:
    """One watched question.

    kind: in words. follows: should it say the target? before, after: the likeliest first token and its probability, None where it is not known. target: P(target) after.
    """

    kind: str
    text: str
    follows: bool
    before: tuple[str, float] | None = None
    after: tuple[str, float] | None = None
    target: float = float("nan")
    verdict: str = ""
    good: bool = True


@dataclass(frozen=True)
class EditFigure:
    """What is drawn.

    question, span: its text, and where the constraint stands in it, () without one. truth, edited: what the model is.
    effects: (layers,) of the trace, () without one; causal: the layer of the largest; limit: the end of their colours' scale. layer: the one edited.
    swept: layer -> (P(target) with the value in place, after the edit). losses, chances: of the search's steps.
    before, after: the likeliest first tokens. lams, at: the axis, and the place on it. lines: name of `COLORS` -> (lambdas,).
    together: for each row of the table the answer with all applied edits, where there are several; all_applied: the likeliest first tokens then.
    """

    question: str
    span: tuple[int, ...]
    truth: str
    edited: bool
    layers: int
    effects: Sequence[float] = ()
    causal: int = -1
    limit: float = 1.0
    layer: int = 0
    target: str = ""
    swept: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    losses: Sequence[float] = ()
    chances: Sequence[float] = ()
    before: Sequence[tuple[str, float]] = ()
    after: Sequence[tuple[str, float]] = ()
    lams: Sequence[float] | np.ndarray = ()
    at: int = 0
    lines: Mapping[str, Sequence[float] | np.ndarray] = field(default_factory=dict)
    table: Sequence[Effect] = ()
    together: Sequence[tuple[str, float]] = ()
    all_applied: Sequence[tuple[str, float]] = ()
    warnings: Sequence[str] = ()


def draw_edit(shown: EditFigure, image: Image.Image | None = None, *, titled: bool = True) -> Drawing:
    """An edit panel as a picture.

    Parameters
    ----------
    image: the picture that the question is about.
    titled: show it and the question above all else?
    """
    search = len(shown.losses) > 0
    trade = len(shown.lams) > 0
    lower = max(CHART + 62 if trade else 0, 44 + 17 * max(len(shown.before), len(shown.after), 1))
    groups = [[row for row in enumerate(shown.table) if row[1].follows == follows] for follows in (True, False)]
    table = sum(28 + ROW * len(rows) for rows in groups if rows) + 26 if len(shown.table) > 1 else 0
    upper = CHART + 58 if search or shown.swept else 94 if shown.effects else 0
    head = (62 if titled else 0) + len(shown.warnings) * (SMALL + GAP)
    told = f"What the model says to {shown.question!r} before and after an edit. {shown.truth}"
    pen = Drawing(WIDTH, PADDING + head + 34 + upper + lower + table + PADDING, shown.question, told)
    right = PADDING + COLUMN + 28
    if titled:
        _head(pen, shown, image)
    y = PADDING + head
    for up, warning in enumerate(reversed(shown.warnings), 1):
        pen.text(PADDING, y - up * (SMALL + GAP) + 2, warning, SMALL, WARN, room=WIDTH - 2 * PADDING)
    _truth(pen, shown, y)
    y += 40
    if upper:
        _layers(pen, shown, PADDING, y)
        if search:
            _search(pen, shown, right, y)
    y += upper
    _answers(pen, shown, y)
    if trade:
        _trade(pen, shown, right, y)
    y += lower
    if table:
        _table(pen, shown, groups, y)
    return pen


def _head(pen: Drawing, shown: EditFigure, image: Image.Image | None) -> None:
    x = float(PADDING)
    if image is not None:
        image = image.convert("RGB")
        image.thumbnail((52 * SCALE, 52 * SCALE))
        pen.photo(PADDING, PADDING, image)
        x += 64
    start, end = shown.span or (0, 0)
    text = shown.question
    parts = [(text[:start], INK), (text[start:end], ACCENT), (text[end:], INK)]
    pen.words(x, PADDING + 26, parts, TITLE, WIDTH - PADDING - x)


def _truth(pen: Drawing, shown: EditFigure, y: float) -> None:
    """The switch, as it stands."""
    for place, (name, here) in enumerate((("Original", not shown.edited), ("Edited", shown.edited))):
        x = PADDING + 76 * place
        pen.box(x, y, 76, 24, RULE)
        pen.box(x + 1, y + 1, 74, 22, (EDITED if shown.edited else INK) if here else "white")
        pen.text(x + 38, y + 12, name, TEXT, "white" if here else FAINT, "mm")
    pen.text(PADDING + 164, y + 12, shown.truth, TEXT, INK, room=WIDTH - 2 * PADDING - 164)


def _layers(pen: Drawing, shown: EditFigure, x: float, y: float) -> None:
    """The trace's effect of each layer, and beneath it what an edit there gives."""
    pen.text(x, y + 6, "Layer to edit", TEXT, INK)
    top, step = y + 34, COLUMN / shown.layers
    if shown.effects:
        colors = colormaps.effect_colors("mlp", "light")
        for layer, effect in enumerate(shown.effects):
            cell(pen, x + layer * step, top, step - 2, 16, effect, colors, shown.limit)
    if 0 <= shown.causal < shown.layers:
        middle = x + (shown.causal + 0.5) * step - 1
        pen.area([(middle - 4, top - 9), (middle + 4, top - 9), (middle, top - 3)], INK)
    bottom = top + 16 + (CHART - 40 if shown.swept else 0)
    for layer, values in shown.swept.items():
        for side, (value, color) in enumerate(zip(values, (FAINT, ACCENT), strict=True)):
            tall, wide = max(1.0, value * (CHART - 46)), min(12.0, step / 2 - 2)
            pen.box(x + (layer + 0.5) * step - 1 + (side - 1) * (wide + 0.5), bottom - tall, wide, tall, color)
    every = max(1, -(-shown.layers // 16))
    for layer in range(0, shown.layers, every):
        here = layer == shown.layer
        pen.text(x + (layer + 0.5) * step - 1, bottom + 10, str(layer), SMALL, INK if here else FAINT, "mm")
    pen.box(x + shown.layer * step, bottom + 18, step - 2, 2, ACCENT)
    keys = [("trace: MLP at the last constraint token", "#003d1a")] if shown.effects else []
    if shown.swept:
        keys = [("trace", "#003d1a"), (f"P({shown.target}) with the value", FAINT), ("after the edit", ACCENT)]
    _keys(pen, keys, x, bottom + 32)


def _search(pen: Drawing, shown: EditFigure, x: float, y: float) -> None:
    """Loss and P(target) over the steps."""
    pen.text(x, y + 6, f"Finding the value, layer {shown.layer}", TEXT, INK)
    box = (x + 34, y + 20, COLUMN - 60, CHART - 14)
    most = max(float(np.max(shown.losses)), 1e-3)
    _frame(pen, box)
    count = max(1, len(shown.losses) - 1)
    _line(pen, box, [(i / count, v / most) for i, v in enumerate(shown.losses)], FAINT, (5, 3))
    _line(pen, box, [(i / count, v) for i, v in enumerate(shown.chances)], ACCENT)
    _ends(pen, box, number(most), "0", "0", f"{count} steps")
    loss, chance = shown.losses[-1], shown.chances[-1]
    keys = [(f"loss {number(loss)} nats", FAINT), (f"P({shown.target}) with the value {number(chance)}", ACCENT)]
    _keys(pen, keys, x, box[1] + box[3] + 28)


def _answers(pen: Drawing, shown: EditFigure, y: float) -> None:
    """The likeliest first tokens before and after."""
    columns = [("Original", shown.before)]
    if shown.after:
        columns.append((f"Edited, λ {lam_name(shown.lams[shown.at])}", shown.after))
    if shown.all_applied:
        columns.append(("All applied", shown.all_applied))
    word, bar = (70, 62) if len(columns) < 3 else (46, 22)
    for column, (title, tokens) in enumerate(columns):
        x = PADDING + column * COLUMN / max(2, len(columns))
        pen.text(x, y + 6, title, TEXT, INK, room=COLUMN / max(2, len(columns)) - 6)
        for place, (token, p) in enumerate(tokens):
            at = y + 28 + 17 * place
            pen.text(x, at, token, SMALL, INK, room=word)
            pen.box(x + word + 6, at - 4, max(1.0, bar * p), 8, ACCENT)
            pen.text(x + word + bar + 12, at, number(p), SMALL, FAINT, room=52)


def _trade(pen: Drawing, shown: EditFigure, x: float, y: float) -> None:
    """Efficacy against what it costs, over lambda."""
    pen.text(x, y + 6, "What λ trades", TEXT, INK)
    box = (x + 34, y + 20, COLUMN - 60, CHART - 14)
    _frame(pen, box)
    count = max(1, len(shown.lams) - 1)
    here = box[0] + shown.at / count * box[2]
    pen.box(here - 0.5, box[1], 1, box[3], FAINT)
    for name, values in shown.lines.items():
        _line(pen, box, [(i / count, v) for i, v in enumerate(values)], COLORS[name], DASHES[name])
        if np.isfinite(values[shown.at]):
            pen.dot(here, box[1] + box[3] - values[shown.at] * (box[3] - 4), 3, COLORS[name])
    _ends(pen, box, "1", "0", f"λ {lam_name(shown.lams[0])}", lam_name(shown.lams[-1]))
    keys = [(f"{NAMES[name]} {number(values[shown.at])}", COLORS[name]) for name, values in shown.lines.items()]
    _keys(pen, keys, x, box[1] + box[3] + 28, room=COLUMN)


def _table(pen: Drawing, shown: EditFigure, groups: Sequence[Sequence[tuple[int, Effect]]], y: float) -> None:
    """What happens to every question that is watched."""
    after = any(row.after for row in shown.table)
    columns = (PADDING, 270, 400, 496, 594, 664, 750) if shown.together else (PADDING, 316, 474, 584, 694, 766, WIDTH)
    heads = ["Side effects", "", "original"]
    heads += [f"λ {lam_name(shown.lams[shown.at])}", f"P({shown.target})", ""] if after else ["", "", ""]
    heads += ["all applied"] if shown.together else []
    room = [end - start - 8 for start, end in zip(columns, (*columns[1:], WIDTH - PADDING + 8), strict=True)]
    for x, head, wide in zip(columns, heads, room, strict=False):
        pen.text(x, y + 8, head, TEXT if x == PADDING else SMALL, INK if x == PADDING else FAINT, room=wide)
    y += 22
    for follows, rows in zip((True, False), groups, strict=True):
        if not rows:
            continue
        pen.text(PADDING, y + 8, "Should change" if follows else "Should stay as it is", SMALL, FAINT)
        pen.box(PADDING, y + 18, WIDTH - 2 * PADDING, 0.5, RULE)
        y += 22
        for place, row in rows:
            at = y + ROW / 2
            pen.text(columns[0], at, row.text, SMALL, INK, room=room[0])
            pen.text(columns[1], at, row.kind, SMALL, FAINT, room=room[1])
            _said(pen, columns[2], at, row.before, room[2])
            if row.after is not None:
                _said(pen, columns[3], at, row.after, room[3])
                pen.text(columns[4], at, number(row.target), SMALL, INK, room=room[4])
                color = COLORS["specificity" if row.good else "leakage"]
                pen.text(columns[5], at, f"{'✓' if row.good else '✗'} {row.verdict}", SMALL, color, room=room[5])
            if shown.together:
                _said(pen, columns[6], at, shown.together[place], room[6])
            y += ROW
        y += 6


def _said(pen: Drawing, x: float, y: float, said: tuple[str, float] | None, room: float) -> None:
    """A token and its probability; what does not fit is cut from the token."""
    if said is None:
        return
    chance = f" {number(said[1])}"
    token = cut(said[0], SMALL, room - text_width(chance, SMALL))
    pen.words(x, y, [(token, INK), (chance, FAINT)], SMALL, room)


def _frame(pen: Drawing, box: tuple[float, float, float, float]) -> None:
    x, y, width, height = box
    pen.box(x, y, width, height, RULE)
    pen.box(x + 0.5, y + 0.5, width - 1, height - 1, "white")


def _line(
    pen: Drawing,
    box: tuple[float, float, float, float],
    shares: Sequence[tuple[float, float]],
    color: str,
    dashes: tuple[int, ...] = (),
) -> None:
    """A line through points given as shares of the box, full or in dashes (units: drawn, left out, drawn, ...)."""
    x, y, width, height = box
    known = [(sx, min(1.0, max(0.0, sy))) for sx, sy in shares if np.isfinite(sy)]
    points = [(x + sx * width, y + height - sy * (height - 4)) for sx, sy in known]
    for part in _dashed(points, dashes) if dashes and len(points) > 1 else [points]:
        pen.line(part, color, 2)


def _dashed(points: Sequence[tuple[float, float]], dashes: tuple[int, ...]) -> list[list[tuple[float, float]]]:
    """The drawn pieces of a line."""
    xy = np.array(points, dtype=float)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    parts, at, number = [], 0.0, 0
    while at < along[-1]:
        end = min(at + dashes[number % len(dashes)], along[-1])
        if number % 2 == 0:
            marks = [at, *along[(along > at) & (along < end)], end]
            parts.append([(float(np.interp(m, along, xy[:, 0])), float(np.interp(m, along, xy[:, 1]))) for m in marks])
        at, number = end, number + 1
    return parts


def _ends(pen: Drawing, box: tuple[float, float, float, float], top: str, low: str, left: str, right: str) -> None:
    """What the ends of both axes are."""
    x, y, width, height = box
    pen.text(x - 5, y + 6, top, SMALL, FAINT, "rm")
    pen.text(x - 5, y + height - 4, low, SMALL, FAINT, "rm")
    pen.text(x, y + height + 10, left, SMALL, FAINT, "lm")
    pen.text(x + width, y + height + 10, right, SMALL, FAINT, "rm")


def _keys(pen: Drawing, keys: Sequence[tuple[str, str]], x: float, y: float, room: float = COLUMN) -> None:
    """Names of colours, on as many lines as they need."""
    at = x
    for text, color in keys:
        wide = 16 + text_width(text, SMALL)
        if at > x and at + wide > x + room:
            at, y = x, y + SMALL + 5
        pen.box(at, y - 4, 9, 9, color)
        pen.text(at + 13, y, text, SMALL, INK, room=wide - 8)
        at += wide + 14

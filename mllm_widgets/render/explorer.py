"""An Explorer as one picture: its question and answer, and the pictures of its views below as they stand on the screen, on a white ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from mllm_widgets import labels
from mllm_widgets.numbers import number

from .pen import ACCENT, EDITED, FAINT, GAP, INK, PADDING, SCALE, SMALL, TEXT, TITLE, WARN, Drawing, text_width

if TYPE_CHECKING:
    from mllm_widgets.results import Answer
    from mllm_widgets.vlm.question import Question

LEAST, BESIDE = 560, 1500  # units: how wide it is at least, and up to where two columns stand side by side
THUMBNAIL = 220
TOP = 5  # tokens of the answer


def draw_explorer(
    question: Question,
    answer: Answer | None,
    span: tuple[int, ...],
    columns: Sequence[Sequence[Drawing]],
    image: Image.Image | None = None,
    notes: Sequence[str] = (),
    edited: str = "",
) -> Drawing:
    """Question, answer and views as a picture.

    Parameters
    ----------
    answer: None where the views say it themselves.
    span: where the constraint stands in the question, (start, end); empty without one.
    columns: pictures of the single views, from top to bottom in each column; beside each other where there is room.
    image: the question's picture, where no view shows it.
    notes: why a view is not there.
    edited: what edits the model has, in words.
    """
    columns = [[view for view in column if view.height] for column in columns if column]
    wide = [max(view.width for view in column) for column in columns]
    beside = sum(wide) <= BESIDE
    width = max(LEAST, sum(wide) if beside else max(wide)) if wide else LEAST
    if image is not None:
        image = image.convert("RGB")
        image.thumbnail((THUMBNAIL * SCALE, THUMBNAIL * SCALE))
    lines = [*([edited] if edited else []), *notes]
    head = PADDING + TITLE + GAP + (TEXT + GAP if answer else 0) + len(lines) * (SMALL + GAP)
    head += image.height // SCALE + GAP if image else 0
    tall = [sum(view.height for view in column) for column in columns]
    down = (max if beside else sum)(tall) if tall else PADDING
    said = "" if answer is None else f"The model answers {answer.text!r}. "
    told = " ".join(view.description for column in columns for view in column if view.description)
    pen = Drawing(width, head + down, question.text, said + told)
    _question(pen, question.text, span or (0, 0))
    y = PADDING + TITLE + GAP
    if answer is not None:
        _answer(pen, answer, y + TEXT / 2)
        y += TEXT + GAP
    for line in lines:
        color = EDITED if line == edited else WARN
        pen.text(PADDING, y + SMALL / 2, line, SMALL, color, room=width - 2 * PADDING)
        y += SMALL + GAP
    if image is not None:
        pen.photo(PADDING, y, image)
    left, top = 0, head
    for column, across, below in zip(columns, wide, tall, strict=True):
        y = top
        for view in column:
            pen.put(view, left, y)
            y += view.height
        left, top = (left + across, top) if beside else (0, top + below)
    return pen


def _question(pen: Drawing, text: str, span: Sequence[int]) -> None:
    """The question, the words that point at the picture marked."""
    start, end = span
    room = pen.width - 2 * PADDING
    parts = [(text[:start], INK), (text[start:end], ACCENT), (text[end:], INK)]
    pen.words(PADDING, PADDING + TITLE / 2, parts, TITLE, room)


def _answer(pen: Drawing, answer: Answer, y: float) -> None:
    """The answer, and what else it might have been: a bar for each of the likeliest tokens."""
    text = answer.text.strip() or labels.visible(answer.text)
    room = pen.width / 2
    pen.text(PADDING, y, text, TITLE, INK, room=room)
    x = PADDING + min(text_width(labels.one_line(text), TITLE), room) + 2 * GAP
    for token, p in answer.top(TOP):
        word, chance = labels.visible(token), f" {number(p)}"
        bar = max(1.0, 40 * p)
        wide = bar + 5 + text_width(word + chance, SMALL)
        if x + wide > pen.width - PADDING:
            break
        pen.box(x, y - 4, bar, 8, ACCENT)
        pen.words(x + bar + 5, y, [(word, INK), (chance, FAINT)], SMALL, wide - bar + 8)
        x += wide + 2 * GAP

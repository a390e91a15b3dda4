"""An Explorer as one picture: its question and answer, and the pictures of its views below, on a white ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from .pen import ACCENT, FAINT, GAP, INK, PADDING, SCALE, SMALL, TEXT, TITLE, Pen, text_width

if TYPE_CHECKING:
    from mllm_widgets.results import Answer
    from mllm_widgets.vlm.question import Question

LEAST, BESIDE = 560, 1400  # units: how wide it is at least, and up to where two views stand side by side
THUMBNAIL = 220


def explorer_picture(
    question: Question,
    answer: Answer,
    span: tuple[int, ...],
    views: Sequence[Image.Image],
    image: Image.Image | None = None,
    notes: Sequence[str] = (),
) -> Image.Image:
    """Question, answer and views, as an RGB picture at two pixels a unit.

    Parameters
    ----------
    span: where the constraint stands in the question, (start, end); empty without one.
    views: pictures of the single views.
    image: the question's picture, where no view shows it.
    notes: why a view is not there.
    """
    beside = len(views) == 2 and sum(view.width for view in views) <= BESIDE * SCALE
    across = sum(view.width for view in views) if beside else max((view.width for view in views), default=0)
    width = max(LEAST, across // SCALE)
    if image is not None:
        image = image.convert("RGB")
        image.thumbnail((THUMBNAIL * SCALE, THUMBNAIL * SCALE))
    head = (
        PADDING + TITLE + GAP + TEXT + GAP + len(notes) * (SMALL + GAP) + (image.height // SCALE + GAP if image else 0)
    )
    down = max((view.height for view in views), default=0) if beside else sum(view.height for view in views)
    picture = Image.new("RGB", (width * SCALE, head * SCALE + down + (0 if views else PADDING * SCALE)), "white")
    pen = Pen(ImageDraw.Draw(picture))
    start, end = span or (0, 0)
    x, y = float(PADDING), PADDING + TITLE / 2
    for text, color in ((question.text[:start], INK), (question.text[start:end], ACCENT), (question.text[end:], INK)):
        room = width - PADDING - x
        if text and room > 20:
            pen.text(x, y, text, TITLE, color, room=room)
            x += text_width(text, TITLE)
    y = PADDING + TITLE + GAP + TEXT / 2
    first = "   ".join(f"{token.strip() or '(empty)'} {p:.3f}" for token, p in answer.top(5))
    pen.text(PADDING, y, answer.text, TEXT, INK, room=width / 2)
    x = PADDING + min(text_width(answer.text, TEXT), width / 2) + 2 * GAP
    pen.text(x, y, first, SMALL, FAINT, room=width - PADDING - x)
    y += TEXT / 2 + GAP
    for note in notes:
        pen.text(PADDING, y + SMALL / 2, note, SMALL, FAINT, room=width - 2 * PADDING)
        y += SMALL + GAP
    if image is not None:
        picture.paste(image, (PADDING * SCALE, round(y * SCALE)))
    left, top = 0, head * SCALE
    for view in views:
        picture.paste(view, (left, top))
        left, top = (left + view.width, top) if beside else (0, top + view.height)
    return picture

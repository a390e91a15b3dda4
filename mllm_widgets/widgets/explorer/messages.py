"""What the browser asks of an Explorer: its messages, the questions they make and the files that come with them."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError

from mllm_widgets.errors import MllmWidgetsError, QuestionError
from mllm_widgets.vlm.images import as_image
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.spans import find_all

if TYPE_CHECKING:
    from .session import Session

MOST_BYTES = 40_000_000  # of an uploaded file


def hear(session: Session, content: dict[str, Any], buffers: list[Any]) -> None:
    """Do what a message asks for (`QuestionPanel` lists them); what cannot be done is said in the panel."""
    with session.lock:
        panel, received = session.views.panel, int(content.get("id", 0))
        panel.publish(error="", received=received)
        session.views.trials.publish(received=received)
        try:
            _do(session, content, buffers)
        except MllmWidgetsError as error:
            panel.publish(error=str(error))


def _do(session: Session, content: dict[str, Any], buffers: list[Any]) -> None:
    kind = content.get("kind")
    if kind in ("ask", "constraint", "picture"):
        question = edited(session.view.question, content, buffers)
        if question is not None:
            session.ask(question)
    elif kind == "cancel":
        session.work.cancel()
    elif kind == "forget":
        session.forget(content["trial"])
    elif kind in ("trace", "block"):
        if "patches" in content:
            session.select(None, None, content["patches"])
        session.test(kind)
    elif kind == "tab":
        session.turn_to(str(content.get("tab")))
    elif kind in ("undo", "redo"):
        session.step(back=kind == "undo")


def edited(question: Question, content: dict[str, Any], buffers: list[Any]) -> Question | None:
    """The question that a message asks for; None for what is asked already, or is about words that have gone meanwhile.

    Raises
    ------
    QuestionError: for an empty question, or a file that is no picture.
    """
    kind = content["kind"]
    if kind == "ask":
        text = str(content["text"])
        kept = question.constraint if question.constraint and find_all(text, question.constraint) else None
        new = replace(question, text=text, constraint=kept, occurrence=0, text_constraints=(), answer=None)
        return None if new.text == question.text else new
    if kind == "constraint":
        if content.get("question", question.text) != question.text:
            return None
        start, end = int(content["start"]), int(content["end"])
        words = question.text[start:end] or None
        places = [] if words is None else [span[0] for span in find_all(question.text, words)]
        occurrence = places.index(start) if start in places else 0
        return replace(question, constraint=words, occurrence=occurrence, text_constraints=())
    if not buffers:
        raise QuestionError("the picture did not arrive; try again.")
    return replace(question, image=uploaded(buffers[0], str(content.get("name", "the file"))), answer=None)


def uploaded(data: Any, name: str) -> Image.Image:
    """The picture in an uploaded file.

    Raises
    ------
    QuestionError: if it is too large, or no picture; in a sentence for the panel.
    """
    data = bytes(data)
    if len(data) > MOST_BYTES:
        raise QuestionError(
            f"{name!r} has {len(data) / 1e6:.0f} MB; expected a picture of at most {MOST_BYTES // 1_000_000}."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as opened:
                return as_image(opened)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise QuestionError(
            f"{name!r} has more pixels than can be decoded safely ({error}). Make it smaller first."
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise QuestionError(
            f"{name!r} cannot be read as a picture; expected a file such as PNG or JPEG. It may be cut off or of another kind."
        ) from error

"""The question of an Explorer: its words, its picture, its answer, and what the kernel is doing about it."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import traitlets
from PIL import Image, UnidentifiedImageError

from mllm_widgets.errors import QuestionError
from mllm_widgets.vlm.images import as_image
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.spans import find_all

from . import wire
from .base import Widget, bundle

MOST_BYTES = 40_000_000  # of an uploaded file


class QuestionPanel(Widget):
    """What is asked, and what came of it; the Explorer fills it in and hears what the user asks for.

    Parameters
    ----------
    heard: called on each message of the front end with its content and its buffers.
    lock: that of the widgets steered together.

    Notes
    -----
    Traits are written by the kernel alone, in step with js/src/explorer/state.ts.  The front end sends messages, each with a growing `id`, which comes back in
    `received`: {"kind": "ask", "text"}, {"kind": "constraint", "question", "start", "end"} (characters of it), {"kind": "picture", "name"} with the file as its
    buffer, {"kind": "undo"}, {"kind": "redo"}, {"kind": "trace", "patches"}, {"kind": "block", "patches"}, {"kind": "forget", "trial"}, {"kind": "cancel"}.
    """

    _esm = bundle("question_panel.js")
    _css = bundle("question_panel.css")

    version = traitlets.Int(wire.VERSION).tag(sync=True)
    generation = traitlets.Int(0).tag(sync=True)
    question = traitlets.Unicode("").tag(sync=True)
    span = traitlets.List([]).tag(sync=True)
    words = traitlets.List([]).tag(sync=True)
    pictured = traitlets.Bool(False).tag(sync=True)
    image = traitlets.Bytes(b"").tag(sync=True)
    answer = traitlets.Unicode("").tag(sync=True)
    top = traitlets.List([]).tag(sync=True)
    notes = traitlets.List([]).tag(sync=True)
    state = traitlets.Unicode("idle").tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    can_undo = traitlets.Bool(False).tag(sync=True)
    can_redo = traitlets.Bool(False).tag(sync=True)
    takes_pictures = traitlets.Bool(True).tag(sync=True)
    head = traitlets.Unicode("").tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
    received = traitlets.Int(0).tag(sync=True)

    def __init__(self, heard: Callable[[dict[str, Any], list[Any]], None], *, lock: Any, **traits: Any) -> None:
        super().__init__(lock=lock, **traits)
        self.on_msg(lambda _widget, content, buffers: heard(content, buffers))


def words_of(text: str) -> list[dict[str, Any]]:
    """The words of a question: {text, start, end}, characters without the punctuation around them."""
    found = []
    for match in re.finditer(r"\S+", text):
        word = match[0]
        inner = [i for i, character in enumerate(word) if character.isalnum()]
        if inner:
            start, end = match.start() + inner[0], match.start() + inner[-1] + 1
            found.append({"text": text[start:end], "start": start, "end": end})
    return found


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

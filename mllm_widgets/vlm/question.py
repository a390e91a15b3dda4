"""A question, usually about a picture."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from mllm_widgets.errors import QuestionError

from .images import as_image


@dataclass(frozen=True, eq=False)
class Question:
    """A picture, a question about it, and the words that point at the picture; or a question alone, and the words it is about.

    Parameters
    ----------
    image: a PIL image, a path, or an array of shape (height, width), (height, width, 3) or (height, width, 4); uint8 0..255 or
        floats 0..1.  It is kept as an RGB PIL image, see `mllm_widgets.vlm.images.as_image`.  None asks without a picture.
    text: the question.
    constraint: the visual constraint, words of `text` that refer to the picture ("this building"); without a picture, the subject in its
        place ("the Eiffel Tower").
    text_constraints: further words that narrow the answer ("1989").
    answer: the true answer, if known; nothing computes with it.
    occurrence: which match of `constraint` in `text` is meant, counted from 0.

    Raises
    ------
    QuestionError: for an empty question or a picture that cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> Question(np.zeros((8, 8), np.uint8), "Which city is this building in?", constraint="this building").image.size
    (8, 8)
    >>> Question(None, "Which city is the Eiffel Tower in?", constraint="the Eiffel Tower").image is None
    True
    """

    image: Any
    text: str
    constraint: str | None = None
    text_constraints: tuple[str, ...] = ()
    answer: str | None = None
    occurrence: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise QuestionError(
                f"text={self.text!r} is no question: expected a sentence such as 'Which city is this building in?'."
            )
        if any("\ud800" <= character <= "\udfff" for character in self.text):
            raise QuestionError(
                f"text={self.text!r} has half a character (a lone surrogate), which no tokenizer reads; it was probably cut, or decoded wrongly."
            )
        if isinstance(self.text_constraints, str):
            object.__setattr__(self, "text_constraints", (self.text_constraints,))
        if self.constraint is not None and not isinstance(self.constraint, str):
            raise QuestionError(f"constraint={self.constraint!r} is no text; expected words such as 'this building'.")
        if not all(isinstance(words, str) for words in self.text_constraints):
            raise QuestionError(
                f"text_constraints={self.text_constraints!r} are not all texts; expected words of the question such as ('1989',)."
            )
        if isinstance(self.occurrence, bool) or not isinstance(self.occurrence, int):
            raise QuestionError(
                f"occurrence={self.occurrence!r} is not a whole number; it says which match of the constraint is meant, from 0."
            )
        # Composed characters, so that a constraint typed in another normal form is still found.
        object.__setattr__(self, "text", unicodedata.normalize("NFC", self.text.strip()))
        object.__setattr__(self, "text_constraints", tuple(self.text_constraints))
        object.__setattr__(self, "image", None if self.image is None else as_image(self.image))

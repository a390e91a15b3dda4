"""Corrupting a question: other token ids in the place of the visual constraint, the picture untouched.

A replacement phrase rarely has as many tokens as the constraint.  Its tokens are taken in context (with the space before them, as
the tokenizer would write them there) and then truncated or repeated to the constraint's length, so that every later position
keeps its place.
"""

from __future__ import annotations

import numpy as np

from mllm_widgets.errors import TraceError
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question


def fit(tokens: list[int], length: int) -> tuple[list[int], str]:
    """`tokens` made `length` long, and what was done: "exact", "truncated" or "repeated".

    Examples
    --------
    >>> fit([7, 8, 9], 2), fit([7], 2)
    (([7, 8], 'truncated'), ([7, 7], 'repeated'))
    """
    how = "exact" if len(tokens) == length else "truncated" if len(tokens) > length else "repeated"
    return (tokens * (length // len(tokens) + 1))[:length], how


def swap_constraint(vlm: VLM, question: Question, encoded: Encoding, phrase: str) -> tuple[np.ndarray, str]:
    """(corrupted ids (positions,), what was done to fit the phrase).

    Raises
    ------
    TraceError: for an empty phrase, or one whose tokens are those of the constraint itself.
    """
    if not isinstance(phrase, str) or not phrase.strip():
        raise TraceError(
            f"corruption={phrase!r} is {'empty' if isinstance(phrase, str) else 'no text'}; expected words to stand in for the constraint, "
            "such as 'Taj Mahal'."
        )
    other = vlm.encode(question, constraint=phrase.strip())
    tokens = [int(other.input_ids[p]) for p in other.constraint]
    fitted, how = fit(tokens, len(encoded.constraint))
    ids = encoded.input_ids.copy()
    ids[list(encoded.constraint)] = fitted
    if (ids == encoded.input_ids).all():
        raise TraceError(
            f"corruption={phrase!r} has the same tokens as the constraint {question.constraint!r}, so nothing would be corrupted; "
            "choose other words."
        )
    return ids, how

"""A first guess at the constraints of a question, for somebody to accept or to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .marks import Marks


@dataclass(frozen=True)
class Suggestion:
    """Words that may be the constraints.

    notes: why, or what of an answer was left out; for a reader.
    """

    marks: Marks
    notes: tuple[str, ...] = ()


def suggestion(visual: Sequence[int], text: Sequence[int], notes: Sequence[str]) -> Suggestion:
    """A suggestion of words in any order; what is of both kinds points at the picture."""
    seen = set(visual)
    return Suggestion(Marks(tuple(sorted(seen)), tuple(sorted(set(text) - seen))), tuple(notes))

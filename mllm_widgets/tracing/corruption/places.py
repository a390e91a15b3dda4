"""Which positions of a prompt a corruption changes, from the names a user gives."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mllm_widgets.errors import TraceError
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

WORDS = ("constraint", "text_constraints")
PLACES = (*WORDS, "visual")


def constraints(names: Sequence[Any], question: Question) -> list[Question]:
    """The question once for each of its constraints named, with that one as its only constraint."""
    found = []
    if "constraint" in names:
        if question.constraint is None:
            raise TraceError(
                "the question has no constraint, so there is nothing to corrupt; name the words that point at the picture: "
                "Question(image, text, constraint='this building')."
            )
        found.append(replace(question, text_constraints=()))
    if "text_constraints" in names:
        if not question.text_constraints:
            raise TraceError(
                "positions='text_constraints' asks for words that the question does not name; expected "
                "Question(image, text, text_constraints=('1989',))."
            )
        found += [
            replace(question, constraint=words, text_constraints=(), occurrence=0)
            for words in question.text_constraints
        ]
    return found


def span_of(vlm: VLM, question: Question, encoded: Encoding, alone: Question) -> tuple[int, ...]:
    """Sequence positions of a constraint."""
    if alone.constraint == question.constraint and alone.occurrence == question.occurrence:
        return encoded.constraint
    other = vlm.encode(alone)
    # where the picture before it was left out; an answer may stand after the prompt
    shift = sum(token.kind != "answer" for token in encoded.tokens) - len(other.tokens)
    return tuple(p + shift for p in other.constraint)


def positions_of(names: Sequence[Any], vlm: VLM, question: Question, encoded: Encoding) -> tuple[int, ...]:
    """Sequence positions, ascending, of places named and numbered."""
    found = {p for alone in constraints(names, question) for p in span_of(vlm, question, encoded, alone)}
    if "visual" in names:
        if not encoded.visual.any():
            raise TraceError(
                f"positions='visual' asks for visual tokens, and this prompt of {type(vlm.model).__name__} has none; "
                "expected 'constraint', 'text_constraints' or sequence positions."
            )
        found.update(int(p) for p in np.flatnonzero(encoded.visual))
    for position in names:
        if not isinstance(position, str):
            if not 0 <= position < len(encoded.tokens):
                raise TraceError(
                    f"positions={position} is outside the prompt; expected 0 to {len(encoded.tokens) - 1}, counted over all tokens, visual ones "
                    "included, as in vlm.encode(question).tokens."
                )
            found.add(int(position))
    return tuple(sorted(found))


def as_places(positions: Any, known: tuple[str, ...], owner: str, *, numbers: bool = False) -> tuple[Any, ...]:
    """`positions` as a tuple of known names, and of numbers where these are allowed."""
    found = (positions,) if isinstance(positions, str) or not isinstance(positions, Iterable) else tuple(positions)
    for name in found:
        number = isinstance(name, (int, np.integer)) and not isinstance(name, bool)
        if not (number and numbers) and name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            others = ", or sequence positions" if numbers else ""
            raise TraceError(
                f"positions={positions!r} of {owner}: {name!r} names nothing it can change; expected "
                f"{', '.join(map(repr, known))}{others}.{f' Did you mean {near[0]!r}?' if near else ''}"
            )
    if not found:
        raise TraceError(
            f"positions={positions!r} of {owner} is empty, so nothing would be corrupted; expected {known[0]!r}."
        )
    return tuple(dict.fromkeys(found))

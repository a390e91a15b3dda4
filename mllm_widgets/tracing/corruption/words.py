"""Other words in the place of a constraint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mllm_widgets.errors import TraceError
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

from .base import Corruption, Plan
from .places import WORDS, as_places, constraints, span_of


@dataclass(frozen=True)
class TokenSwap(Corruption):
    """Other words in the place of a constraint, as in the paper ("this building" -> "Taj Mahal").

    The phrase's tokens are taken in context (with the space before them, as the tokenizer would write them there) and then truncated or
    repeated to the constraint's length, so that every later position keeps its place.

    Parameters
    ----------
    phrase: the other words.
    positions: what they replace: "constraint" (the visual constraint), "text_constraints" (each of them), or both in a tuple.

    Raises
    ------
    TraceError: for an empty phrase, or positions that are no constraint.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> question = mw.datasets.demo_question("Eiffel Tower")
    >>> mw.causal_trace(mw.load(), question, corruption=mw.tracing.TokenSwap("Big Ben")).corruption
    'Big Ben'
    """

    phrase: str
    positions: str | Sequence[str] = "constraint"

    def __post_init__(self) -> None:
        _check_phrase("corruption", self.phrase)
        object.__setattr__(self, "positions", as_places(self.positions, WORDS, type(self).__name__))

    def plan(self, vlm: VLM, question: Question, encoded: Encoding) -> Plan:
        """As `Corruption.plan`."""

        def tokens(alone: Question) -> list[int]:
            other = vlm.encode(alone, constraint=self.phrase.strip())
            return [int(other.input_ids[p]) for p in other.constraint]

        return _swapped(self, vlm, question, encoded, self.phrase, tokens)


@dataclass(frozen=True)
class RepeatedToken(Corruption):
    """One token in the place of every token of a constraint, as in the paper's released code ("this building" -> "Paris Paris").

    Of a word of several tokens the first is taken.  The word is tokenized by itself, as that code does, not as it would stand in the
    question.

    Parameters
    ----------
    word: whose first token is written.
    positions: as for `TokenSwap`.

    Raises
    ------
    TraceError: for an empty word, or positions that are no constraint.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> question = mw.datasets.demo_question("Eiffel Tower")
    >>> mw.causal_trace(mw.load(), question, corruption=mw.tracing.RepeatedToken("London")).fitted
    'first token, repeated'
    """

    word: str = "Paris"
    positions: str | Sequence[str] = "constraint"

    def __post_init__(self) -> None:
        _check_phrase("word", self.word)
        object.__setattr__(self, "positions", as_places(self.positions, WORDS, type(self).__name__))

    def plan(self, vlm: VLM, question: Question, encoded: Encoding) -> Plan:
        """As `Corruption.plan`."""
        ids = vlm.tokenizer(self.word.strip(), add_special_tokens=False)["input_ids"]
        if not ids:
            raise TraceError(
                f"word={self.word!r} has no token: this tokenizer drops its characters. Choose another word."
            )
        planned = _swapped(self, vlm, question, encoded, self.word, lambda _: [int(ids[0])])
        return replace(planned, fitted="first token, repeated")


def fit(tokens: list[int], length: int) -> tuple[list[int], str]:
    """`tokens` made `length` long, and what was done: "exact", "truncated" or "repeated".

    Examples
    --------
    >>> fit([7, 8, 9], 2), fit([7], 2)
    (([7, 8], 'truncated'), ([7, 7], 'repeated'))
    """
    how = "exact" if len(tokens) == length else "truncated" if len(tokens) > length else "repeated"
    return (tokens * (length // len(tokens) + 1))[:length], how


def _swapped(
    corruption: TokenSwap | RepeatedToken,
    vlm: VLM,
    question: Question,
    encoded: Encoding,
    phrase: str,
    tokens: Callable[[Question], list[int]],
) -> Plan:
    """New ids at every constraint named; `tokens` gives them for a question whose constraint is the one to be replaced."""
    ids = encoded.input_ids.copy()
    positions: set[int] = set()
    fits: dict[str, None] = {}
    for alone in constraints(corruption.positions, question):
        span = list(span_of(vlm, question, encoded, alone))
        ids[span], how = fit(tokens(alone), len(span))
        positions.update(span)
        fits[how] = None
    if (ids == encoded.input_ids).all():
        words = " and ".join(repr(alone.constraint) for alone in constraints(corruption.positions, question))
        raise TraceError(
            f"corruption={phrase!r} has the same tokens as the constraint {words}, so nothing would be corrupted; "
            "choose other words."
        )
    return Plan(tuple(sorted(positions)), ids, phrase, ", ".join(fits), "try another phrase")


def _check_phrase(argument: str, phrase: Any) -> None:
    if not isinstance(phrase, str) or not phrase.strip():
        raise TraceError(
            f"{argument}={phrase!r} is {'empty' if isinstance(phrase, str) else 'no text'}; expected words to stand in for the constraint, "
            "such as 'Taj Mahal'."
        )


# Two for each kind of thing, so that one of them is not what the picture shows.
LANDMARKS = ("Taj Mahal", "Eiffel Tower")
PHRASES = {
    (
        "Albert Einstein",
        "Marilyn Monroe",
    ): "actor actress artist athlete author boy director gentleman girl king lady man person player "
    "politician prince princess queen scientist singer woman writer",
    ("blue whale", "polar bear"): "animal bird cat dog fish horse insect",
    ("oak tree", "red rose"): "flower fruit plant tree vegetable",
    ("Star Wars", "Titanic"): "book film movie series show song",
    ("Coca Cola", "Red Cross"): "band brand club company organisation organization service team",
    ("Google Maps", "Linux"): "app application device language operating product program software system",
    ("fire truck", "steam train"): "airplane bike boat bus car motorcycle plane ship train truck vehicle",
    ("birthday cake", "green salad"): "dessert dish food meal",
}


def phrases_for(constraint: str) -> tuple[str, str]:
    """Default phrases for a visual constraint: of its kind, so that the corrupted question still makes sense; landmarks for any other.

    Examples
    --------
    >>> phrases_for("this gentleman"), phrases_for("this building")
    (('Albert Einstein', 'Marilyn Monroe'), ('Taj Mahal', 'Eiffel Tower'))
    """
    words = {word.strip(".,;:!?'\"").removesuffix("'s") for word in constraint.lower().split()}
    return next((phrases for phrases, kinds in PHRASES.items() if words & set(kinds.split())), LANDMARKS)

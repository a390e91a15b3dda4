"""Which words of a question are marked, and the same as phrases, as characters and as a question that can be traced."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mllm_widgets.datasets.vqa_constraints.matching import MOST_BETWEEN
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.spans import find_all, words_of

KINDS = ("visual", "text")


@dataclass(frozen=True)
class Marks:
    """Indices of words, ascending; a word has one kind of mark at most.

    visual: words that point at the picture. text: words that narrow the answer beside them. skipped: why the question cannot be marked, or "".
    """

    visual: tuple[int, ...] = ()
    text: tuple[int, ...] = ()
    skipped: str = ""

    @property
    def any(self) -> bool:
        """Is a word marked?"""
        return bool(self.visual or self.text)

    def listed(self, count: int) -> list[str]:
        """The kind of each of `count` words, "" for none."""
        kinds = [""] * count
        for kind in KINDS:
            for index in getattr(self, kind):
                kinds[index] = kind
        return kinds


def marks_from(kinds: Sequence[Any]) -> Marks:
    """The marks of a list that has a kind for each word; what is none of them is no mark.

    Examples
    --------
    >>> marks_from(["", "visual", "visual", "text"])
    Marks(visual=(1, 2), text=(3,), skipped='')
    """
    visual, text = (tuple(i for i, each in enumerate(kinds) if each == kind) for kind in KINDS)
    return Marks(visual, text)


def runs(words: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of words that follow each other.

    Examples
    --------
    >>> runs((1, 2, 3, 7))
    [(1, 3), (7, 7)]
    """
    starts = [index for place, index in enumerate(words) if not place or index != words[place - 1] + 1]
    ends = [index for place, index in enumerate(words) if place + 1 == len(words) or index != words[place + 1] - 1]
    return list(zip(starts, ends, strict=True))


def spans(text: str, words: Sequence[int]) -> list[tuple[int, int]]:
    """The characters of each run, (start, end).

    Examples
    --------
    >>> spans("What brand of suit is this man wearing?", (3, 5, 6))
    [(14, 18), (22, 30)]
    """
    bounds = _bounds(text)
    return [(bounds[first][0], bounds[last][1]) for first, last in runs(words)]


@functools.lru_cache(maxsize=1 << 14)
def _bounds(text: str) -> tuple[tuple[int, int], ...]:
    """Where the words of a question stand; a file asks for those of each question several times."""
    return tuple((word["start"], word["end"]) for word in words_of(text))


def phrases(text: str, words: Sequence[int]) -> list[str]:
    """The words of each run, with what stands between them."""
    return [text[start:end] for start, end in spans(text, words)]


def words_in(text: str, places: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The words that hold a character of one of the spans."""
    return tuple(
        index
        for index, (begin, stop) in enumerate(_bounds(text))
        if any(begin < end and stop > start for start, end in places)
    )


def words_like(text: str, phrase: str, between: int = MOST_BETWEEN) -> tuple[int, ...]:
    """The words of a question that a phrase names, which somebody wrote without counting: the first that follow each other, else the nearest that stand in
    this order with at most `between` others among them; empty where there are none.

    Examples
    --------
    >>> words_like("What brand of suit is this man wearing?", "This man")
    (5, 6)
    >>> words_like("What brand of suit is this man wearing?", "suit this man")
    (3, 5, 6)
    """
    found = find_all(text, phrase)
    if found:
        return words_in(text, found[:1])
    wanted = [word["text"].casefold() for word in words_of(phrase)]
    there = [word["text"].casefold() for word in words_of(text)]
    best: tuple[int, ...] = ()
    for first, word in enumerate(there):
        if not wanted or word != wanted[0]:
            continue
        taken = [first]
        for sought in wanted[1:]:
            taken.append(next((i for i in range(taken[-1] + 1, len(there)) if there[i] == sought), len(there)))
        if taken[-1] < len(there) and (not best or taken[-1] - first < best[-1] - best[0]):
            best = tuple(taken)
    return best if best and best[-1] - best[0] + 1 - len(best) <= between else ()


def as_question(image: Any, text: str, marks: Marks, answer: str | None = None) -> tuple[Question, str]:
    """The question that is marked, and what of its marks a question cannot hold; "" where it holds all.

    A constraint is consecutive words.  Of words that stand apart those between are taken too, as `load_vqa_constraints` does; of words far apart, the last run,
    since a constraint acts through its last token.
    """
    notes = []
    constraint, occurrence = None, 0
    if marks.visual:
        start, end = spans(text, marks.visual)[-1]
        gaps = [b - a - 1 for a, b in pairwise(marks.visual)]
        apart = any(gaps)
        if apart and sum(gaps) <= MOST_BETWEEN:
            start = spans(text, marks.visual)[0][0]
        constraint = text[start:end]
        places = [place for place, _ in find_all(text, constraint)]
        occurrence = places.index(start) if start in places else 0
        if apart:
            notes.append(f"the visual constraint stands apart: took {constraint!r}")
    narrowing = tuple(phrases(text, marks.text))
    for words, span in zip(narrowing, spans(text, marks.text), strict=True):
        if find_all(text, words)[:1] != [span]:
            notes.append(f"the text constraint {words!r} stands there before, too, where it is taken")
    question = Question(
        image, text, constraint=constraint, text_constraints=narrowing, answer=answer, occurrence=occurrence
    )
    return question, "; ".join(notes)


def written(places: Sequence[tuple[int, int]]) -> str:
    """Spans as a file has them: "14-18 22-30"."""
    return " ".join(f"{start}-{end}" for start, end in places)


def read_spans(text: str) -> list[tuple[int, int]] | None:
    """The spans of a file; None for what are none."""
    found = [re.fullmatch(r"(\d+)-(\d+)", part) for part in text.split()]
    places = [(int(match[1]), int(match[2])) for match in found if match is not None]
    return places if len(places) == len(found) and all(start < end for start, end in places) else None

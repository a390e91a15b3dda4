"""Where an annotated constraint stands in its question, although annotators cut words off, changed their order or left some out.

Every repair is said in words, so that nobody traces something else than the annotator meant without knowing it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mllm_widgets.vlm.spans import find_all

MOST_BETWEEN = 3  # words that may stand between those of the constraint
_DETERMINERS = {"a", "an", "the", "this", "that", "these", "those"}
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True)
class Match:
    """A constraint found in a question.

    words: the question's own, which are consecutive. occurrence: which of several equal ones is meant, from 0. note: what was repaired, or "".
    """

    words: str
    occurrence: int = 0
    note: str = ""


def locate(text: str, written: str, repair: bool = True) -> Match | None:
    """Find a constraint as an annotator wrote it in a question; None if it does not stand there.

    Case, punctuation and spaces never matter.  With `repair`, in this order: a last word that was cut off is completed; words with up to three others between
    them are taken with those; an article or pronoun that stands elsewhere is left out.

    Examples
    --------
    >>> locate("This application, a product created by?", "This application,")
    Match(words='This application', occurrence=0, note='')
    >>> locate("What type of hat is this gentleman wearing?", "this hat").words
    'hat'
    """
    for find in (_as_written, _cut_off, _apart, _without_determiner) if repair else (_as_written,):
        found = find(text, written)
        if found is not None:
            (start, end), note = found
            words = text[start:end]
            return Match(words, find_all(text, words).index((start, end)), note and f"{note}: took {words!r}")
    return None


def _as_written(text: str, written: str) -> tuple[tuple[int, int], str] | None:
    spans = find_all(text, written)
    return (spans[0], "") if spans else None


def _cut_off(text: str, written: str) -> tuple[tuple[int, int], str] | None:
    """The last word is only the beginning of one."""
    words = _WORD.findall(written)
    if not words or len(words[-1]) < 2:
        return None
    wording = r"[\W_]+".join(re.escape(word) for word in words)
    match = re.search(rf"(?<!\w){wording}[\w'’-]*\w", text, re.IGNORECASE)
    return None if match is None else (match.span(), "its last word was cut off")


def _apart(text: str, written: str) -> tuple[tuple[int, int], str] | None:
    """Its words stand there in order, with a few others between them: the shortest such run."""
    wanted = [word.casefold() for word in _WORD.findall(written)]
    there = [(match.group().casefold(), match.span()) for match in _WORD.finditer(text)]
    best: tuple[int, int] | None = None
    for first, (word, _) in enumerate(there):
        if not wanted or word != wanted[0]:
            continue
        at = first
        for sought in wanted[1:]:
            at = next((place for place in range(at + 1, len(there)) if there[place][0] == sought), len(there))
        if at < len(there) and (best is None or at - first < best[1] - best[0]):
            best = first, at
    if best is None or best[1] - best[0] + 1 - len(wanted) > MOST_BETWEEN:
        return None
    return (there[best[0]][1][0], there[best[1]][1][1]), "its words stand apart"


def _without_determiner(text: str, written: str) -> tuple[tuple[int, int], str] | None:
    words = _WORD.findall(written)
    if len(words) < 2 or words[0].casefold() not in _DETERMINERS:
        return None
    spans = find_all(text, " ".join(words[1:]))
    return (spans[0], f"{words[0]!r} does not stand before it") if spans else None

"""Finding words in a question, and the tokens that hold them.

Matching forgives what annotators do: other case, other punctuation, more spaces.  Punctuation that was typed still tells two matches
apart: "a?" is the "a" before the question mark where there is one.  It never matches inside a word, and it never looks outside the
question (the template may say "this" too).  Tokens come from the tokenizer's offset mapping, so any fast tokenizer works.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from typing import Any

from mllm_widgets.errors import ConstraintError


def find_words(text: str, words: str, occurrence: int = 0, argument: str = "constraint") -> tuple[int, int]:
    """The character span (start, end) of `words` in `text`, counted in its composed (NFC) form.

    Matches with the punctuation that was typed are preferred; where there is none, punctuation does not matter.  Punctuation around
    the words is not part of the span.

    Examples
    --------
    >>> find_words("In this place, the language is", "This place")
    (3, 13)
    >>> find_words("A dog is chasing a?", "a?")
    (17, 18)

    Raises
    ------
    ConstraintError: if the words do not stand there, with the nearest words that do.
    """
    text = unicodedata.normalize("NFC", text)
    if not _bare(words):
        raise ConstraintError(
            f"{argument}={words!r} has no word in it; expected words of the question such as 'this building'."
        )
    matches = find_all(text, words)
    if not matches:
        raise ConstraintError(
            f"{argument}={words!r} does not stand in the question {text!r}; it must be consecutive words of it.{_nearest(text, words)}"
        )
    if not -len(matches) <= occurrence < len(matches):
        raise ConstraintError(
            f"occurrence={occurrence} asks for match number {occurrence + 1} of {argument}={words!r}, and the question {text!r} has "
            f"{len(matches)}; count from 0."
        )
    return matches[occurrence]


def find_all(text: str, words: str) -> list[tuple[int, int]]:
    """Every match of `words` in a composed `text` as `find_words` counts them, in order; empty where there is none."""
    typed = unicodedata.normalize("NFC", words).split()
    parts = [part for part in map(_bare, typed) if part]
    return (_matches(text, typed, r"\s+") or _matches(text, parts, r"[\W_]+")) if parts else []


def _matches(text: str, parts: list[str], between: str) -> list[tuple[int, int]]:
    """Spans of `parts` with `between` (a pattern) between them, whole words only, without the punctuation around them."""
    wording = between.join(re.escape(part).replace("’", "'").replace("'", "['’]") for part in parts)
    spans = []
    for match in re.finditer(wording, text, re.IGNORECASE):
        bare = _bare(match.group())
        start = match.start() + match.group().index(bare)
        end = start + len(bare)
        if not (_in_word(text[start - 1 : start]) or _in_word(text[end : end + 1])):
            spans.append((start, end))
    return spans


def _in_word(character: str) -> bool:
    """True for a letter, a digit or a mark on one (many scripts write vowels as marks, which regular expressions leave out)."""
    return bool(character) and (character.isalnum() or unicodedata.category(character)[0] == "M")


def _bare(word: str) -> str:
    """A word without punctuation around it; inner apostrophes and hyphens stay."""
    inside = [i for i, character in enumerate(word) if _in_word(character)]
    return word[inside[0] : inside[-1] + 1] if inside else ""


def _nearest(text: str, wanted: str) -> str:
    words, parts = ([bare for bare in map(_bare, line.split()) if bare] for line in (text, wanted))
    runs = [" ".join(words[i : i + n]) for n in {len(parts), max(1, len(parts) - 1)} for i in range(len(words) - n + 1)]
    near = difflib.get_close_matches(" ".join(parts).lower(), [run.lower() for run in runs], n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def words_of(text: str) -> list[dict[str, Any]]:
    """The words of a question: {text, start, end}, characters without the punctuation around them.

    Examples
    --------
    >>> [word["text"] for word in words_of("“Who's” there?")]
    ["Who's", 'there']
    """
    found = []
    for match in re.finditer(r"\S+", text):
        word = match[0]
        first = next((i for i, character in enumerate(word) if _in_word(character)), None)
        if first is not None:
            last = next(i for i in range(len(word) - 1, -1, -1) if _in_word(word[i]))
            start, end = match.start() + first, match.start() + last + 1
            found.append({"text": text[start:end], "start": start, "end": end})
    return found


def tokens_in(offsets: list[tuple[int, int]], start: int, end: int) -> list[int]:
    """Indices of the tokens that hold any character of the span (start, end)."""
    return [i for i, (a, b) in enumerate(offsets) if a < end and b > start]

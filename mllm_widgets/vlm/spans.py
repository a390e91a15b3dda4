"""Finding words in a question, and the tokens that hold them.

Matching forgives what annotators do: other case, other punctuation, more spaces.  It never matches inside a word, and it
never looks outside the question (the template may say "this" too).  Tokens come from the tokenizer's offset mapping, so any
fast tokenizer works.
"""

from __future__ import annotations

import difflib
import re
import unicodedata

from mllm_widgets.errors import ConstraintError


def find_words(text: str, words: str, occurrence: int = 0, argument: str = "constraint") -> tuple[int, int]:
    """The character span (start, end) of `words` in `text`.

    Examples
    --------
    >>> find_words("In this place, the language is", "This place")
    (3, 13)

    Raises
    ------
    ConstraintError: if the words do not stand there, with the nearest words that do.
    """
    parts = [_bare(part) for part in unicodedata.normalize("NFC", words).split()]
    parts = [part for part in parts if part]
    if not parts:
        raise ConstraintError(
            f"{argument}={words!r} has no word in it; expected words of the question such as 'this building'."
        )
    pattern = (
        r"(?<!\w)"
        + r"[\W_]+".join(re.escape(part).replace("’", "'").replace("'", "['’]") for part in parts)
        + r"(?!\w)"
    )
    matches = [match.span() for match in re.finditer(pattern, text, re.IGNORECASE)]
    if not matches:
        raise ConstraintError(
            f"{argument}={words!r} does not stand in the question {text!r}; it must be consecutive words of it.{_nearest(text, parts)}"
        )
    if not -len(matches) <= occurrence < len(matches):
        raise ConstraintError(
            f"occurrence={occurrence} asks for match number {occurrence + 1} of {argument}={words!r}, and the question {text!r} has "
            f"{len(matches)}; count from 0."
        )
    return matches[occurrence]


def _bare(word: str) -> str:
    """A word without punctuation around it; inner apostrophes and hyphens stay."""
    return re.sub(r"^[\W_]+|[\W_]+$", "", word)


def _nearest(text: str, parts: list[str]) -> str:
    words = [w for w in (_bare(word) for word in text.split()) if w]
    runs = [" ".join(words[i : i + n]) for n in {len(parts), max(1, len(parts) - 1)} for i in range(len(words) - n + 1)]
    near = difflib.get_close_matches(" ".join(parts).lower(), [run.lower() for run in runs], n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def tokens_in(offsets: list[tuple[int, int]], start: int, end: int) -> list[int]:
    """Indices of the tokens that hold any character of the span (start, end)."""
    return [i for i, (a, b) in enumerate(offsets) if a < end and b > start]

"""VQA accuracy: how far an answer agrees with what ten people said (Antol et al. 2015; the normalisation of the official evaluation)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_NUMBERS = dict(zip(["none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], ["0", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"], strict=True))  # fmt: skip
_ARTICLES = {"a", "an", "the"}
_ASIDE = re.compile(r"[;/\[\]\"{}()=+\\_<>@`,?!\-]")
_CONTRACTIONS = {
    word.replace("'", ""): word
    for word in [
        "ain't",
        "aren't",
        "can't",
        "could've",
        "couldn't",
        "didn't",
        "doesn't",
        "don't",
        "hadn't",
        "hasn't",
        "haven't",
        "he'd",
        "he's",
        "how'd",
        "how'll",
        "how's",
        "i'd've",
        "i'm",
        "i've",
        "isn't",
        "it'd",
        "it'll",
        "let's",
        "ma'am",
        "might've",
        "mightn't",
        "must've",
        "mustn't",
        "needn't",
        "not've",
        "o'clock",
        "oughtn't",
        "shan't",
        "she'd've",
        "should've",
        "shouldn't",
        "somebody'd",
        "someone'd",
        "something'd",
        "that's",
        "there'd",
        "there're",
        "there's",
        "they'd",
        "they'll",
        "they're",
        "they've",
        "wasn't",
        "we'd've",
        "we've",
        "weren't",
        "what'll",
        "what're",
        "what's",
        "what've",
        "when's",
        "where'd",
        "where's",
        "where've",
        "who'd",
        "who'll",
        "who's",
        "who've",
        "why'll",
        "why're",
        "why's",
        "won't",
        "would've",
        "wouldn't",
        "y'all",
        "you'd",
        "you'll",
        "you're",
        "you've",
    ]
}


def normalise_answer(answer: str) -> str:
    """An answer as the official evaluation compares it: small letters, digits for numbers, no articles and no punctuation.

    Examples
    --------
    >>> normalise_answer("The two Dogs!")
    '2 dogs'
    """
    text = unicodedata.normalize("NFC", answer).replace("\n", " ").replace("\t", " ").strip().lower()
    text = re.sub(r"(?<=\d),(?=\d)", "", text)
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", "", _ASIDE.sub(" ", text))
    words = (_NUMBERS.get(word, word) for word in text.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, given: Sequence[str]) -> float:
    """min(agreeing / 3, 1), averaged over leaving each of the people out.

    Parameters
    ----------
    answer: the model's. given: what people answered, usually ten.

    Raises
    ------
    ValueError: if nobody answered.

    Examples
    --------
    >>> vqa_accuracy("Surfing", ["surfing"] * 2 + ["swim"] * 8)
    0.6
    """
    if not given:
        raise ValueError("given is empty; expected what people answered to the question.")
    return agreement(normalise_answer(answer), [normalise_answer(one) for one in given])


def agreement(answer: str, given: Sequence[str]) -> float:
    """`vqa_accuracy` of texts that are normalised already."""
    total = sum(one == answer for one in given)
    return round(sum(min(1.0, (total - (one == answer)) / 3) for one in given) / len(given), 10)

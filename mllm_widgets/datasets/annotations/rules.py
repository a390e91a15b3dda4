"""Constraints by rules: what English questions about pictures mostly say in the same ways.

No grammar is known here, only a list of words that no noun phrase goes on with.  A suggestion that is wrong costs whoever marks a look and a key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from mllm_widgets.errors import DatasetError
from mllm_widgets.vlm.spans import words_of

from .suggestion import Suggestion, suggestion

MOST = 4  # words of a phrase
SINGULAR, PLURAL = ("this", "that"), ("these", "those")
PERSONS = ("he", "she", "they", "him", "her", "them", "it")
ARTICLES = ("the", "a", "an")
# words that no noun phrase goes on with
_STOPS = """
a an the this that these those who whom whose which what when where why how there here not no also most more very is are was were
be been being am do does did done has have had can could may might must shall should will would of in on at by for from to with
without into onto over under above below between behind beside near about against during before after since until through across
around along like as than and or but nor if because while so such only just i you we he she it they me him her us them my your
our his its their one's name called used made known located considered shown seen pictured depicted displayed worn belong belongs
come comes look looks seem seems play plays wear wears mean means built sold taken found written born drawn eaten spoken grown
driven kept held first ever often now originate originates grow grows live lives work works need needs help helps happen happens
originally usually typically
win won eat drink like want make take get give go say see think know use find tell ask feel try hold carry stand sit
"""
STOPS = frozenset(_STOPS.split())
# heads of "the ... of this": they ask, and point at nothing
_ASKING = """
name names type types kind kinds sort brand breed species color colour colors colours capital number amount purpose reason title
style genre nickname nicknames main most first last best same other original official population language country city year date
time word term meaning function use job role maker make model age size shape price cost weight height length relationship answer
following
"""
ASKING = frozenset(_ASKING.split())
_SHOWN = re.compile(
    r"(?:in|of) (?:the|this) (?:picture|image|photo|photograph|scene|background|foreground)\b", re.IGNORECASE
)
_QUOTES = re.compile(r"[\"“„«]([^\"”“»]+)[\"”“»]|(?<!\w)['‘]([^'’]+)['’](?!\w)")
_YEAR = re.compile(r"(?:1[0-9]|20)\d\d(?:s|'s)?")


def suggest_by_rules(text: str) -> Suggestion:
    """The constraints of a question in English, as far as rules tell.

    Visual, the first of: "this / that / these / those ..." with its noun; "a chair like this"; what is said to be "in the picture"; "the ..." that asks for nothing
    itself; a pronoun.  Text: years, what stands in quotation marks, and names (words with a capital letter that do not begin the sentence).

    Raises
    ------
    DatasetError: for what is no text.

    Examples
    --------
    >>> found = suggest_by_rules("Name a movie directed by this director in 2006?")
    >>> found.marks, found.notes
    (Marks(visual=(5, 6), text=(8,), skipped=''), ('“this director” points at something', '“2006” is a year'))
    """
    if not isinstance(text, str):
        raise DatasetError(f"text={text!r} is no question; expected a text such as 'Which city is this?'.")
    words = words_of(text)
    low = [word["text"].casefold() for word in words]
    breaks = [_break(text[a["end"] : b["start"]]) for a, b in pairwise(words)] + [True]
    quoted = [
        i
        for match in _QUOTES.finditer(text)
        for i, word in enumerate(words)
        if match.start() < word["start"] and word["end"] < match.end()
    ]
    visual, why = _visual(text, words, low, breaks, frozenset(quoted))
    notes = [f"“{_said(text, words, visual)}” {why}"] if visual else ["no rule finds words that point at the picture"]
    narrowing: list[int] = []
    for found, what in ((_years(words), "is a year"), (quoted, "is quoted"), (_names(text, words), "is a name")):
        new = [i for i in found if i not in visual and i not in narrowing]
        if new:
            notes.append(f"“{' '.join(words[i]['text'] for i in new)}” {what}")
            narrowing += new
    return suggestion(visual, narrowing, notes)


def _visual(
    text: str, words: Sequence[dict], low: Sequence[str], breaks: Sequence[bool], quoted: frozenset[int]
) -> tuple[list[int], str]:
    """The words that point at the picture, and what they are."""
    for at, word in enumerate(low):
        if at in quoted or word not in (*SINGULAR, *PLURAL):
            continue
        if word == "that" and at and not breaks[at - 1] and low[at - 1] not in STOPS and not breaks[at]:
            continue  # "the game that is played"
        if word == "that" and at and breaks[at - 1] and low[at - 1] not in STOPS:
            continue  # "this genre, that began in"
        if _SHOWN.match(text, words[at - 1]["start"] if at else len(text)):
            continue
        noun = _noun(low, breaks, at)
        if not noun and at > 1 and low[at - 1] == "like" and low[at - 2] not in STOPS:
            return [at - 2, at - 1, at], "is like what the picture shows"
        return [at, *noun], "points at something"
    shown = _SHOWN.search(text)
    if shown is not None:
        before = [i for i, word in enumerate(words) if word["end"] <= shown.start()]
        article = next((i for i in reversed(before) if low[i] in ARTICLES), None)
        found = [] if article is None else [article, *_noun(low, breaks, article)]
        if len(found) > 1 and found[-1] == before[-1]:
            said = [i for i, word in enumerate(words) if shown.start() <= word["start"] < shown.end()]
            return [*found, *said], "is said to be in the picture"
    for at, word in enumerate(low):
        if word == "the" and at not in quoted and not (shown and shown.start() < words[at]["start"] < shown.end()):
            noun = _noun(low, breaks, at)
            if noun and low[noun[0]] not in ASKING and not any(words[i]["text"][0].isupper() for i in noun):
                return [at, *noun], "is what the question is about"
    for at, word in enumerate(low):
        if word in PERSONS:
            return [at], "stands for something"
    return [], ""


def _noun(low: Sequence[str], breaks: Sequence[bool], at: int) -> list[int]:
    """The words of the noun phrase after a determiner; none where it stands alone."""
    found: list[int] = []
    plural = low[at] in PLURAL
    place = at
    while len(found) < MOST - 1 and not breaks[place] and low[place + 1] not in STOPS:
        place += 1
        word = low[place]
        if found and (word.endswith(("ed", "ly", "ing")) or (_is_s_form(word) and low[at] in SINGULAR)):
            break  # a verb, or a word about one
        found.append(place)
        if (plural and _is_s_form(word)) or word.endswith(("'s", "’s")):
            break
    return found


def _is_s_form(word: str) -> bool:
    """A plural, or a verb after one person."""
    return word.endswith("s") and not word.endswith(("ss", "us", "is", "'s", "’s")) and len(word) > 3


def _years(words: Sequence[dict]) -> list[int]:
    return [i for i, word in enumerate(words) if _YEAR.fullmatch(word["text"])]


def _names(text: str, words: Sequence[dict]) -> list[int]:
    """Words with a capital letter, but those that begin a sentence, and "I"."""
    begins = [
        not i or any(mark in text[words[i - 1]["end"] : word["start"]] for mark in ".!?:")
        for i, word in enumerate(words)
    ]
    return [
        i
        for i, word in enumerate(words)
        if word["text"][0].isupper() and not begins[i] and word["text"] not in ("I", "I'm", "I'd", "I've")
    ]


def _break(between: str) -> bool:
    """Does what stands between two words end a phrase?"""
    return any(not character.isspace() and character not in "\"“”'‘’" for character in between)


def _said(text: str, words: Sequence[dict], found: Sequence[int]) -> str:
    return text[words[found[0]]["start"] : words[found[-1]]["end"]]

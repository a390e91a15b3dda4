"""Words for a reader: token texts with their white space visible, and the names of sub-blocks and windows."""

from __future__ import annotations

import re
import unicodedata

MODULE_NAMES = {"mlp": "MLP", "self_attn": "Self-attention", "residual": "Residual stream"}
USUAL_MODULES = ("mlp", "self_attn")  # what a map has unless its user asks for more
MODULE_COLUMNS = "layer (0-based)"
EFFECT = "indirect effect"
MEASURES = {"probability": "P", "log-probability": "log P", "logit-difference": "logit difference"}

BEFORE_CONSTRAINT = "before the constraint: no effect is possible"
BEFORE_CORRUPTION = "before the corrupted tokens: no effect is possible"

_MARKS = {" ": "·", "\u00a0": "·", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
MOST_PILED = 2  # combining marks on one character
_HIDDEN = re.compile("^[ \u00a0]+|[ \u00a0]+$|[\n\t\r]")


def visible(text: str) -> str:
    r"""A token's text with marks for its white space, which would otherwise look like nothing.

    Only the spaces at the ends are marked: those inside a folded label ("[image: 64 tokens]") read better as they are.  Characters that a
    screen shows as nothing, or that turn the text around, are written as their codes, and so are combining marks piled on others, which would run into the
    rows above and below, or on nothing.

    Examples
    --------
    >>> visible(" building"), visible(" "), visible(""), visible("\u200b")
    ('·building', '·', '(empty)', '\\u200b')
    """
    marked = _HIDDEN.sub(lambda found: "".join(_MARKS[c] for c in found[0]), text)
    shown, pile = [], MOST_PILED  # a mark that begins a token has nothing to stand on
    for character in marked:
        pile = pile + 1 if unicodedata.category(character) in ("Mn", "Me") else MOST_PILED if character == "·" else 0
        plain = pile <= MOST_PILED and (character.isprintable() or character in _MARKS)
        shown.append(character if plain else _code(character))
    return "".join(shown) or "(empty)"


def one_line(text: str) -> str:
    r"""Any text as a picture can hold it: white space as spaces, what cannot be shown as its code.

    Examples
    --------
    >>> one_line("a\n b\x1b[0m")
    'a  b\\x1b[0m'
    """
    return "".join(
        " " if character in "\n\t\r" or unicodedata.category(character).startswith("Z")
        else character if character.isprintable()
        else _code(character)
        for character in text.replace("\r\n", "\n")
    )  # fmt: skip


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode()


def window_name(window: int) -> str:
    """How a window is written: which layers are restored around the centre `l`.

    Examples
    --------
    >>> window_name(1), window_name(3), window_name(4)
    ('1 layer: l', '3 layers: l−1 … l+1', '4 layers: l−2 … l+1')
    """
    if window == 1:
        return "1 layer: l"
    before = window // 2
    after = window - before - 1
    return f"{window} layers: l−{before} … l" + (f"+{after}" if after else "")


def measured(measure: str, answer: str) -> str:
    """How a score of an answer is written.

    Examples
    --------
    >>> measured("P", "Paris"), measured("logit difference", "Paris")
    ('P(Paris)', 'logit difference')
    """
    return f"{measure}({answer})" if measure.endswith("P") else measure

"""Words for a reader: token texts with their white space visible, and the names of sub-blocks and windows."""

from __future__ import annotations

import re

MODULE_NAMES = {"mlp": "MLP", "self_attn": "Self-attention", "residual": "Residual stream"}
USUAL_MODULES = ("mlp", "self_attn")  # what a map has unless its user asks for more
MODULE_COLUMNS = "layer (0-based)"
EFFECT = "indirect effect"
MEASURES = {"probability": "P", "log-probability": "log P", "logit-difference": "logit difference"}

BEFORE_CONSTRAINT = "before the constraint: no effect is possible"
BEFORE_CORRUPTION = "before the corrupted tokens: no effect is possible"

_MARKS = {" ": "·", "\u00a0": "·", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_HIDDEN = re.compile("^[ \u00a0]+|[ \u00a0]+$|[\n\t\r]")


def visible(text: str) -> str:
    r"""A token's text with marks for its white space, which would otherwise look like nothing.

    Only the spaces at the ends are marked: those inside a folded label ("[image: 64 tokens]") read better as they are.  Characters that a
    screen shows as nothing, or that turn the text around, are written as their codes.

    Examples
    --------
    >>> visible(" building"), visible(" "), visible(""), visible("\u200b")
    ('·building', '·', '(empty)', '\\u200b')
    """
    marked = _HIDDEN.sub(lambda found: "".join(_MARKS[c] for c in found[0]), text)
    shown = (c if c.isprintable() or c in _MARKS else c.encode("unicode_escape").decode() for c in marked)
    return "".join(shown) or "(empty)"


def window_name(window: int) -> str:
    """How a window is written: which layers are restored around the centre `l`.

    Examples
    --------
    >>> window_name(1), window_name(3), window_name(4)
    ('1 layer: l', '3 layers: l-1 … l+1', '4 layers: l-2 … l+1')
    """
    if window == 1:
        return "1 layer: l"
    before = window // 2
    after = window - before - 1
    return f"{window} layers: l-{before} … l" + (f"+{after}" if after else "")


def measured(measure: str, answer: str) -> str:
    """How a score of an answer is written.

    Examples
    --------
    >>> measured("P", "Paris"), measured("logit difference", "Paris")
    ('P(Paris)', 'logit difference')
    """
    return f"{measure}({answer})" if measure.endswith("P") else measure

"""Formulas that need no MathJax: LaTeX becomes MathML, which browsers draw by themselves; what cannot be translated stands as it was written."""

from __future__ import annotations

import re
from html import escape
from xml.etree import ElementTree

from latex2mathml.converter import convert

_AROUND = re.compile(r"^\s*(\$\$|\$|\\\[|\\\()(.*?)(\$\$|\$|\\\]|\\\))\s*$", re.DOTALL)
_PLAIN = re.compile(r"\\(begin|end)\{(equation|displaymath)\*?\}")
_ALIGNED = re.compile(r"\\(begin|end)\{(aligned|split|eqnarray\*?)\}")
_NAMELESS = re.compile(r"&(?!#?\w+;)")


def typeset(latex: str, *, display: bool = False) -> str:
    """A formula as HTML: MathML, or its source in a `code` element.

    Parameters
    ----------
    latex: with or without dollars around it.
    display: does it stand on a line of its own?
    """
    around = _AROUND.match(latex)
    source = around[2] if around else latex
    display = display or bool(around and around[1] in ("$$", r"\["))
    known = _ALIGNED.sub(r"\\\1{align*}", _PLAIN.sub("", source)).strip()
    try:
        mathml = convert(known, display="block" if display else "inline")
    except Exception:  # noqa: BLE001 - whatever the translator stumbles over, the reader gets the source
        mathml = ""
    if _sound(mathml):
        return mathml
    tag = "div" if display else "span"
    return f'<{tag} class="mw-formula"><code>{escape(latex.strip())}</code></{tag}>'


def _sound(mathml: str) -> bool:
    """Was all of it understood?  Otherwise commands, alignment marks or unfinished fractions are left in it."""
    try:
        root = ElementTree.fromstring(_NAMELESS.sub("&amp;", mathml))  # noqa: S314 - just made here
    except ElementTree.ParseError:
        return False
    parts = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2, "munderover": 3, "mroot": 2}
    for node in root.iter():
        tag = node.tag.rsplit("}", 1)[-1]
        if len(node) != parts.get(tag, len(node)) or re.search(r"\\|^&$", node.text or ""):
            return False
    return True

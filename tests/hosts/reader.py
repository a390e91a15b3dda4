"""A notebook drawn by the rules of a host that cannot be run here: of each output the first type in the host's order that it has something to draw of.

Not the hosts themselves.  Each has a module of its own that says where its rules are written, and which version of them this is.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from typing import Any

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
Draw = Callable[
    [str, Any, dict[str, Any]], "str | None"
]  # a type, its data and the output -> HTML, or None: not drawn here

PAGE = """\
<!doctype html><meta charset="utf-8"><style>body {{ font: 14px sans-serif; margin: 16px; max-width: 860px }} img {{ max-width: 100% }}</style>
{}"""


def text_of(data: Any) -> str:
    """What stands in a bundle: a string, or lines of it."""
    return "".join(data) if isinstance(data, list) else str(data)


def plain(mime: str, data: Any) -> str | None:
    """What all hosts draw alike: pictures of pixels, and text."""
    if mime in ("image/png", "image/jpeg"):
        return f'<img src="data:{mime};base64,{text_of(data).strip()}">'
    return f"<pre>{html.escape(text_of(data))}</pre>" if mime == "text/plain" else None


def page(cells: Iterable[Any], draw: Callable[[dict[str, Any]], str]) -> str:
    """A page of the cells' outputs, each drawn by itself."""
    sections = []
    for cell in cells:
        outputs = "".join(f'<div class="output">{draw(output)}</div>' for output in cell.get("outputs", []))
        sections.append(f'<section class="cell">{outputs}</section>')
    return PAGE.format("\n".join(sections))


def first(output: dict[str, Any], order: Iterable[str], draw: Draw) -> str:
    """What a host makes of one output; "" where it draws nothing of it."""
    data = output.get("data") or {"text/plain": output.get("text", "")}
    found = (draw(mime, data[mime], output) for mime in order if mime in data)
    return next((one for one in found if one is not None), "")

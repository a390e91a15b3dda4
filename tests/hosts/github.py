"""github.com's view of a notebook, emulated: nbconvert's HTML, sanitised.

GitHub's error messages name nbconvert 7.16.6.  Its rule, which is nbconvert's own and not emulated here: a widget view comes before everything else, where the notebook
holds the state of that model; without the state the next type is taken; `metadata.widgets` without a `state` is an error, and nothing of the notebook shows.  What nbconvert
then writes for a widget is a script.  What is emulated is what sanitising leaves of the page, after github/markup's README: no scripts, frames, inline styles, classes or
ids (classes stay here, so that a test finds the outputs), and, as notebooks show, neither SVG nor canvas.
"""

from __future__ import annotations

import re
from typing import Any

import bleach
import reader
from nbconvert import HTMLExporter

TAGS = re.findall(
    r"\w+",
    """a b blockquote br code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ol p pre q s samp section span strong
    sub summary sup table tbody td tfoot th thead tr tt ul var""",
)
ATTRIBUTES = {
    "*": ["class", "title", "align", "dir"],
    "a": ["href"],
    "img": ["src", "alt", "width", "height"],
}


def page(notebook: Any) -> str:
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    scripts = ("script", "style", "iframe", "svg", "math")  # go with what is in them; of other tags the words stay
    cleaner = bleach.Cleaner(
        tags={*TAGS, *scripts}, attributes=ATTRIBUTES, protocols={"http", "https", "data"}, strip=True
    )
    return reader.PAGE.format(_without(cleaner.clean(body), scripts))


def _without(body: str, tags: tuple[str, ...]) -> str:
    for tag in tags:
        body = re.sub(rf"<{tag}\b.*?</{tag}>", "", body, flags=re.DOTALL | re.IGNORECASE)
    return body

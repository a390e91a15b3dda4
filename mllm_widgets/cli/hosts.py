"""Where notebooks are read, and what becomes of a widget there: by whether its state was saved, and whether it has a picture.

tests/hosts opens a notebook on each of them and finds this; GitHub, VS Code and MyST by their own rules.
"""

from __future__ import annotations

from typing import NamedTuple

LIVE, PICTURE, LINE, NOTHING = "live", "picture", "line of text", "blank"
ORDER = (LIVE, PICTURE, LINE, NOTHING)


class Host(NamedTuple):
    """What is seen of a widget: with its state saved, and without; where it has a picture, the better of the two is seen."""

    name: str
    state: str
    none: str


HOSTS = (
    Host("JupyterLab, Notebook 7: running", LIVE, LIVE),
    Host("  opened again, trusted", LIVE, LINE),
    Host("  opened again, not trusted", LINE, LINE),
    Host("JupyterLite, no kernel", LINE, LINE),
    Host("VS Code: opened again", LINE, LINE),
    Host("GitHub", NOTHING, LINE),
    Host("nbconvert page, online", LIVE, LINE),
    Host("nbconvert page, offline", NOTHING, LINE),
    Host("Jupyter Book 2, MyST", LINE, LINE),
    Host("marimo: converted and run", LIVE, LIVE),
    Host("mllm-widgets export: a page", LIVE, LINE),
)


def seen(host: Host, *, state: bool, picture: bool) -> str:
    """What a reader sees of one widget on a host."""
    found = host.state if state else host.none
    return PICTURE if picture and ORDER.index(found) > ORDER.index(PICTURE) else found

"""JupyterLab and Notebook 7 as a reader meets them: a stored notebook opened, trusted or not, and not run."""

from __future__ import annotations

from pathlib import Path

import nbformat
import seen
import story
from lab import JupyterServer, Lab
from nbformat.sign import NotebookNotary
from PIL import Image
from playwright.sync_api import Locator

# What ipywidgets says of a widget whose state is neither in the kernel nor in the notebook.  It stands under our picture; no output of ours can change it.
NOT_FOUND = "Error displaying widget: model not found"
NOT_RUN = "(live view: run the notebook)"


def trust(server: JupyterServer, notebook: Path, trusted: bool) -> None:
    """Sign the notebook as this server's user, or take the signature back.  A signature is of the contents, wherever they lie."""
    notary = NotebookNotary(data_dir=str(server.home / "data"))
    (notary.sign if trusted else notary.unsign)(nbformat.read(notebook, 4))


def area(lab: Lab, cell: int) -> Locator:
    """Where a cell's outputs are drawn, brought into view: what is out of it may not be drawn at all."""
    found = lab.page.locator(".jp-Notebook .jp-Cell").nth(cell)
    found.scroll_into_view_if_needed()
    return found.locator(".jp-Cell-outputArea")


def reopened(lab: Lab, stored: dict[bool, Path], *, state: bool, trusted: bool) -> dict[str, Image.Image]:
    """Open the notebook, look at every widget, and return pictures of them."""
    name = f"{type(lab).__name__}-{'trusted' if trusted else 'not-trusted'}-{stored[state].name}"
    trust(lab.server, stored[state], trusted)
    lab.page.set_viewport_size({"width": 900, "height": 2400})
    lab.open_notebook(stored[state], name)
    shots = {}
    for cell, widget in enumerate(story.CELLS, story.FIRST):
        output = area(lab, cell)
        if seen.should_live(f"opened again, {'trusted' if trusted else 'not trusted'}", state=state):
            seen.is_live(output, widget)
        else:
            seen.is_pictured(output, widget, NOT_FOUND if trusted else NOT_RUN)
        shots[widget] = seen.shot(output)
    assert lab.problems() == []
    return shots


def album(*, state: bool, trusted: bool) -> str:
    """What the picture of a state is called: what is not trusted looks the same with and without the widgets' state."""
    return "not-trusted" if not trusted else "trusted" if state else "trusted-no-state"

"""Hosts that cannot be run here, by their rules: VS Code, github.com, and a MyST site.  Their pages are shown without scripts and without a network."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import cdn
import github
import jupyter
import myst
import nbformat
import pytest
import seen
import story
import vscode
from playwright.sync_api import Page

STATES = pytest.mark.parametrize("state", [True, False], ids=["state", "no-state"])


@pytest.fixture
def plain_page(browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 900, "height": 1000}, java_script_enabled=False)
    cdn.connect(context, None)
    yield context.new_page()
    context.close()


def look(page: Page, html: str, folder: Path, line: str, cells: str, first: int, album: Path) -> None:
    """Every widget is a picture with one `line` below; and keep a picture of that."""
    (folder / "page.html").write_text(html, encoding="utf-8")
    page.goto((folder / "page.html").as_uri())
    shots = {}
    for cell, widget in enumerate(story.CELLS, first):
        output = page.locator(cells).nth(cell)
        seen.is_pictured(output, widget, line)
        shots[widget] = seen.shot(output)
    seen.album(album, shots)


@STATES
def test_vscode(plain_page: Page, stored: dict[bool, Path], pictures: Path, tmp_path: Path, state: bool) -> None:
    assert not seen.should_live("VS Code: opened again", state=state)
    html = vscode.page(nbformat.read(stored[state], 4))
    album = pictures / "vscode.png"
    look(plain_page, html, tmp_path, jupyter.NOT_RUN, ".cell", story.FIRST, album)


@STATES
def test_github(plain_page: Page, stored: dict[bool, Path], pictures: Path, tmp_path: Path, state: bool) -> None:
    assert not seen.should_live("GitHub", state=state)
    html = github.page(nbformat.read(stored[state], 4))
    assert "<script" not in html
    # with the state the widget's own place is empty: a script that was stripped
    line = "" if state else jupyter.NOT_RUN
    album = pictures / f"github{'' if state else '-no-state'}.png"
    look(plain_page, html, tmp_path, line, ".output_wrapper", 0, album)


def test_github_refuses_widgets_without_their_state(stored: dict[bool, Path]) -> None:
    broken = copy.deepcopy(nbformat.read(stored[True], 4))
    broken.metadata.widgets = {story.WIDGETS: {"version_major": 2}}  # as Colab stores it
    with pytest.raises(KeyError, match="state"):
        github.page(broken)


@STATES
def test_myst(
    plain_page: Page, stored: dict[bool, Path], beside: Path, pictures: Path, tmp_path: Path, state: bool
) -> None:
    assert not seen.should_live("Jupyter Book 2, MyST", state=state)
    html = myst.build(beside / "npm/mystmd/dist/myst.cjs", stored[state], tmp_path)
    line = myst.PLACEHOLDER + jupyter.NOT_RUN
    album = pictures / "myst.png"
    look(plain_page, html, tmp_path, line, ".cell", story.FIRST - 1, album)

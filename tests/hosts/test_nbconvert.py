"""`jupyter nbconvert --to html`: the page with and without a network, of a notebook with and without the state of its widgets."""

from __future__ import annotations

from pathlib import Path

import cdn
import jupyter
import nbconvert
import pytest
import seen
import story


@pytest.fixture(scope="module")
def pages(stored: dict[bool, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    folder = tmp_path_factory.mktemp("nbconvert")
    found = {}
    for state, notebook in stored.items():
        html, _ = nbconvert.HTMLExporter().from_filename(str(notebook))
        found[state] = folder / f"{notebook.stem}.html"
        found[state].write_text(html, encoding="utf-8")
    return found


@pytest.mark.parametrize("state", [True, False], ids=["state", "no-state"])
@pytest.mark.parametrize("online", [True, False], ids=["online", "offline"])
def test_exported(browser, pages: dict[bool, Path], pictures: Path, beside: Path, online: bool, state: bool) -> None:
    context = browser.new_context(viewport={"width": 900, "height": 1000})
    asked = cdn.connect(context, beside / "npm" if online else None)
    page = context.new_page()
    page.goto(pages[state].as_uri())
    shots = {}
    for cell, widget in enumerate(story.CELLS, story.FIRST):
        output = page.locator(".jp-Cell").nth(cell).locator(".jp-Cell-outputArea")
        if seen.should_live(f"nbconvert page, {'online' if online else 'offline'}", state=state):
            seen.is_live(output, widget)
        else:
            # the state offline: the place of the live view stays empty, under the picture
            seen.is_pictured(output, widget, "" if state else jupyter.NOT_RUN)
        shots[widget] = seen.shot(output)
    assert any("html-manager" in url for url in asked) == state
    context.close()
    name = "no-state" if not state else "online" if online else "offline"
    seen.album(pictures / f"nbconvert-{name}.png", shots)

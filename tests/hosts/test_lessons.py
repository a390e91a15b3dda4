"""Our own notebooks, as they are stored, before somebody who has only opened them: in JupyterLab whose kernel has run nothing, as a page with no network, and on GitHub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cdn
import github
import jupyter
import nbformat
import pytest
import reader
import seen
from lab import Lab
from playwright.sync_api import expect

from mllm_widgets.cli.export import export

LESSONS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def shown(notebook: Any) -> list[int]:
    """The cells that show a widget."""
    return [
        place
        for place, cell in enumerate(notebook.cells)
        if any(reader.WIDGET_VIEW in output.get("data", {}) for output in cell.get("outputs", ()))
    ]


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def lesson(request) -> Path:
    return request.param


def test_reopened_without_its_kernel(lab: Lab, lesson: Path, screenshots: Path) -> None:
    jupyter.trust(lab.server, lesson, True)
    lab.page.set_viewport_size({"width": 1200, "height": 1400})
    lab.open_notebook(lesson, f"reopened-{lesson.name}")
    cells = shown(nbformat.read(lesson, 4))
    assert cells
    for cell in cells:
        area = jupyter.area(lab, cell)
        expect(area.locator(".mw").first).to_be_visible(timeout=seen.WAIT)
        expect(area).not_to_contain_text(jupyter.NOT_FOUND)
        for picture in area.locator("img[src^='data:image/png']").all():
            if picture.evaluate("image => !image.closest('.mw')"):
                expect(picture).to_be_hidden()
        seen.says_nothing_wrong(area)
        seen.shot(area)
        lab.screenshot(f"lesson-{lesson.stem}-reopened-{cell}")


def test_as_a_page_with_no_network(browser, lesson: Path, tmp_path: Path, screenshots: Path) -> None:
    export(lesson, tmp_path / "page.html")
    context = browser.new_context(viewport={"width": 1100, "height": 1000})
    asked: list[str] = []
    context.route("http*://**", lambda route: (asked.append(route.request.url), route.abort()))
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(error.message))
    page.goto((tmp_path / "page.html").as_uri())
    notebook = nbformat.read(lesson, 4)
    explorers = sum("Explorer(" in cell.source for cell in notebook.cells if cell.cell_type == "code")
    # an Explorer is five widgets, and six once it edits
    expect(page.locator(".mw")).to_have_count(len(shown(notebook)) + 4 * explorers, timeout=seen.WAIT)
    page.screenshot(path=screenshots / f"lesson-{lesson.stem}-offline.png", full_page=True)
    assert asked == []
    assert errors == []
    context.close()


def test_on_github(browser, lesson: Path, tmp_path: Path, screenshots: Path) -> None:
    """By its rules: where the state is stored the widget's own slot is empty, and its picture stands above it."""
    notebook = nbformat.read(lesson, 4)
    (tmp_path / "page.html").write_text(github.page(notebook), encoding="utf-8")
    context = browser.new_context(viewport={"width": 900, "height": 1000}, java_script_enabled=False)
    cdn.connect(context, None)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    pictures = page.locator("img[src^='data:image/png']")
    assert pictures.count() >= len(shown(notebook))
    for cell in shown(notebook):
        stored = [
            output.data["image/png"] for output in notebook.cells[cell].outputs if "image/png" in output.get("data", {})
        ]
        assert len(stored) == 1
    page.screenshot(path=screenshots / f"lesson-{lesson.stem}-github.png", full_page=True)
    context.close()

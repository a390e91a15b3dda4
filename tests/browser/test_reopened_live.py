"""A frozen Explorer, saved with its state and opened again in a real JupyterLab whose kernel knows nothing of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbclient
import nbformat
import nbformat.v4 as v4
import pytest
from lab import Lab
from nbformat.sign import NotebookNotary
from playwright.sync_api import Locator, expect

RUN = "Run the notebook to compute this."
CELLS = (
    "import mllm_widgets as mw\nvlm, question = mw.load(), mw.datasets.demo_question('Eiffel Tower', 'city')",
    """\
explorer = mw.Explorer(vlm, question)
explorer.wait(60)
explorer.turn_to("edit")
editor = explorer.edit_panel
editor.make("Rome")
editor.wait(60)
editor.revert()
explorer.turn_to("look")
explorer.freeze(lams=17)
explorer""",
)


@pytest.fixture(scope="module")
def saved(server) -> Path:
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    path = server.folder / "reopened.ipynb"
    path.write_text(nbformat.writes(notebook))
    # the reader ran it before, or says that it may run: otherwise JupyterLab draws no widget at all
    NotebookNotary(data_dir=str(server.home / "data")).sign(nbformat.read(path, 4))
    return path


@pytest.fixture
def explorer(lab: Lab, saved: Path) -> Locator:
    lab.page.set_viewport_size({"width": 1200, "height": 1900})
    lab.open_notebook(saved)
    box = lab.page.locator(".mw-explorer")
    box.locator(".mw-lens").wait_for(timeout=30_000)
    return box


def test_its_state_in_the_notebook_is_under_the_bar(saved: Path) -> None:
    state = json.loads(saved.read_text())["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]
    size = len(json.dumps(state, ensure_ascii=False).encode())
    assert size < 2_000_000


def test_all_it_holds_works_and_what_it_cannot_do_is_grey(lab: Lab, explorer: Locator) -> None:
    heatmap = explorer.locator(".mw-heatmap")
    for window in ("5", "8", "2"):
        heatmap.get_by_role("slider", name="window").fill(window)
        expect(heatmap.locator(".mw-map")).to_have_attribute("data-drawn", re.compile(f"^window {window}: .*complete$"))
    expect(heatmap.locator(".mw-status")).not_to_contain_text("kernel")
    select = explorer.get_by_role("combobox", name="target")
    select.select_option(index=3)
    expect(explorer.locator(".mw-lens header")).to_contain_text(f"token {select.input_value()}")
    for name in ("Ask", "Undo", "Trace patches"):
        expect(explorer.get_by_role("button", name=name).first).to_be_disabled()
    expect(explorer.locator(".mw-asking .mw-away")).to_have_text(RUN)
    lab.screenshot("reopened-look", explorer)
    explorer.get_by_role("radio", name="Edit", exact=True).check()
    editor = explorer.locator(".mw-editing")
    expect(editor).to_be_visible()
    expect(heatmap).to_be_hidden()
    slider = editor.get_by_role("slider", name="lambda")
    slider.fill("0")
    expect(editor.locator(".mw-says b").nth(1)).to_have_text("Rome")
    slider.fill("16")
    expect(editor.locator(".mw-says b").nth(1)).to_have_text("Paris")
    expect(editor.get_by_role("button", name=re.compile("^Try"))).to_be_disabled()
    lab.screenshot("reopened-edit", explorer)


def test_a_kernel_that_ran_the_notebook_is_asked_again(lab: Lab, explorer: Locator) -> None:
    expect(explorer.get_by_role("button", name="Ask")).to_be_disabled()
    lab.run_all_cells()
    expect(lab.page.locator(".mw-explorer").get_by_role("button", name="Ask")).to_be_enabled(timeout=30_000)
    expect(lab.page.locator(".mw-asking .mw-away")).to_be_hidden()


def test_a_busy_kernel_is_not_a_dead_one(lab: Lab, explorer: Locator) -> None:
    lab.run_all_cells()
    ask = lab.page.locator(".mw-explorer").get_by_role("button", name="Ask")
    expect(ask).to_be_enabled(timeout=30_000)
    lab.page.evaluate(
        """() => { const s = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          window.busy = s.requestExecute({code: "import time; time.sleep(4)", store_history: false}).done; }"""
    )
    lab.page.wait_for_timeout(3000)
    expect(ask).to_be_enabled()
    expect(lab.page.locator(".mw-asking .mw-away")).to_be_hidden()
    lab.page.evaluate("() => window.busy")
    lab.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    expect(ask).to_be_disabled(timeout=30_000)

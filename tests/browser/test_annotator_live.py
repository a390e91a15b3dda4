"""The constraint annotator in a real JupyterLab: questions marked by keyboard alone, a file that grows with them, and a new kernel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, open_lab, write_notebook
from playwright.sync_api import Locator, expect

import mllm_widgets as mw

LONG = 60_000


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kept") / "constraints.csv"


@pytest.fixture(scope="module")
def lab(server, browser, screenshots: Path, path: Path, tmp_path_factory) -> Iterator[Lab]:
    setup = f"""\
import mllm_widgets as mw
annotator = mw.ConstraintAnnotator(mw.datasets.demo(6), {str(path)!r}, annotator="anna", suggest="rules")
annotator"""
    with open_lab(browser, server, screenshots) as lab:
        lab.page.set_viewport_size({"width": 1000, "height": 1000})
        lab.open_notebook(write_notebook(tmp_path_factory.mktemp("marks") / "marks.ipynb", setup))
        yield lab


@pytest.fixture
def box(lab: Lab) -> Locator:
    lab.run_all_cells()
    box = lab.page.locator(".mw-annotator")
    expect(box.locator(".mw-done")).to_contain_text(re.compile(r"\d of 6 done"), timeout=LONG)
    return box


def test_marked_by_keyboard_saved_at_once_and_gone_on_with(lab: Lab, box: Locator, path: Path) -> None:
    keys, done = lab.page.keyboard, box.locator(".mw-done")
    expect(lab.output(0).locator("img[src^='data:image/png']")).to_be_hidden()  # the picture behind the live view
    box.locator("[data-word]").first.focus()
    keys.press("a")
    expect(box.locator("[data-mark='visual']")).not_to_have_count(0)
    keys.press("Enter")
    expect(done).to_contain_text("1 of 6 done", timeout=LONG)
    kept = mw.datasets.load_annotations(path)
    assert [(one.id, one.suggestion, one.annotator) for one in kept.values()] == [("0", "accepted", "anna")]
    expect(box.locator("[data-word]").first).to_be_focused()
    keys.press("End")  # another word than is suggested, and the one before it
    keys.press("Shift+ArrowLeft")
    keys.press("v")
    keys.press("Home")
    keys.press("t")
    keys.press("Enter")
    expect(done).to_contain_text("2 of 6 done", timeout=LONG)
    second = mw.datasets.load_annotations(path)["1"]
    assert (second.marks.text, len(second.marks.visual), second.suggestion) == ((0,), 2, "changed")
    keys.press("x")
    keys.type("Too dark")
    keys.press("Enter")
    expect(done).to_contain_text("3 of 6 done", timeout=LONG)
    assert mw.datasets.load_annotations(path)["2"].marks.skipped == "Too dark"
    assert json.loads(lab.ask_kernel("import json; print(json.dumps(sorted(annotator.questions())))")) == ["0", "1"]
    lab.screenshot("annotator_live", box)
    assert not lab.problems()


def test_a_new_kernel_goes_on_where_it_was(lab: Lab, path: Path) -> None:
    lab.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    lab.wait_for_kernel()
    lab.run_all_cells()
    box = lab.page.locator(".mw-annotator")
    expect(box.locator(".mw-done b")).to_have_text("Question 4 of 6")
    expect(box.locator(".mw-done")).to_contain_text("3 of 6 done")
    box.get_by_role("button", name="Previous").click()
    expect(box.locator(".mw-state")).to_have_text("Cannot be marked: Too dark. Saved in constraints.csv.", timeout=LONG)
    box.locator("[data-word]").last.click()
    expect(box.locator(".mw-state")).to_have_text("Changed: Enter saves it.", timeout=LONG)
    box.get_by_role("button", name="Save and go on").click()
    expect(box.locator(".mw-done b")).to_have_text("Question 4 of 6", timeout=LONG)
    assert len(mw.datasets.load_annotations(path)["2"].marks.visual) == 1

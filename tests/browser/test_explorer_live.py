"""The Explorer in a real JupyterLab: pointer and keyboard from a cell to its patches, from patches to a cause, and other questions."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from host import AXE
from lab import Lab, open_lab, write_notebook
from PIL import Image
from playwright.sync_api import Locator, expect

SETUP = """\
import json
import numpy as np
import mllm_widgets as mw
vlm = mw.load()
question = mw.datasets.demo_question("Eiffel Tower", "city")
explorer = mw.Explorer(vlm, question)
explorer"""

QUESTION = "What is the city of this building?"


@pytest.fixture(scope="module")
def lab(server, browser, screenshots: Path, tmp_path_factory) -> Iterator[Lab]:
    """One page and one kernel for all tests here."""
    with open_lab(browser, server, screenshots) as lab:
        lab.page.set_viewport_size({"width": 1200, "height": 1900})
        lab.open_notebook(write_notebook(tmp_path_factory.mktemp("explorer") / "explorer.ipynb", SETUP))
        yield lab


@pytest.fixture
def explorer(lab: Lab) -> Locator:
    """A new Explorer, with all its views."""
    lab.page.mouse.move(1, 1)
    lab.run_all_cells()
    box = lab.page.locator(".mw-explorer")
    box.locator(".mw-lens").wait_for()
    settled(lab, QUESTION)
    return box


def settled(lab: Lab, question: str) -> None:
    """Wait until everything about a question is there, in the kernel and on the page."""
    words = lab.page.locator(".mw-explorer .mw-words")
    expect(words).to_have_text(question, timeout=20_000)
    says(lab, "explorer.wait(30) and explorer.grid is not None and explorer.heatmap is not None")
    expect(lab.page.locator(".mw-explorer .mw-patches")).to_have_count(1)
    expect(lab.page.locator(".mw-explorer .mw-heatmap")).to_have_count(1)


def says(lab: Lab, truth: str) -> None:
    """Wait until the kernel says that something is true: a message of the page may still be on its way."""
    for _ in range(80):
        if lab.ask_kernel(f"print(bool({truth}))").strip() == "True":
            return
        lab.page.wait_for_timeout(100)
    raise AssertionError(
        f"the kernel does not say: {truth}; {lab.ask_kernel('print(explorer.view, explorer.panel.error)')}"
    )


def cell(lab: Lab, explorer: Locator, token: int, layer: int) -> tuple[float, float]:
    """The middle of a cell of the map on the page."""
    rows = json.loads(lab.ask_kernel("print(json.dumps([row['position'] for row in explorer.heatmap.rows]))"))
    canvas = explorer.locator(".mw-heatmap .mw-cells")
    box, width = canvas.bounding_box(), float(canvas.get_attribute("data-cell-width") or 0)
    assert box is not None
    left = box["width"] - 1 - 8 * width
    return box["x"] + left + (layer + 0.5) * width, box["y"] + 2 + (rows.index(token) + 0.5) * 20


def patch(explorer: Locator, index: int) -> tuple[float, float]:
    """The middle of one of the 8 x 8 patches on the page."""
    box = explorer.locator(".mw-figure img").bounding_box()
    assert box is not None
    return box["x"] + (index % 8 + 0.5) * box["width"] / 8, box["y"] + (index // 8 + 0.5) * box["height"] / 8


def drawn(explorer: Locator) -> Locator:
    return explorer.locator(".mw-patches .mw-map")


def faults(lab: Lab) -> list[str]:
    """What axe-core finds wrong with the Explorer, the smaller matters left out."""
    lab.page.add_script_tag(path=AXE)
    found = lab.page.evaluate("async () => (await axe.run('.mw-explorer')).violations")
    return [f"{v['id']}: {v['help']}" for v in found if v["impact"] in ("serious", "critical")]


def test_a_click_on_a_cell_takes_patches_and_words_there(lab: Lab, explorer: Locator) -> None:
    lab.page.mouse.click(*cell(lab, explorer, 77, 6))
    expect(drawn(explorer)).to_have_attribute("data-drawn", re.compile("^layer 6:"))
    expect(explorer.locator(".mw-patches header")).to_contain_text("to “·ASSISTANT”")
    expect(explorer.locator(".mw-lens header")).to_contain_text("“·ASSISTANT” (token 77)")
    expect(explorer.locator(".mw-lens [aria-selected=true]")).to_contain_text("6")
    says(lab, "(explorer.view.token, explorer.view.layer) == (77, 6)")
    wanted = lab.ask_kernel(
        "flow = mw.attention_contributions(vlm, question, target=77)\n"
        "print(int(flow.patches(6).argmax()), float(flow.patches(6).max()))"
    ).split()
    lab.page.mouse.move(*patch(explorer, int(wanted[0])))
    tooltip = explorer.locator(".mw-patches [role=tooltip]")
    expect(tooltip).to_contain_text("rank1 of 64")
    found = re.search(r"contribution([\d.]+?)rank", tooltip.inner_text().replace("\n", ""))
    assert found is not None
    assert float(found[1]) == pytest.approx(float(wanted[1]), rel=0.02)


def test_it_follows_without_a_kernel_too(lab: Lab, explorer: Locator) -> None:
    lab.page.evaluate(
        """() => { const s = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          s.requestExecute({code: "import time; time.sleep(2.5)", store_history: false}); }"""
    )
    lab.page.mouse.click(*[0, 0])
    box = explorer.locator(".mw-lens [role=listbox]")
    box.focus()
    box.press("End")
    expect(drawn(explorer)).to_have_attribute("data-drawn", re.compile("^layer 7:"), timeout=1500)
    grid = explorer.locator(".mw-patches select")
    grid.select_option("74")
    expect(explorer.locator(".mw-lens header")).to_contain_text("(token 74)", timeout=1000)
    lab.wait_for_kernel()
    says(lab, "(explorer.view.token, explorer.view.layer) == (74, 7)")


def test_a_region_is_traced_and_blocked_and_the_rows_have_the_values_python_gives(lab: Lab, explorer: Locator) -> None:
    lab.page.mouse.move(*patch(explorer, 0))
    lab.page.mouse.down()
    lab.page.mouse.move(*patch(explorer, 63), steps=6)
    lab.page.mouse.up()
    explorer.get_by_role("button", name="Trace these 64 patches").click()
    row = explorer.locator(".mw-trials tbody tr").nth(0)
    expect(row.locator("td")).to_have_count(9, timeout=20_000)
    explorer.get_by_role("button", name="Block these 64 patches from “this building”").click()
    blocked = explorer.locator(".mw-trials tbody tr").nth(1)
    expect(blocked.locator("td")).to_have_count(9, timeout=20_000)
    truth = lab.ask_kernel(
        "sigma = explorer._session.findings.sigma\n"
        "group = list(np.flatnonzero(vlm.encode(question).visual))\n"
        "t = mw.causal_trace(vlm, question, corruption=mw.tracing.PixelNoise(sigma=sigma), modules=['residual'], groups=[group])\n"
        "s = mw.tracing.prepare_trace(vlm, question, corruption=mw.tracing.PixelNoise(sigma=sigma))\n"
        "start = float(mw.tracing.trace_inputs(s, [group])[0]) - s.corrupted\n"
        "k = mw.attention_knockout(vlm, question, 'visual', 'constraint')\n"
        "print(json.dumps([[*t.group_effect.values.ravel().tolist(), start], k.change.values.tolist()]))"
    )
    for line, wanted in zip((row, blocked), json.loads(truth), strict=True):
        values = line.locator("td").evaluate_all("cells => cells.map(cell => Number(cell.dataset.value))")
        assert values[: len(wanted)] == pytest.approx(wanted, abs=1e-5)
    lab.screenshot("explorer-trials", explorer)
    assert faults(lab) == []


def test_another_question_is_followed_by_all_views(lab: Lab, explorer: Locator) -> None:
    field = explorer.get_by_role("textbox", name="question")
    field.fill("What is the country of this building?")
    field.press("Enter")
    settled(lab, "What is the country of this building?")
    expect(explorer.locator(".mw-answers b")).to_have_text("France")
    expect(explorer.locator(".mw-heatmap .mw-answer b")).to_have_text("France")
    explorer.get_by_role("button", name="Undo").click()
    settled(lab, QUESTION)
    expect(explorer.locator(".mw-answers b")).to_have_text("Paris")
    explorer.get_by_role("button", name="Redo").click()
    settled(lab, "What is the country of this building?")


def test_words_are_marked_by_pointer_and_by_keyboard(lab: Lab, explorer: Locator) -> None:
    words = explorer.get_by_role("listbox", name=re.compile("words of the question"))
    first, last = (words.get_by_role("option", name=name, exact=True).bounding_box() for name in ("of", "building"))
    assert first is not None
    assert last is not None
    lab.page.mouse.move(first["x"] + 4, first["y"] + 8)
    lab.page.mouse.down()
    lab.page.mouse.move(last["x"] + 8, last["y"] + 8, steps=5)
    lab.page.mouse.up()
    says(lab, "explorer.wait(30) and explorer.question.constraint == 'of this building'")
    words.focus()
    words.press("Home")
    for _ in range(3):
        words.press("ArrowRight")
    words.press("Enter")
    says(lab, "explorer.wait(30) and explorer.question.constraint == 'city'")
    expect(words.locator("[aria-selected=true]")).to_have_text("city")
    words.press("Delete")
    says(lab, "explorer.wait(30) and explorer.question.constraint is None")
    expect(explorer.get_by_role("list", name="why a view is missing")).to_contain_text("mark those that point at")
    expect(explorer.locator(".mw-heatmap")).to_have_count(0)
    lab.screenshot("explorer-unmarked", explorer)


def test_another_picture_is_uploaded_and_what_is_none_is_said(lab: Lab, explorer: Locator) -> None:
    import mllm_widgets as mw

    data = io.BytesIO()
    mw.datasets.demo_question("Taj Mahal").image.save(data, "PNG")
    upload = explorer.locator("input[type=file]")
    upload.set_input_files({"name": "taj.png", "mimeType": "image/png", "buffer": data.getvalue()})
    expect(explorer.locator(".mw-answers b")).to_have_text("Agra", timeout=20_000)
    settled(lab, QUESTION)
    upload.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"})
    expect(explorer.get_by_role("alert").first).to_contain_text("'notes.txt' cannot be read as a picture")
    dropped = """(bytes) => {
      const files = new DataTransfer();
      files.items.add(new File([Uint8Array.from(bytes)], "notes.md"));
      const panel = document.querySelector(".mw-asking");
      panel.dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
    }"""
    lab.page.evaluate(dropped, list(b"words"))
    expect(explorer.get_by_role("alert").first).to_contain_text("'notes.md' cannot be read as a picture")
    data = io.BytesIO()
    Image.new("CMYK", (300, 500), (0, 120, 200, 0)).save(data, "JPEG")
    upload.set_input_files({"name": "cmyk.jpg", "mimeType": "image/jpeg", "buffer": data.getvalue()})
    says(lab, "explorer.wait(30) and explorer.question.image.size == (300, 500) and explorer.panel.error == ''")


WATCH = """() => {
  window.mixed = [];
  const look = () => {
    const box = document.querySelector(".mw-explorer");
    const words = box?.querySelector(".mw-words")?.textContent;
    for (const kind of ["heatmap", "patches"]) {
      const other = box?.querySelector(`.mw-${kind} .mw-question`)?.textContent;
      if (words && other !== undefined && other !== words) window.mixed.push([words, other]);
    }
    window.watching = requestAnimationFrame(look);
  };
  look();
}"""


def test_ten_quick_changes_leave_a_consistent_picture(lab: Lab, explorer: Locator) -> None:
    lab.page.evaluate(WATCH)
    field = explorer.get_by_role("textbox", name="question")
    for thing in ("country", "height", "name", "year", "city") * 2:
        field.fill(f"What is the {thing} of this building?")
        field.press("Enter")
    settled(lab, QUESTION)
    assert lab.page.evaluate("() => { cancelAnimationFrame(window.watching); return window.mixed; }") == []
    assert lab.ask_kernel("print(explorer.generation)").strip() == "11"
    expect(explorer.locator(".mw-answers b")).to_have_text("Paris")
    error = lab.ask_kernel(
        "from mllm_widgets.widgets import wire\n"
        "t = mw.causal_trace(vlm, explorer.question)\n"
        "print(float(np.abs(wire.array(explorer.heatmap.values) - t.restored.values).max()))"
    )
    assert float(error) <= 1e-6


def test_the_keyboard_goes_from_a_cell_to_a_cause(lab: Lab, explorer: Locator) -> None:
    heatmap = explorer.locator(".mw-heatmap [role=grid]")
    heatmap.focus()
    heatmap.press("ArrowRight")
    heatmap.press("ArrowRight")
    heatmap.press("Enter")
    expect(drawn(explorer)).to_have_attribute("data-drawn", re.compile("^layer 2:"))
    grid = explorer.locator(".mw-patches [role=grid]")
    grid.focus()
    grid.press("t")
    says(lab, "len(explorer.view.patches) == 5")
    button = explorer.get_by_role("button", name="Block these 5 patches")
    button.focus()
    button.press("Enter")
    expect(explorer.locator(".mw-trials tbody td")).to_have_count(9, timeout=20_000)
    undo = explorer.get_by_role("button", name="Undo")
    undo.focus()
    undo.press("Enter")
    expect(explorer.locator(".mw-trials tbody tr")).to_have_count(0)
    module = explorer.locator(".mw-heatmap").get_by_role("radiogroup")
    scale = explorer.get_by_role("radiogroup", name="scale of the values")
    for group, usual, other in ((module, "MLP", "Self-attention"), (scale, "Linear", "Log")):
        radio = group.get_by_role("radio", name=usual)
        radio.focus()
        radio.press("ArrowRight")
        expect(group.get_by_role("radio", name=other)).to_be_checked()
    says(lab, "(explorer.heatmap.module, explorer.grid.scale) == ('self_attn', 'log')")
    for group, usual in ((scale, "Linear"), (module, "MLP")):
        undo.press("Enter")
        expect(group.get_by_role("radio", name=usual)).to_be_checked()


def test_nobody_is_left_out_and_it_fits(lab: Lab, explorer: Locator) -> None:
    for width, dark in ((620, True), (1200, False)):
        lab.set_theme(dark)
        lab.page.set_viewport_size({"width": width, "height": 1900})
        lab.page.wait_for_timeout(300)
        assert faults(lab) == []
        assert explorer.evaluate("box => box.scrollWidth <= box.clientWidth + 1")
        lab.screenshot(f"explorer-{width}", explorer)


def test_the_picture_gives_way_to_the_live_views(lab: Lab, explorer: Locator) -> None:
    assert any("image/png" in output.get("data", {}) for output in lab.outputs(0))
    expect(lab.output(0).locator("img[src^='data:image/png']").first).to_be_hidden()


def test_a_silent_kernel_is_said(lab: Lab, explorer: Locator) -> None:
    lab.page.evaluate(
        """() => { const s = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          s.requestExecute({code: "import time; time.sleep(3.2)", store_history: false}); }"""
    )
    field = explorer.get_by_role("textbox", name="question")
    field.fill("What is the name of this building?")
    field.press("Enter")
    expect(explorer.get_by_role("alert").first).to_contain_text("No answer from the kernel", timeout=4000)
    settled(lab, "What is the name of this building?")
    expect(explorer.locator(".mw-asking .mw-failed")).to_be_empty()


def turns_without_a_kernel(lab: Lab, explorer: Locator, tab: Locator) -> None:
    """While the kernel is kept busy the page turns from tab to tab by itself."""
    flag = lab.server.folder / "tabs-were-turned"
    lab.page.evaluate(
        """(code) => { const s = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          window.busy = s.requestExecute({code, store_history: false}).done; }""",
        f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.05)",
    )
    for name, shown, hidden in (("Look", ".mw-heatmap", ".mw-editing"), ("Edit", ".mw-editing", ".mw-heatmap")):
        tab.get_by_role("radio", name=name).check()
        expect(explorer.locator(shown)).to_be_visible()
        expect(explorer.locator(hidden)).to_be_hidden()
    flag.touch()
    lab.page.evaluate("() => window.busy")


def test_the_answer_is_edited_on_a_tab_and_the_views_follow_the_edited_model(lab: Lab, explorer: Locator) -> None:
    tab = explorer.get_by_role("radiogroup", name="what is on show")
    tab.get_by_role("radio", name="Edit").check()
    editor = explorer.locator(".mw-editing")
    expect(explorer.locator(".mw-patches")).to_be_hidden()
    expect(explorer.locator(".mw-asking .mw-thumbnail")).to_be_visible()
    target = editor.get_by_role("textbox", name="target")
    expect(editor.locator(".mw-says b").first).to_have_text("Paris", timeout=20_000)
    turns_without_a_kernel(lab, explorer, tab)
    target.fill("Rome")
    target.press("Enter")
    expect(editor.locator(".mw-says b").nth(1)).to_have_text("Rome", timeout=20_000)
    assert lab.ask_kernel("print(mw.ask(vlm, question).text)").strip() == "Rome"
    assert faults(lab) == []
    lab.screenshot("explorer-edit", explorer)
    radio = tab.get_by_role("radio", name="Edit")
    radio.focus()
    radio.press("ArrowLeft")
    expect(explorer.locator(".mw-answers b")).to_have_text("Rome", timeout=20_000)
    expect(explorer.locator(".mw-edited")).to_have_text("This is the edited model: 1 edit applied.")
    settled(lab, QUESTION)
    wanted = lab.ask_kernel("print(mw.causal_trace(vlm, question, corruption=explorer.trace.corruption).clean)")
    says(lab, f"abs(explorer.trace.clean - {float(wanted)}) < 1e-5 and explorer.trace.answer.text == 'Rome'")
    lab.screenshot("explorer-edited", explorer)
    lab.ask_kernel("explorer.close()")
    assert lab.ask_kernel("print(mw.ask(vlm, question).text)").strip() == "Paris"

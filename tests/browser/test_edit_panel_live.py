"""The edit panel in a real JupyterLab: type a target, watch the search, move lambda, toggle, undo, close; and what cells see meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from host import AXE
from lab import Lab, open_lab, write_notebook
from playwright.sync_api import Locator, expect

SETUP = """\
import json
import mllm_widgets as mw
vlm = mw.load()
question = mw.datasets.demo_question("Eiffel Tower", "city")
if "panel" in globals():
    panel.close()
panel = mw.EditPanel(vlm, question, probes={
    "paraphrases": [mw.datasets.demo_question("Eiffel Tower", "city", template="Which city is {c} in?")],
    "same_phrase": [mw.datasets.demo_question("Taj Mahal", "city")],
    "unrelated": [mw.datasets.demo_question("Big Ben", "country", constraint="this place")],
})
panel"""


@pytest.fixture(scope="module")
def lab(server, browser, screenshots: Path, tmp_path_factory) -> Iterator[Lab]:
    """One page and one kernel for all tests here."""
    with open_lab(browser, server, screenshots) as lab:
        lab.page.set_viewport_size({"width": 1000, "height": 1500})
        lab.open_notebook(write_notebook(tmp_path_factory.mktemp("edit") / "edit.ipynb", SETUP))
        yield lab


@pytest.fixture
def panel(lab: Lab) -> Locator:
    """A new panel, and the model unedited."""
    lab.page.mouse.move(1, 1)
    lab.run_all_cells()
    box = lab.page.locator(".mw-editing")
    expect(box.locator(".mw-says b").first).to_have_text("Paris", timeout=20_000)
    return box


def says(lab: Lab, truth: str) -> None:
    """Wait until the kernel says that something is true: a message of the page may still be on its way."""
    for _ in range(100):
        if lab.ask_kernel(f"print(bool({truth}))").strip() == "True":
            return
        lab.page.wait_for_timeout(100)
    raise AssertionError(
        f"the kernel does not say: {truth}; {lab.ask_kernel('print(panel, panel.error, panel.truth)')}"
    )


def answer(lab: Lab) -> tuple[str, float]:
    """What a cell sees: the answer of the model, and P of its first token."""
    found = lab.ask_kernel("a = mw.ask(vlm, question)\nprint(json.dumps([a.text, a.probability]))")
    text, p = json.loads(found)
    return text, p


def tried(lab: Lab, panel: Locator, target: str) -> None:
    """Type a target, press Enter, and wait until its effects are measured."""
    field = panel.get_by_role("textbox", name="target")
    field.fill(target)
    field.press("Enter")
    expect(panel.locator(".mw-is")).to_contain_text(f"“{target}”", timeout=30_000)
    says(lab, "panel.wait(30) and panel.error == '' and panel.results[str(panel.current)]['lams']")
    expect(panel.get_by_role("slider", name="lambda")).to_be_visible()


def shown_answer(panel: Locator) -> tuple[str, float]:
    """The likeliest first token of the edited side, and its probability."""
    column = panel.locator(".mw-column").nth(1)
    p = column.locator(".mw-top small").first.get_attribute("data-value")
    return column.locator(".mw-says b").inner_text(), float(p or "nan")


def test_a_target_is_tried_and_the_numbers_on_screen_are_those_of_python(lab: Lab, panel: Locator) -> None:
    expect(panel.get_by_role("radio", name="Original")).to_be_checked()
    tried(lab, panel, "Seattle")
    expect(panel.get_by_role("radio", name="Edited")).to_be_checked()
    text, p = answer(lab)
    assert text == "Seattle"
    assert shown_answer(panel) == (text, pytest.approx(p, abs=1e-4))
    expect(panel.locator(".mw-chart svg[role=img]").first).to_have_attribute(
        "aria-label", re.compile(r"layer \d, step")
    )
    cells = panel.locator(".mw-chance").evaluate_all("cells => cells.map((cell) => Number(cell.dataset.value))")
    truth = lab.ask_kernel(
        "rows = [question, *(probe.question for probe in panel._watched[1:])]\n"
        "print(json.dumps([float(mw.ask(vlm, q).probabilities[panel.edit.target_ids[0]]) for q in rows]))"
    )
    assert cells == pytest.approx(json.loads(truth), abs=1e-4)
    lab.screenshot("edit-live", panel)


def test_the_search_is_watched_and_cancelled_and_the_model_is_as_it_was(lab: Lab, panel: Locator) -> None:
    lab.ask_kernel(
        "import time\n"
        "from mllm_widgets.widgets.edit_panel import work\n"
        "real = work.Curve.adding\n"
        "work.Curve.adding = lambda self, step: (time.sleep(0.3), real(self, step))[1]"
    )
    field = panel.get_by_role("textbox", name="target")
    field.fill("Berlin")
    panel.get_by_role("button", name=re.compile("^Try")).click()
    chart = panel.locator(".mw-chart svg[role=img]").first
    expect(chart).to_have_attribute("aria-label", re.compile("step [2-9]: loss"), timeout=10_000)
    assert answer(lab)[0] == "Paris"
    expect(panel.get_by_role("radio", name="Original")).to_be_checked()
    lab.screenshot("edit-live-running", panel)
    panel.get_by_role("button", name="Cancel").click()
    expect(panel.locator(".mw-status")).to_contain_text("cancelled: the model is as it was")
    lab.ask_kernel("work.Curve.adding = real")
    says(lab, "vlm.side_terms.active == () and panel.edits == ()")


def test_lambda_moves_the_model_and_the_screen_alike(lab: Lab, panel: Locator) -> None:
    tried(lab, panel, "Rome")
    slider = panel.get_by_role("slider", name="lambda")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    wanted = lab.ask_kernel("print(panel.results['1']['lams'].index(0.01) + 4)").strip()
    says(lab, f"panel.edit.lam == panel.results['1']['lams'][{wanted}]")
    assert shown_answer(panel) == (answer(lab)[0], pytest.approx(answer(lab)[1], abs=1e-4))
    slider.press("End")
    says(lab, "panel.edit.lam == panel.results['1']['lams'][-1]")
    assert shown_answer(panel)[0] == answer(lab)[0] == "Paris"
    lab.ask_kernel("panel.edit.lam = panel.results['1']['lams'][0]\npanel._session.look()")
    expect(slider).to_have_value("0")
    assert shown_answer(panel) == (answer(lab)[0], pytest.approx(answer(lab)[1], abs=1e-4))


def test_a_cell_sees_the_model_that_the_switch_shows(lab: Lab, panel: Locator) -> None:
    tried(lab, panel, "Rome")
    original, edited = panel.get_by_role("radio", name="Original"), panel.get_by_role("radio", name="Edited")
    for switch, wanted in ((original, "Paris"), (edited, "Rome"), (original, "Paris")):
        switch.click(force=True)
        assert answer(lab)[0] == wanted  # sent after the message of the switch, so it must see it
        expect(switch).to_be_checked()
    panel.get_by_role("button", name="Undo").click()
    expect(edited).to_be_checked()
    assert answer(lab)[0] == "Rome"
    panel.get_by_role("button", name="Undo").click()
    says(lab, "panel.edit.applied is False")
    panel.get_by_role("button", name="Redo").click()
    says(lab, "panel.edit.applied")
    # the other way round: a cell changes the model, and the switch follows
    lab.ask_kernel("get_ipython().run_cell('panel.edit.revert()')")
    expect(original).to_be_checked()


def test_several_edits_are_applied_with_their_checkboxes(lab: Lab, panel: Locator) -> None:
    for target in ("Rome", "Seattle"):
        tried(lab, panel, target)
    boxes = panel.get_by_role("checkbox")
    expect(boxes.nth(1)).to_be_checked()
    expect(boxes.nth(0)).not_to_be_checked()
    boxes.nth(0).focus()
    boxes.nth(0).press(" ")
    says(lab, "len(vlm.side_terms.active) == 2")
    expect(boxes.nth(0)).to_be_checked()
    expect(panel.locator(".mw-is")).to_contain_text("2 edits applied together")
    both = panel.locator(".mw-column").nth(2)
    expect(both.locator("h4")).to_have_text("All applied edits", timeout=10_000)
    text, p = answer(lab)
    expect(both.locator(".mw-says b")).to_have_text(text)
    assert float(both.locator("small").first.get_attribute("data-value") or "nan") == pytest.approx(p, abs=1e-3)
    boxes.nth(1).press(" ")
    says(lab, "[edit.applied for edit in panel.edits] == [True, False]")
    assert answer(lab)[0] == "Rome"


def test_an_error_is_a_sentence_and_the_model_unchanged(lab: Lab, panel: Locator) -> None:
    field = panel.get_by_role("textbox", name="target")
    for typed, words in (("Paris", "is what the model answers already"), ("  ", "target")):
        field.fill(typed)
        field.press("Enter")
        expect(panel.get_by_role("alert")).to_contain_text(words, timeout=10_000)
        says(lab, "vlm.side_terms.active == () and panel.wait(10)")
    lab.screenshot("edit-live-error", panel)


def test_an_edit_is_saved_and_its_path_shown(lab: Lab, panel: Locator, tmp_path: Path) -> None:
    tried(lab, panel, "Rome")
    field = panel.get_by_role("textbox", name="file name")
    expect(field).to_have_value(lab.ask_kernel("print(f'rome-layer{panel.causal}')").strip())
    field.fill(str(tmp_path / "rome"))
    panel.get_by_role("button", name="Save .safetensors").click()
    expect(panel.locator(".mw-out")).to_contain_text(str(tmp_path / "rome.safetensors"))
    assert lab.ask_kernel(f"print(mw.load_edit({str(tmp_path / 'rome.safetensors')!r}, vlm).target)").strip() == "Rome"


def test_nobody_is_left_out_and_it_fits(lab: Lab, panel: Locator) -> None:
    tried(lab, panel, "Rome")
    for width, dark in ((620, True), (1000, False)):
        lab.set_theme(dark)
        lab.page.set_viewport_size({"width": width, "height": 1500})
        lab.page.wait_for_timeout(300)
        lab.page.add_script_tag(path=AXE)
        found = lab.page.evaluate("async () => (await axe.run('.mw-editing')).violations")
        assert [f"{v['id']}: {v['help']}" for v in found if v["impact"] in ("serious", "critical")] == []
        assert panel.evaluate("box => box.scrollWidth <= box.clientWidth + 1")
        lab.screenshot(f"edit-live-{width}", panel)


def test_closing_it_leaves_the_model_unedited(lab: Lab, panel: Locator) -> None:
    tried(lab, panel, "Rome")
    assert answer(lab)[0] == "Rome"
    lab.ask_kernel("panel.close()")
    assert answer(lab)[0] == "Paris"
    says(lab, "vlm.side_terms.active == ()")
    expect(panel).to_have_count(0)

"""Widgets on a page that has no kernel: what they hold works, and what needs a kernel is grey and says so."""

from __future__ import annotations

import re

import pytest
from host import host, receive, serious_faults
from playwright.sync_api import Page, expect

import mllm_widgets as mw

RUN = "Run the notebook to compute this."
OFFLINE = {"offline": True}


@pytest.fixture(scope="module")
def explorer(vlm, question):
    made = mw.Explorer(vlm, question)
    assert made.wait(60)
    made.select(patches=[27, 28, 35, 36])
    made.trace_patches()
    made.turn_to("edit")
    editor = made.edit_panel
    assert editor is not None
    for target in ("Rome", "Berlin"):
        editor.make(target)
        assert editor.wait(60)
    made.turn_to("look")
    made.freeze(lams=17)
    yield made
    made.close()


def nothing_was_asked(page: Page) -> None:
    page.wait_for_timeout(60)
    assert page.evaluate("window.widget.sent") == []


@pytest.mark.parametrize("dark", [False, True])
def test_a_question_can_be_copied_and_not_asked(page, explorer, screenshots, dark) -> None:
    host(page, explorer.panel, width=900, height=420, dark=dark, changes=OFFLINE)
    for name in ("Ask", "Picture…", "Undo", "Redo"):
        button = page.get_by_role("button", name=name)
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", RUN)
    expect(page.get_by_role("textbox", name="question")).to_be_disabled()
    expect(page.locator(".mw-away")).to_have_text(RUN)
    expect(page.get_by_role("button", name="Copy as code")).to_be_enabled()
    words = page.locator(".mw-words")
    expect(words).to_have_attribute("title", RUN)
    words.locator("[role=option]").first.click(force=True)
    words.press("ArrowRight")
    words.press("Enter")
    words.press("Backspace")
    expect(words.locator("[aria-selected=true]")).to_have_text(["this", "building"])
    nothing_was_asked(page)
    for tab in ("Edit", "Look"):
        page.get_by_role("radio", name=tab).check()
        expect(page.locator(".mw-asking")).to_have_attribute("data-tab", tab.lower())
    assert serious_faults(page) == []
    page.screenshot(path=screenshots / f"offline-question-{'dark' if dark else 'light'}.png", full_page=True)


def test_without_an_edit_panel_there_is_no_tab_to_turn_to(page, explorer) -> None:
    host(page, explorer.panel, changes={**OFFLINE, "editing": False})
    expect(page.get_by_role("radio", name="Edit")).to_be_disabled()
    expect(page.get_by_role("radio", name="Edit")).to_have_attribute("title", RUN)
    expect(page.get_by_role("radio", name="Look")).to_be_enabled()


@pytest.mark.parametrize("sent", [None, "nan"])
def test_chances_of_a_model_that_overflows_are_not_known(page, explorer, sent) -> None:
    """On a page NaN is null, and from a kernel it is a text."""
    host(page, explorer.panel, changes={"top": [{"token": "<s>", "p": sent}], "notes": ["the model overflows"]})
    expect(page.locator(".mw-top small")).to_have_text("not known yet")
    expect(page.locator(".mw-notes")).to_have_text("the model overflows")


def test_what_was_being_computed_when_it_was_saved_does_not_spin(page, explorer) -> None:
    host(page, explorer.panel, changes={**OFFLINE, "state": "running", "message": "asking the model", "answer": ""})
    page.wait_for_timeout(400)
    expect(page.locator(".mw-status")).to_be_hidden()
    row = {**explorer.trials.rows[0], "state": "running", "effects": {}, "all": None}
    host(page, explorer.trials, changes={**OFFLINE, "rows": [row]})
    expect(page.locator("tbody small")).to_have_text(RUN)
    host(page, explorer.heatmap, changes={**OFFLINE, "state": "running", "message": "computing window 3, 1 of 2"})
    expect(page.locator(".mw-status progress")).to_be_hidden()


@pytest.mark.parametrize("dark", [False, True])
def test_causes_can_be_read_and_not_asked_for(page, explorer, screenshots, dark) -> None:
    host(page, explorer.trials, width=700, height=300, dark=dark, changes=OFFLINE)
    for name in ("Trace these 4 patches", re.compile("^Block these 4 patches"), re.compile("^remove")):
        button = page.get_by_role("button", name=name)
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", RUN)
    page.get_by_role("radio", name="MLP").check()
    nothing_was_asked(page)
    assert serious_faults(page) == []
    page.screenshot(path=screenshots / f"offline-trials-{'dark' if dark else 'light'}.png", full_page=True)


@pytest.mark.parametrize("dark", [False, True])
def test_an_edit_is_looked_at_over_lambda_and_not_made(page, explorer, screenshots, dark) -> None:
    editor = explorer._session.views.editor
    host(page, editor, width=920, height=1500, dark=dark, changes=OFFLINE)
    names = (
        re.compile("^Try"),
        "Sweep layers",
        "Undo",
        "Redo",
        "Save .safetensors",
        "PEFT folder",
        "Bake into weights",
    )
    for name in (*names, "remove: “Rome”, layer 1", "remove: “Berlin”, layer 1"):
        button = page.get_by_role("button", name=name)
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", RUN)
    for radio in ("Original", "Edited"):
        expect(page.get_by_role("radio", name=radio, exact=True)).to_be_disabled()
    expect(page.get_by_role("checkbox").first).to_be_disabled()
    expect(page.get_by_role("textbox", name="target: what the model should say")).to_be_disabled()
    expect(page.locator(".mw-away")).to_have_text(RUN)
    slider = page.get_by_role("slider", name="lambda")
    expect(slider).to_have_attribute("max", "16")
    page.get_by_role("radio", name=re.compile("look at: “Rome”")).check()
    slider.fill("0")
    expect(page.locator(".mw-says b").nth(1)).to_have_text("Rome")
    slider.fill("16")
    expect(page.locator(".mw-says b").nth(1)).to_have_text("Paris")
    expect(page.locator("tbody tr[data-good]")).to_have_count(len(editor.probes))
    expect(page.get_by_role("button", name="Copy as code")).to_be_enabled()
    nothing_was_asked(page)
    assert serious_faults(page) == []
    page.screenshot(path=screenshots / f"offline-edit-{'dark' if dark else 'light'}.png", full_page=True)


def test_patches_of_a_token_that_was_left_out_say_so(page, explorer) -> None:
    known = explorer.grid.targets[-1]["position"]
    host(page, explorer.grid, changes={**OFFLINE, "token": known, "targets": explorer.grid.targets[-1:]})
    expect(page.locator(".mw-patches header")).not_to_contain_text(RUN)
    receive(page, token=known - 1)
    expect(page.locator(".mw-patches header")).to_contain_text(RUN)


def test_a_kernel_that_comes_back_is_heard_again(page, explorer) -> None:
    host(page, explorer.panel, changes=OFFLINE)
    expect(page.get_by_role("button", name="Ask")).to_be_disabled()
    receive(page, offline=False)
    expect(page.get_by_role("button", name="Ask")).to_be_enabled()
    expect(page.locator(".mw-away")).to_be_hidden()
    field = page.get_by_role("textbox", name="question")
    field.fill("What is this?")
    field.press("Enter")
    assert page.evaluate("window.widget.sent.length") == 1

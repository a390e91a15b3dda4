"""The constraint annotator on a bare page: marked by pointer and by keyboard, every state at every width, and what the kernel is told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from host import host, receive, serious_faults
from playwright.sync_api import Locator, Page, expect

import mllm_widgets as mw

TEXT = "Which kind of this bread, sold in “Winter Harbour”, is liked most in Portugal in 2006?"
NO_ROOM = "path='/data/constraints.csv' cannot be written (No space left on device)."


@pytest.fixture(scope="module")
def annotator(tmp_path_factory) -> Any:
    """Eight questions, of which one is done; the second is on show, with suggestions by rules."""
    questions = {str(place): question for place, question in enumerate(mw.datasets.demo(8))}
    questions["1"] = dataclasses.replace(questions["1"], text=TEXT, constraint=None, text_constraints=())
    made = mw.ConstraintAnnotator(questions, tmp_path_factory.mktemp("kept") / "constraints.csv", suggest="rules")
    made.accept()
    made.save()
    yield made
    made.close()


def word(page: Page, text: str) -> Locator:
    return page.locator("[data-word]").filter(has_text=text).first


def sent(page: Page, kind: str = "") -> list[dict[str, Any]]:
    """What the kernel was told."""
    messages = page.evaluate("window.widget.sent")
    return [message for message in messages if not kind or message["kind"] == kind]


def marked(page: Page) -> dict[str, str]:
    """Words with their marks, as they are on the screen."""
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("[data-mark]")].filter((e) => e.dataset.mark)
             .map((e) => [e.firstChild.textContent, e.dataset.mark]))"""
    )


def heard(page: Page, **more: Any) -> None:
    """The kernel has heard everything."""
    receive(page, received=sent(page)[-1]["id"], **more)


def drag(page: Page, first: Locator, last: Locator) -> None:
    boxes = [place.bounding_box() for place in (first, last)]
    for box in boxes:
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
        if box is boxes[0]:
            page.mouse.down()
    page.mouse.up()


def test_clicks_drags_and_shift_mark_words(page, annotator) -> None:
    host(page, annotator)
    expect(word(page, "bread")).to_have_attribute("aria-pressed", "false")
    word(page, "bread").click()
    expect(word(page, "bread")).to_have_attribute("aria-pressed", "true")
    assert marked(page) == {"bread": "visual"}
    word(page, "this").click()
    word(page, "bread").click()  # again: it is taken back
    assert marked(page) == {"this": "visual"}
    page.get_by_role("radio", name="Text constraint").check(force=True)
    drag(page, word(page, "Winter"), word(page, "Harbour"))
    word(page, "Portugal").click()
    word(page, "2006").click(modifiers=["Shift"])  # from the last one to here
    assert marked(page) == {
        "this": "visual",
        "Winter": "text",
        "Harbour": "text",
        "Portugal": "text",
        "2006": "text",
    } | {"in": "text"}
    drag(page, word(page, "2006"), word(page, "Portugal"))  # begun on one that has the mark
    assert marked(page) == {"this": "visual", "Winter": "text", "Harbour": "text"}
    last = sent(page, "mark")[-1]
    assert [annotator.words[i]["text"] for i, kind in enumerate(last["marks"]) if kind == "text"] == [
        "Winter",
        "Harbour",
    ]
    assert last["generation"] == annotator.generation
    word(page, "this").click()  # a visual one, with the other kind chosen
    assert marked(page)["this"] == "text"
    page.get_by_role("button", name="Clear", exact=True).click()
    assert marked(page) == {}


def test_everything_by_keyboard(page, annotator) -> None:
    host(page, annotator)
    word(page, "Which").focus()
    keys = page.keyboard
    for _ in range(3):
        keys.press("ArrowRight")
    keys.press("Shift+ArrowRight")
    keys.press("v")
    assert marked(page) == {"this": "visual", "bread": "visual"}
    keys.press("End")
    expect(word(page, "2006")).to_be_focused()
    keys.press("t")
    assert marked(page)["2006"] == "text"
    keys.press("Backspace")
    assert marked(page) == {"this": "visual", "bread": "visual"}
    keys.press("ArrowLeft")
    keys.press("Space")  # what is chosen: visual
    assert marked(page)["in"] == "visual"
    keys.press("Delete")
    assert marked(page) == {}
    keys.press("a")
    assert marked(page) == {
        "this": "visual",
        "bread": "visual",
        "Winter": "text",
        "Harbour": "text",
        "Portugal": "text",
        "2006": "text",
    }
    expect(page.get_by_role("button", name="Accept the suggestion")).to_be_disabled()
    keys.press("Enter")
    saved = sent(page, "save")
    assert len(saved) == 1
    assert saved[0]["marks"] == annotator.suggested
    keys.press("v")  # between Enter and the next question nothing is marked
    keys.press("Enter")
    assert len(sent(page, "save")) == 1
    heard(page, generation=99, question="Who is she?", words=[{"text": w, "start": s, "end": s + len(w)} for w, s in (("Who", 0), ("is", 4), ("she", 7))],
          marks=["", "", ""], suggested=["", "", ""], at=2, done=2, saved="saved")  # fmt: skip
    expect(word(page, "Who")).to_be_focused()  # one goes on where one is
    keys.press("End")
    keys.press("v")
    assert marked(page) == {"she": "visual"}
    assert sent(page)[-1]["generation"] == 99
    keys.press("PageDown")
    assert (sent(page)[-1]["kind"], sent(page)[-1]["step"]) == ("go", 1)
    heard(page)
    keys.press("PageUp")
    assert sent(page)[-1]["step"] == -1
    heard(page)
    keys.press("x")
    field = page.get_by_role("textbox", name="why it cannot be marked")
    expect(field).to_be_focused()
    keys.press("Escape")
    expect(field).to_be_hidden()
    expect(page.locator("[data-word]:focus")).to_have_count(1)
    keys.press("x")
    keys.type("Too dark")
    keys.press("Enter")
    expect(page.locator("[data-word]:focus")).to_have_count(1)  # the next question can be marked at once
    assert (sent(page)[-1]["kind"], sent(page)[-1]["reason"]) == ("skip", "Too dark")


def test_reasons_are_one_click_away(page, annotator) -> None:
    host(page, annotator)
    button = page.get_by_role("button", name="Cannot be marked")
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    page.get_by_role("button", name="Save the reason").click()  # there is none yet
    assert sent(page, "skip") == []
    page.get_by_role("button", name="No words point at the picture").click()
    assert sent(page, "skip")[0]["reason"] == "No words point at the picture"
    expect(page.get_by_role("textbox")).to_be_hidden()


def test_the_kernels_marks_come_where_none_are_on_their_way(page, annotator) -> None:
    host(page, annotator)
    word(page, "bread").click()
    receive(page, marks=[""] * len(annotator.words))  # older than what was marked
    assert marked(page) == {"bread": "visual"}
    heard(page, marks=["text"] + [""] * (len(annotator.words) - 1))
    assert marked(page) == {"Which": "text"}


def test_what_is_said_of_an_answer(page, annotator) -> None:
    host(page, annotator)
    state, failed = page.locator(".mw-state"), page.locator(".mw-line .mw-failed")
    word(page, "bread").click()
    expect(state).to_have_text("Marked: Enter saves it.")
    heard(page, answered="marked", saved="not saved", error=NO_ROOM)
    expect(state).to_have_text("Not saved yet.")
    expect(failed).to_have_text(NO_ROOM)
    assert failed.get_attribute("role") == "alert"
    page.get_by_role("button", name="Save again").click()
    assert sent(page)[-1]["kind"] == "retry"
    heard(page, saved="saved", error="")
    expect(state).to_have_text("Saved in constraints.csv.")
    expect(page.get_by_role("button", name="Save again")).to_be_hidden()
    receive(page, answered="skipped", reason="Too dark")
    expect(state).to_have_text("Cannot be marked: Too dark. Saved in constraints.csv.")
    receive(page, answered="changed")
    expect(state).to_have_text("Changed: Enter saves it.")
    receive(page, done=8, at=7)
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "8")
    expect(page.locator(".mw-done")).to_contain_text("All 8 done")
    expect(page.get_by_role("button", name="Next open")).to_be_disabled()


def test_a_kernel_that_does_not_answer_is_told_and_marks_stay(page, annotator) -> None:
    host(page, annotator)
    word(page, "bread").click()
    page.get_by_role("button", name="Save and go on").click()
    expect(page.locator(".mw-line .mw-failed")).to_contain_text("No answer from the kernel", timeout=8000)
    assert marked(page) == {"bread": "visual"}
    word(page, "this").click()  # and work goes on: it is heard when the kernel is free
    assert sent(page)[-1]["kind"] == "mark"
    heard(page)
    expect(page.locator(".mw-line .mw-failed")).to_have_text("")


def test_without_a_kernel_it_can_be_read(page, annotator, screenshots: Path) -> None:
    host(
        page, annotator, changes={"offline": True, "marks": annotator.suggested, "answered": "marked", "saved": "saved"}
    )
    word(page, "Which").click(force=True)
    word(page, "Which").press("v")
    word(page, "Which").press("Enter")
    assert sent(page) == []
    assert marked(page)["this"] == "visual"
    expect(page.locator(".mw-away")).to_have_text("Run the notebook to go on marking.")
    for name in ("Save and go on", "Cannot be marked…", "Previous", "Next", "Clear"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_disabled()
    assert serious_faults(page) == []
    page.screenshot(path=screenshots / "annotator-offline.png", full_page=True)


def test_words_are_toggle_buttons_that_say_what_they_are(page, annotator) -> None:
    host(page, annotator, changes={"marks": ["", "", "", "visual"]})
    expect(page.get_by_role("button", name="this (visual constraint)", pressed=True)).to_have_count(1)
    expect(page.get_by_role("button", name="bread (suggested: visual constraint)", pressed=False)).to_have_count(1)
    small = page.evaluate(
        """() => [...document.querySelectorAll("[data-word]")].map((e) => e.getBoundingClientRect())
             .filter(({width, height}) => width < 24 || height < 24).length"""
    )
    assert small == 0
    assert page.locator("[data-word][tabindex='0']").count() == 1
    dashed = page.locator("[data-word]").evaluate_all("(all) => all.map((e) => getComputedStyle(e).borderTopStyle)")
    assert [annotator.words[i]["text"] for i, style in enumerate(dashed) if style == "dashed"] == [
        "bread",
        "Winter",
        "Harbour",
        "Portugal",
        "2006",
    ]


STATES: dict[str, dict[str, Any]] = {
    "empty": {"suggested": [], "suggesting": "off", "hint": ""},
    "suggestion": {},
    "marked": {"marks": ["", "", "", "visual", "visual", "", "", "text", "text"]},
    "running": {"suggested": [], "suggesting": "running", "hint": ""},
    "failed": {"suggested": [], "suggesting": "error", "hint": "No suggestion: RuntimeError: CUDA out of memory."},
    "error": {"marks": ["", "", "", "visual", "visual"], "answered": "marked", "saved": "not saved", "error": NO_ROOM},
    "done": {"marks": ["", "", "", "visual", "visual"], "answered": "marked", "done": 8, "saved": "saved"},
    "no-picture": {"image": b"", "trouble": "image='photos/7.jpg' does not exist (looked in '/home/a'). Check the path's spelling."},
    "no-words": {"question": "???", "words": [], "marks": [], "suggested": []},
    "skipped": {"answered": "skipped", "reason": "The picture is not what is asked about", "saved": "saved"},
}  # fmt: skip


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_every_state_fits_and_can_be_read(page, annotator, screenshots: Path, state: str, dark: bool) -> None:
    for width in (400, 480, 900):
        host(page, annotator, width=width, dark=dark, changes=STATES[state])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_faults(page) == []
        page.screenshot(
            path=screenshots / f"annotator-{state}-{width}-{'dark' if dark else 'light'}.png", full_page=True
        )


def test_exports_show_the_words_and_their_marks(page, annotator, screenshots: Path) -> None:
    host(page, annotator, changes=STATES["marked"])
    files = {}
    for kind in ("PNG", "SVG", "CSV", "JSON"):
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=kind).click()
        files[kind] = download.value.path().read_bytes()
    (screenshots / "annotator-export.png").write_bytes(files["PNG"])
    assert b">bread</text>" in files["SVG"]
    assert b"\nbread,visual,visual\n" in files["CSV"]
    data = json.loads(files["JSON"])
    assert (data["kind"], data["data"]["marks"][3:5]) == ("annotator", ["visual", "visual"])


def test_its_page_works_from_a_file(browser, annotator, tmp_path) -> None:
    from offline import faults, opened

    annotator.to_html(tmp_path / "annotator.html")
    with opened(browser, tmp_path / "annotator.html") as seen:
        expect(seen.document.locator(".mw-annotator")).to_contain_text("Run the notebook to go on marking.")
        expect(seen.document.locator("figure")).to_be_hidden()
        assert faults(seen) == []

"""Hostile text in every view and every export of the browser: it is shown as text, nothing of it runs, and the layout holds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
from host import host, settle
from playwright.sync_api import Page, expect

import mllm_widgets as mw
from mllm_widgets.widgets.edit_panel.probes import demo_probes
from mllm_widgets.widgets.wire import sendable
from tests.hostile import EVERYTHING, RUN, SCRIPT, TEXTS, hostile_map, hostile_trace

# what is no text for a reader: names that the front end looks things up by
NAMES = frozenset(
    [
        "state",
        "doing",
        "kind",
        "marks",
        "suggested",
        "answered",
        "saved",
        "suggesting",
        "key",
        "module",
        "scale",
        "grid",
        "tab",
        "tools",
        "picture_id",
        "dtype",
        "layout",
        "colors",
        "image",
        "data",
        "version",
    ]
)


def poisoned(value: Any, text: str, name: str = "") -> Any:
    """The same traits, with another text in the place of each that a reader sees."""
    if name in NAMES:
        return value
    if isinstance(value, str):
        return text
    if isinstance(value, dict):
        return {key: poisoned(each, text, key) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [poisoned(each, text, name) for each in value]
    return value


@pytest.fixture(scope="module")
def widgets(vlm, question, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """One of each, with everything in it that it can show."""
    explorer = mw.Explorer(vlm, question)
    assert explorer.wait(120)
    explorer.select(patches=[27, 28])
    explorer.trace_patches()
    explorer.block_patches()
    assert explorer.wait(120)
    probes = {probe.kind: probe.question for probe in demo_probes(question)}
    panel = mw.EditPanel(vlm, question, steps=8, probes={"paraphrases": [probes["paraphrase"]]})
    panel.make("Seattle")
    assert panel.wait(120), panel.error
    kept = tmp_path_factory.mktemp("kept") / "constraints.csv"
    annotator = mw.ConstraintAnnotator([question], kept, suggest="rules")
    annotator.skip("too dark")
    yield {
        "heatmap": mw.TraceHeatmap(hostile_trace()),
        "grid": mw.PatchGrid(hostile_map(question, vlm.geometry(question))),
        "edit panel": panel,
        "question panel": explorer.panel,
        "trials panel": explorer.trials,
        "lens panel": explorer.lens,
        "annotator": annotator,
    }
    for view in (annotator, panel, explorer):
        view.close()


@pytest.fixture
def watched(page: Page) -> Iterator[Page]:
    """A page on which nothing may run: neither a dialog nor a flag comes up."""
    ran: list[str] = []

    def heard(dialog: Any) -> None:
        ran.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", heard)
    yield page
    assert page.evaluate("window.ran") is None
    assert not ran
    page.remove_listener("dialog", heard)


def show(page: Page, widgets: dict[str, Any], name: str, text: str, width: int) -> None:
    """The widget with `text` wherever a text stands; a heatmap and a grid are made of hostile texts already."""
    widget = widgets[name]
    state = {key: value for key, value in widget.get_state().items() if not key.startswith("_") and key in widget.keys}
    made = name in ("heatmap", "grid") and text == EVERYTHING
    skipped = ("layout", "tabbable", "tooltip")
    changes = {} if made else {k: poisoned(v, text, k) for k, v in state.items() if k not in skipped}
    host(page, widget, width=width, changes=sendable(changes))


WIDGETS = ("heatmap", "grid", "edit panel", "question panel", "trials panel", "lens panel", "annotator")


@pytest.mark.parametrize("width", [420, 900])
@pytest.mark.parametrize("name", WIDGETS)
def test_every_view_shows_it_as_text(watched: Page, widgets, screenshots, name, width) -> None:
    began = time.monotonic()
    show(watched, widgets, name, EVERYTHING, width)
    assert time.monotonic() - began < 20  # nothing measures ten thousand characters one by one
    watched.screenshot(path=screenshots / f"hostile_{name.replace(' ', '_')}_{width}.png")
    faults = watched.evaluate(
        """() => {
          const root = document.querySelector("body > div");
          const inside = [...root.querySelectorAll("*")];
          return {
            made: inside.filter((e) => e.matches("script, iframe, object, embed, img:not([src^='blob:'])")).map((e) => e.outerHTML),
            heard: inside.filter((e) => e.getAttributeNames().some((n) => n.startsWith("on"))).map((e) => e.tagName),
            wide: document.documentElement.scrollWidth - innerWidth,
            high: root.scrollHeight,
          };
        }"""
    )
    assert faults["made"] == []
    assert faults["heard"] == []
    assert faults["wide"] <= 0
    assert faults["high"] < 6000


@pytest.mark.parametrize("text", [RUN, SCRIPT], ids=["picture", "script"])
@pytest.mark.parametrize("name", WIDGETS)
def test_markup_is_there_letter_by_letter(watched: Page, widgets, name, text) -> None:
    show(watched, widgets, name, text, 800)
    assert text in watched.locator("body > div").first.evaluate("(root) => root.textContent")


def test_a_tooltip_shows_it_as_text_too(watched: Page, widgets) -> None:
    host(watched, widgets["heatmap"], width=800)
    watched.locator(".mw-grid").focus()
    for _ in TEXTS:
        watched.keyboard.press("ArrowDown")
    for _ in TEXTS:
        watched.keyboard.press("ArrowUp")
    settle(watched)
    expect(watched.locator(".mw-tooltip")).to_contain_text("<img src=x onerror")


@pytest.mark.parametrize("name", ["heatmap", "grid", "edit panel"])
def test_exports_hold_it_as_text(watched: Page, widgets, name, tmp_path) -> None:
    show(watched, widgets, name, EVERYTHING, 800)
    files = {}
    for kind in ("SVG", "CSV", "JSON"):
        watched.get_by_role("button", name="Export").click()
        with watched.expect_download() as download:
            watched.get_by_role("menuitem", name=kind).click()
        files[kind] = download.value.path().read_bytes()
    root = ElementTree.fromstring(files["SVG"])
    tags = {element.tag.rsplit("}", 1)[-1] for element in root.iter()}
    assert not tags & {"script", "foreignObject", "iframe", "img", "a"}
    assert not [key for element in root.iter() for key in element.attrib if key.lower().startswith("on")]
    assert json.loads(files["JSON"])["format"] == "mllm_widgets view"
    assert b"onerror" in files["CSV"]
    # opened as a page of its own, an SVG could run scripts
    (tmp_path / "export.svg").write_bytes(files["SVG"])
    watched.goto((tmp_path / "export.svg").as_uri())
    settle(watched)

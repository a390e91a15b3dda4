"""Every widget for everybody: by keyboard, by finger, by ear, magnified, in forced colours and at rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from host import host, serious_faults, settle
from playwright.sync_api import Browser, Page, expect

import mllm_widgets as mw
from mllm_widgets.widgets.edit_panel.probes import demo_probes

NAMES = ("trace_heatmap", "patch_grid", "edit_panel", "question_panel", "trials_panel", "lens_panel", "annotator")
THEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
EACH = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def widgets(vlm, question, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """One of each: the views of an Explorer, with patches that were traced and blocked, and an editor with an edit."""
    explorer = mw.Explorer(vlm, question, token=75, layer=1)
    assert explorer.wait(120)
    explorer.select(patches=[27, 28, 35, 36])
    explorer.trace_patches()
    explorer.block_patches()
    assert explorer.wait(120)
    kinds = {probe.kind: probe.question for probe in demo_probes(question)}
    probes = {"paraphrases": [kinds["paraphrase"]], "unrelated": [kinds["unrelated"]]}
    editor = mw.EditPanel(vlm, question, steps=12, probes=probes)
    editor.make("Seattle")
    assert editor.wait(120), editor.error
    kept = tmp_path_factory.mktemp("kept") / "constraints.csv"
    annotator = mw.ConstraintAnnotator([question, *mw.datasets.demo(3)], kept, suggest="rules")
    views = (explorer.heatmap, explorer.grid, editor, explorer.panel, explorer.trials, explorer.lens, annotator)
    yield dict(zip(NAMES, views, strict=True))
    for view in (annotator, editor, explorer):
        view.close()


@contextmanager
def context(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page in a browser that is set up otherwise."""
    made = browser.new_context(**options)
    try:
        yield made.new_page()
    finally:
        made.close()


@THEMES
@EACH
def test_axe_finds_nothing_serious(page, widgets, screenshots, name, dark) -> None:
    host(page, widgets[name], width=480, height=900, dark=dark)
    assert serious_faults(page) == []
    page.get_by_role("button", name="Export").click()
    assert serious_faults(page) == []
    page.keyboard.press("Escape")
    table = page.get_by_role("button", name="Data table")
    if table.count():
        table.click()
        expect(page.locator(".mw-data table")).to_be_visible()
    assert serious_faults(page) == []
    page.screenshot(path=screenshots / f"access-{name}-480-{'dark' if dark else 'light'}.png", full_page=True)
    for width in (800, 1200):
        page.set_viewport_size({"width": width, "height": 900})
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_faults(page) == []
        page.screenshot(path=screenshots / f"access-{name}-{width}-{'dark' if dark else 'light'}.png", full_page=True)


@EACH
def test_targets_are_large_enough_for_a_finger(page, widgets, name) -> None:
    host(page, widgets[name], width=480, height=900)
    page.get_by_role("button", name="Export").click()
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=menuitem], [role=option], [role=grid]")]
          // words of a sentence are as wide as they are
          .filter((e) => e.checkVisibility() && !e.disabled && !e.dataset.word)
          // a radio button or box is as large as the label around it
          .map((e) => [e, (/radio|checkbox/.test(e.type) && e.closest("label") || e).getBoundingClientRect()])
          .filter(([, box]) => box.width < 23.9 || box.height < 23.9)
          .map(([e, box]) => `${e.outerHTML.slice(0, 90)} ${box.width} x ${box.height}`)"""
    )
    assert small == []


@THEMES
@EACH
def test_tab_reaches_every_control_and_shows_where_it_is(page, widgets, name, dark) -> None:
    host(page, widgets[name], width=800, height=900, dark=dark)
    wanted = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, [tabindex='0']")]
          .filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0)
          .map((e, i) => (e.dataset.stop = e.type === "radio" ? `group ${e.name}` : String(i)))"""
    )
    seen, bare = [], []
    for _ in range(len(set(wanted)) + 3):
        page.keyboard.press("Tab")
        stop, shown, tag = page.evaluate(
            """() => {
              const at = document.activeElement, rings = [at, at.nextElementSibling, at.closest("label")].filter(Boolean);
              const ring = (e) => { const s = getComputedStyle(e); return s.outlineStyle !== "none" || s.boxShadow !== "none"; };
              return [at.dataset.stop ?? "", rings.some(ring), at.outerHTML.slice(0, 90)];
            }"""
        )
        if stop:
            seen.append(stop)
            if not shown:
                bare.append(tag)
    assert set(seen) == set(wanted)
    assert bare == []


@EACH
def test_at_twice_the_size_nothing_is_cut_and_the_page_does_not_scroll_sideways(
    browser, widgets, screenshots, name
) -> None:
    with context(browser, device_scale_factor=2) as page:
        host(page, widgets[name], width=640, height=900)
        assert page.evaluate("document.documentElement.scrollWidth") <= 640
        page.evaluate("document.documentElement.style.zoom = 2")
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 640
        cut = page.evaluate(
            """() => [...document.querySelectorAll(".mw *")]
              .filter((e) => e.checkVisibility() && !e.closest(".mw-sr, .mw-scroller, .mw-scroll, .mw-data, svg"))
              .filter((e) => { const b = e.getBoundingClientRect(); return b.width && (b.right > innerWidth + 1 || b.left < -1); })
              .map((e) => e.outerHTML.slice(0, 90))"""
        )
        assert cut == []
        page.get_by_role("button", name="Export").click()
        menu = page.get_by_role("menu").bounding_box()
        assert menu is not None
        assert menu["x"] >= 0
        page.screenshot(path=screenshots / f"access-{name}-zoomed.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@EACH
def test_forced_colours_are_the_systems(browser, widgets, screenshots, name, scheme) -> None:
    with context(browser, forced_colors="active", color_scheme=scheme) as page:
        host(page, widgets[name], width=640, height=900, dark=scheme == "light")  # a notebook's theme does not count
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('i'), {id: 'probe', style: 'color:CanvasText;background:Canvas'}))"
        )
        text, ground = page.evaluate(
            "(() => { const s = getComputedStyle(document.querySelector('#probe')); return [s.color, s.backgroundColor]; })()"
        )
        assert page.locator(".mw").get_attribute("data-theme") == scheme
        labels = page.locator("canvas.mw-labels")
        if labels.count():
            pixels = np.array(
                labels.evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
            )
            colors, counts = np.unique(pixels.reshape(-1, 4)[:, :3], axis=0, return_counts=True)
            assert f"rgb({', '.join(map(str, colors[counts.argmax()]))})" == ground
            written = [int(v) for v in text[4:-1].split(",")]
            assert (colors == written).all(axis=1).any()
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        chosen = page.locator(".mw-switch input:checked + span")
        if chosen.count():
            assert chosen.first.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
        lost = page.evaluate(
            """() => [...document.querySelectorAll(".mw-effect, tbody td[data-value][style]")]
              .filter((e) => e.style.background && getComputedStyle(e).backgroundColor !== e.style.backgroundColor).length"""
        )
        assert lost == 0  # a colour that is a value stays
        page.screenshot(path=screenshots / f"access-{name}-forced-{scheme}.png", full_page=True)


@EACH
def test_nothing_moves_by_itself(browser, widgets, name) -> None:
    with context(browser, reduced_motion="reduce") as page:
        host(page, widgets[name])
        moving = page.evaluate(
            """() => [...document.querySelectorAll("*")].filter((e) => {
              const s = getComputedStyle(e);
              return s.animationName !== "none" || parseFloat(s.transitionDuration) > 0;
            }).map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert moving == []


def test_a_finger_pins_a_cell_and_reads_it(browser, widgets, screenshots) -> None:
    with context(browser, has_touch=True) as page:
        host(page, widgets["trace_heatmap"], width=480, changes={"token": -1, "selected": []})
        grid = page.get_by_role("grid")
        box = grid.bounding_box()
        assert box is not None
        page.touchscreen.tap(box["x"] + box["width"] - 30, box["y"] + 250)
        settle(page)
        tooltip = page.get_by_role("tooltip")
        expect(tooltip).to_contain_text("indirect effect")
        saved = page.evaluate("window.widget.saved.at(-1)")
        assert saved["selected"][1] == widgets["trace_heatmap"].layers - 1
        page.screenshot(path=screenshots / "access-touch-heatmap.png")
        page.touchscreen.tap(box["x"] + box["width"] - 30, box["y"] + 250)
        settle(page)
        assert page.evaluate("window.widget.saved.at(-1)")["selected"] == []


def test_a_finger_selects_patches_and_turns_the_layer(browser, widgets, screenshots) -> None:
    with context(browser, has_touch=True) as page:
        host(page, widgets["patch_grid"], width=480, height=1200, changes={"selected": []})
        box = page.get_by_role("grid").bounding_box()
        assert box is not None
        for x in (0.3, 0.6):
            page.touchscreen.tap(box["x"] + x * box["width"], box["y"] + 100)
            settle(page)
        assert len(page.evaluate("window.widget.saved.at(-1)")["selected"]) == 2  # a finger adds
        expect(page.get_by_role("tooltip")).to_be_visible()
        page.screenshot(path=screenshots / "access-touch-patches.png")
        chart = page.locator(".mw-chart").bounding_box()
        assert chart is not None
        page.touchscreen.tap(chart["x"] + chart["width"] - 20, chart["y"] + 100)
        settle(page)
        assert page.evaluate("window.widget.saved.at(-1)") == {"layer": widgets["patch_grid"].layers[-1]}


def test_a_finger_opens_the_menu_and_closes_it_beside(browser, widgets) -> None:
    with context(browser, has_touch=True) as page:
        host(page, widgets["patch_grid"], width=480)
        page.get_by_role("button", name="Export").tap()
        expect(page.get_by_role("menu")).to_be_visible()
        page.locator(".mw-switch label").last.tap()
        expect(page.get_by_role("menu")).to_be_hidden()

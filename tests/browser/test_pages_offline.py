"""Pages of our own with no kernel and no network: from a file, in a frame, in a sandboxed frame; all that a reader can do there is done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from offline import PLACES, Opened, faults, opened
from playwright.sync_api import expect

import mllm_widgets as mw
from mllm_widgets.cli import main
from mllm_widgets.render.page import frame

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "01_first_trace.ipynb"
HOSTILE = "</script><img src=x onerror=document.title='hacked'>"


@pytest.fixture(scope="module")
def files(vlm, question, trace, tmp_path_factory) -> dict[str, Path]:
    """One page of each widget, and dark ones of some."""
    folder = tmp_path_factory.mktemp("pages")
    heatmap = mw.TraceHeatmap(trace)
    heatmap.freeze(windows=[1, 3, 5])
    explorer = mw.Explorer(vlm, question)
    for tab in ("edit", "look"):  # the tab that was never turned to has nothing to show without a kernel
        explorer.turn_to(tab)
        assert explorer.wait(120)
    panel = mw.EditPanel(vlm, question, steps=16)
    panel.make("Rome")
    assert panel.wait(120), panel.error
    widgets = {
        "heatmap": heatmap,
        "patches": mw.PatchGrid(mw.attention_contributions(vlm, question), layer=3),
        "edit": panel,
        "explorer": explorer,
    }
    for name, widget in widgets.items():
        widget.to_html(folder / f"{name}.html")
        widget.to_html(folder / f"{name}-dark.html", theme="dark", title="The city, in the dark")
    explorer.close()
    panel.close()
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture
def shot(screenshots: Path) -> Callable[[Opened, str], None]:
    def take(seen: Opened, name: str) -> None:
        seen.page.screenshot(path=screenshots / f"offline-{name}.png", full_page=True)

    return take


def cell(seen: Opened, row: int, layer: int) -> tuple[float, float]:
    """The middle of a cell of the map: 8 layers that end at its right edge, rows of 20 pixels."""
    canvas = seen.document.locator(".mw-heatmap .mw-cells")
    canvas.scroll_into_view_if_needed()
    box, width = canvas.bounding_box(), float(canvas.get_attribute("data-cell-width") or 0)
    assert box is not None
    return box["x"] + box["width"] - 1 - (8 - layer - 0.5) * width, box["y"] + 2 + (row + 0.5) * 20


@pytest.mark.parametrize("place", PLACES)
def test_heatmap(browser, files, shot, place) -> None:
    with opened(browser, files["heatmap"], place) as seen:
        map_ = seen.document.locator(".mw-heatmap")
        expect(map_.get_by_role("grid")).to_have_attribute("aria-label", re.compile("Largest indirect effect"))
        expect(seen.document.locator("figure")).to_be_hidden()
        seen.document.get_by_role("radio", name="Self-attention").check()
        expect(map_.get_by_role("radio", checked=True)).to_have_attribute("value", "self_attn")
        slider = map_.get_by_role("slider", name="window")
        for window in (3, 5):
            slider.fill(str(window))
            expect(slider).to_have_attribute("aria-valuetext", re.compile(f"^{window} layers"))
            expect(map_.locator("[data-drawn]")).to_have_attribute(
                "data-drawn", re.compile(f"^window {window}:.*complete")
            )
        seen.page.mouse.click(*cell(seen, 12, 2))
        seen.page.mouse.move(5, 5)
        expect(map_.get_by_role("tooltip")).to_contain_text("layer 2")
        shot(seen, f"heatmap-{place}")


@pytest.mark.parametrize("place", PLACES)
def test_patch_grid(browser, files, shot, place) -> None:
    with opened(browser, files["patches"], place) as seen:
        map_ = seen.document.locator(".mw-map")
        expect(map_).to_have_attribute("data-drawn", re.compile("^layer 3:"))
        seen.document.get_by_role("slider", name="Layer").fill("5")
        expect(map_).to_have_attribute("data-drawn", re.compile("^layer 5:"))
        before = map_.get_attribute("data-drawn")
        seen.document.get_by_role("slider", name="Only above").fill("0.6")
        expect(map_).not_to_have_attribute("data-drawn", str(before))
        seen.page.mouse.click(*seen.middle(".mw-figure img", 3.5 / 8, 5.5 / 8))
        expect(map_.get_by_role("gridcell", selected=True)).to_contain_text("patch 43, layer 5")
        shot(seen, f"patches-{place}")


@pytest.mark.parametrize("place", PLACES)
def test_edit_panel(browser, files, shot, place) -> None:
    with opened(browser, files["edit"], place) as seen:
        edited = seen.document.locator(".mw-both")
        expect(edited).to_contain_text("Rome")
        seen.document.get_by_role("slider", name="lambda").fill("30")
        expect(edited).not_to_contain_text("P(Rome) 0.99")
        shot(seen, f"edit-{place}")


@pytest.mark.parametrize("place", PLACES)
def test_explorer(browser, files, shot, place) -> None:
    with opened(browser, files["explorer"], place) as seen:
        patches = seen.document.locator(".mw-patches")
        seen.page.mouse.click(*cell(seen, 14, 6))
        expect(patches.locator(".mw-map")).to_have_attribute("data-drawn", re.compile("^layer 6:"))
        expect(patches.locator("header")).to_contain_text("to “·ASSISTANT”")
        expect(seen.document.locator(".mw-lens header")).to_contain_text("“·ASSISTANT” (token 77)")
        patches.get_by_role("slider", name="Layer").fill("2")
        expect(seen.document.locator(".mw-lens [aria-selected=true]")).to_contain_text("2")
        seen.page.mouse.click(*seen.middle(".mw-figure img", 3.5 / 8, 5.5 / 8))
        expect(patches.get_by_role("gridcell", selected=True)).to_contain_text("patch 43, layer 2")
        seen.document.get_by_role("radio", name="Edit").check()
        expect(seen.document.locator(".mw-heatmap")).to_be_hidden()
        shot(seen, f"explorer-{place}")


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("name", ["heatmap", "patches-dark", "edit", "explorer", "explorer-dark"])
def test_a_page_fits_and_can_be_read_by_everybody(browser, files, shot, name, width) -> None:
    with opened(browser, files[name], width=width) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert faults(seen) == []
        shot(seen, f"{name}-{width}")


def test_without_javascript_there_is_the_picture(browser, files, shot) -> None:
    with opened(browser, files["explorer"], scripts=False) as seen:
        expect(seen.document.get_by_role("img")).to_be_visible()
        expect(seen.document.get_by_role("img")).to_have_attribute("alt", re.compile("^Explorer"))
        expect(seen.document.locator(".mw-noscript")).to_contain_text("JavaScript does not run here")
        shot(seen, "no-script")


def test_a_view_that_fails_leaves_the_picture_and_a_sentence_and_the_others_live(
    browser, files, tmp_path, shot
) -> None:
    """A page whose map has lost its program, as after a bad copy."""
    text = files["explorer"].read_text("utf-8")
    broken = re.sub(
        r'("module":"anywidget","name":"AnyModel","state":\{(?:(?!"module").)*?"corruption":.*?"bundle":)"\w+"',
        r'\1"none"',
        text,
    )
    assert broken != text
    (tmp_path / "broken.html").write_text(broken, "utf-8")
    with opened(browser, tmp_path / "broken.html") as seen:
        expect(seen.document.get_by_role("note")).to_have_text(
            "This view cannot be shown here: the page was saved without its program."
        )
        expect(seen.document.locator("figure img")).to_be_visible()
        seen.document.locator(".mw-patches").get_by_role("slider", name="Layer").fill("5")
        expect(seen.document.locator(".mw-map")).to_have_attribute("data-drawn", re.compile("^layer 5:"))
        shot(seen, "broken")


def test_text_is_text_and_runs_nothing(browser, trace, tmp_path, shot) -> None:
    heatmap = mw.TraceHeatmap(trace)
    heatmap.publish(question=HOSTILE, answer=HOSTILE, warnings=[HOSTILE])
    heatmap.publish(rows=[{**row, "label": HOSTILE, "token": HOSTILE} for row in heatmap.rows])
    heatmap.to_html(tmp_path / "hostile.html", title=HOSTILE)
    with opened(browser, tmp_path / "hostile.html") as seen:
        expect(seen.document.get_by_role("heading")).to_have_text(HOSTILE)
        expect(seen.document.locator(".mw-answer b")).to_have_text(HOSTILE)
        assert seen.page.title() == HOSTILE
        shot(seen, "hostile")


def test_show_static_gives_way_to_the_frame_and_is_as_high_as_its_page(browser, files, tmp_path, trace, shot) -> None:
    heatmap = mw.TraceHeatmap(trace)
    inner = frame(heatmap.to_html(), name="one", title="map", height=100, picture="ABCD")
    picture = '<div class="jp-OutputArea-child"><img alt="the picture" src="data:image/png;base64,ABCDEFG"></div>'
    other = '<img alt="another" src="data:image/png;base64,XYZ">'
    (tmp_path / "cell.html").write_text(
        f"<!DOCTYPE html><meta charset='utf-8'>{other}{picture}<div>{inner}</div>", "utf-8"
    )
    with opened(browser, tmp_path / "cell.html") as seen:
        expect(seen.document.locator(".mw-heatmap")).to_be_visible()
        expect(seen.page.get_by_alt_text("the picture")).to_be_hidden()
        expect(seen.page.get_by_alt_text("another")).to_be_visible()
        high = seen.document.evaluate("document.documentElement.scrollHeight")
        assert high > 300
        expect(seen.page.locator("iframe")).to_have_css("height", f"{high}px")
        shot(seen, "static")


@pytest.fixture(scope="module")
def notebook(tmp_path_factory) -> Path:
    """The first notebook as one page."""
    path = tmp_path_factory.mktemp("notebook") / "first.html"
    assert main(["export", str(NOTEBOOK), "-o", str(path)]) == 0
    return path


@pytest.mark.parametrize("place", PLACES)
def test_a_whole_notebook_lives(browser, notebook, shot, place) -> None:
    with opened(browser, notebook, place) as seen:
        maps = seen.document.locator(".mw-heatmap")
        expect(maps).to_have_count(3)
        expect(seen.document.locator("[data-mw-view] figure").first).to_be_hidden()
        maps.nth(0).get_by_role("radio", name="Self-attention").check()
        expect(maps.nth(0).get_by_role("radio", checked=True)).to_have_attribute("value", "self_attn")
        expect(maps.nth(1).get_by_role("radio", checked=True)).to_have_attribute("value", "self_attn")
        shot(seen, f"notebook-{place}")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("name", ["01_first_trace", "03_edit_what_it_knows"])
def test_the_page_of_a_notebook_can_be_read_by_everybody(browser, tmp_path, shot, name, theme, width) -> None:
    path = tmp_path / "page.html"
    assert main(["export", str(NOTEBOOK.with_name(f"{name}.ipynb")), "-o", str(path), "--theme", theme]) == 0
    with opened(browser, path, width=width) as seen:
        expect(seen.page.locator("main")).to_have_count(1)
        expect(seen.page.locator("html")).to_have_attribute("lang", "en")
        assert faults(seen) == []
        shot(seen, f"notebook-{name}-{theme}-{width}")


def test_scripts_that_a_notebook_brings_along_still_run(browser, tmp_path) -> None:
    """Such as Bokeh's, inline; and what would be loaded from elsewhere is neither loaded nor asked for."""
    html = "<div id=there></div><script>document.getElementById('there').textContent = 'ran ' + eval('6 * 7');</script>"
    far = "<script src='https://example.org/lib.js'></script><img alt='far' src='https://example.org/far.png'>"
    outputs = [{"output_type": "display_data", "data": {"text/html": text}, "metadata": {}} for text in (html, far)]
    cell = {"cell_type": "code", "source": "x", "outputs": outputs, "metadata": {}, "execution_count": 1, "id": "a"}
    (tmp_path / "n.ipynb").write_text(
        json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), "utf-8"
    )
    assert main(["export", str(tmp_path / "n.ipynb")]) == 0
    with opened(browser, tmp_path / "n.html", refused=2) as seen:
        expect(seen.page.locator("#there")).to_have_text("ran 42")

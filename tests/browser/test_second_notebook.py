"""The second notebook as a newcomer meets it: stored pictures first, then a live patch grid and map, in both themes."""

from __future__ import annotations

import re
from pathlib import Path

from lab import Lab
from playwright.sync_api import expect

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "02_from_picture_to_words.ipynb"


def test_the_way_from_the_picture_to_the_words_is_shown_stored_and_live(lab: Lab) -> None:
    lab.open_notebook(NOTEBOOK)
    pictures = lab.page.locator('.jp-RenderedImage img[src^="data:image/png"]')
    # not trusted, so no script of ours runs: the drawn grid stands for the live one
    assert lab.page.locator(".mw-patches").count() == 0
    pictures.nth(1).scroll_into_view_if_needed()
    lab.screenshot("second-stored")
    lab.run_all_cells()
    grid, heatmap = lab.page.locator(".mw-patches").first, lab.page.locator(".mw-heatmap").first
    grid.scroll_into_view_if_needed()
    expect(grid.locator(".mw-map")).to_have_attribute("data-drawn", re.compile("^layer 0: 64 of 64"))
    lab.screenshot("second-grid")
    heatmap.scroll_into_view_if_needed()
    expect(heatmap.get_by_role("grid")).to_have_attribute("aria-label", re.compile("Largest indirect effect"))
    lab.screenshot("second-map")
    lab.set_theme(dark=True)
    for name, widget in (("grid", grid), ("map", heatmap)):
        widget.scroll_into_view_if_needed()
        expect(widget).to_have_attribute("data-theme", "dark")
        lab.screenshot(f"second-{name}-dark")
    lab.set_theme(dark=False)
    assert lab.problems() == []

"""The first notebook as a newcomer meets it: stored pictures first, then alive, in both themes."""

from __future__ import annotations

import re
from pathlib import Path

from lab import Lab
from playwright.sync_api import expect

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "01_first_trace.ipynb"


def test_a_newcomer_sees_pictures_and_after_running_live_maps(lab: Lab) -> None:
    lab.open_notebook(NOTEBOOK)
    pictures = lab.page.locator('.jp-RenderedImage img[src^="data:image/png"]')
    # a notebook from someone else is not trusted: no script of ours runs, and the stored pictures show
    assert lab.page.locator(".mw-heatmap").count() == 0
    pictures.nth(1).scroll_into_view_if_needed()
    lab.screenshot("notebook-stored")
    lab.run_all_cells()
    for number in range(3):
        heatmap = lab.page.locator(".mw-heatmap").nth(number)
        heatmap.scroll_into_view_if_needed()
        expect(heatmap.get_by_role("grid")).to_have_attribute("aria-label", re.compile("Largest indirect effect"))
        expect(heatmap.get_by_role("radio", checked=True)).to_have_count(1)
        lab.screenshot(f"notebook-live-{number}")
    lab.set_theme(dark=True)
    lab.page.locator(".mw-heatmap").first.scroll_into_view_if_needed()
    expect(lab.page.locator(".mw-heatmap").first).to_have_attribute("data-theme", "dark")
    lab.screenshot("notebook-dark")
    lab.set_theme(dark=False)
    assert lab.problems() == []

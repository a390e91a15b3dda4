"""The patch grid in a real JupyterLab: the stored picture gives way, keys arrive, and linked grids move together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, open_lab, write_notebook
from playwright.sync_api import Locator, expect

SETUP = """\
import ipywidgets
import mllm_widgets as mw
vlm = mw.load()
question = mw.datasets.demo_question("Eiffel Tower", "city")
flow = mw.attention_contributions(vlm, question)
first, second = mw.PatchGrid(flow, layer=1), mw.PatchGrid(flow, layer=1)
links = [ipywidgets.jslink((first, name), (second, name)) for name in ("layer", "selected")]
first"""


@pytest.fixture(scope="module")
def lab(server, browser, screenshots: Path, tmp_path_factory) -> Iterator[Lab]:
    """One page and one kernel for all tests here."""
    with open_lab(browser, server, screenshots) as lab:
        lab.open_notebook(write_notebook(tmp_path_factory.mktemp("grid") / "grid.ipynb", SETUP, "second"))
        lab.run_all_cells()
        yield lab


@pytest.fixture
def grids(lab: Lab) -> tuple[Locator, Locator]:
    """Two linked grids, one below the other."""
    grids = lab.page.locator(".mw-patches")
    expect(grids).to_have_count(2)
    return grids.nth(0), grids.nth(1)


def asked(lab: Lab, what: str) -> object:
    return json.loads(lab.ask_kernel(f"import json; print(json.dumps({what}))"))


def test_the_picture_gives_way_to_the_live_grid(lab: Lab, grids) -> None:
    expect(lab.output(0).locator('img[src^="data:image/png"]')).to_be_hidden()
    expect(grids[0].locator(".mw-map")).to_have_attribute("data-drawn", re.compile("^layer 1: 64 of 64"))
    lab.screenshot("patches-lab", grids[0])


def test_keys_reach_the_grid_and_the_kernel(lab: Lab, grids) -> None:
    first, _ = grids
    grid = first.get_by_role("grid")
    grid.focus()
    grid.press("Control+Home")
    for key in ("ArrowDown", "ArrowRight", "Enter", "PageDown", "PageDown"):
        grid.press(key)
    expect(first.locator("[role=gridcell]")).to_contain_text("patch 9, layer 3")
    lab.page.wait_for_timeout(300)
    assert asked(lab, "[first.layer, first.selected]") == [3, [9]]
    values = asked(lab, "float(flow.patches(3)[1, 1])")
    assert isinstance(values, float)
    expect(first.get_by_role("tooltip")).to_contain_text(f"{values:.4f}"[:5])
    slider = first.get_by_role("slider", name="layer")
    slider.focus()
    slider.press("ArrowLeft")
    lab.page.wait_for_timeout(300)
    assert asked(lab, "first.layer") == 2


def test_linked_grids_move_together(lab: Lab, grids) -> None:
    first, second = grids
    first.get_by_role("slider", name="layer").fill("5")
    expect(second.locator(".mw-map")).to_have_attribute("data-drawn", re.compile("^layer 5:"))
    lab.ask_kernel("second.selected = second.top()")
    expect(first.locator(".mw-chart")).to_have_attribute("aria-label", re.compile("Mean of 5 selected"))
    assert asked(lab, "first.selected") == asked(lab, "sorted(second.top())")


def test_it_follows_the_theme(lab: Lab, grids) -> None:
    lab.set_theme(dark=True)
    expect(grids[0]).to_have_attribute("data-theme", "dark")
    lab.page.wait_for_timeout(200)
    lab.screenshot("patches-lab-dark", grids[0])
    lab.set_theme(dark=False)
    expect(grids[0]).to_have_attribute("data-theme", "light")

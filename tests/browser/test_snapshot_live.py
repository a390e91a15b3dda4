"""Snapshots in a real JupyterLab: the stored output is the present picture, however it was asked for, and stays hidden behind the live view."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, open_lab, write_notebook
from playwright.sync_api import expect

SETUP = """\
import base64
import numpy as np
import mllm_widgets as mw
vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower", "city")
values = np.random.default_rng(0).random((8, 64))
grid = mw.PatchGrid(mw.PatchMap(question.image, vlm.geometry(question), values, tuple(range(8))), layer=0)
grid"""


@pytest.fixture(scope="module")
def lab(server, browser, screenshots: Path, tmp_path_factory) -> Iterator[Lab]:
    with open_lab(browser, server, screenshots) as lab:
        lab.open_notebook(write_notebook(tmp_path_factory.mktemp("snapshot") / "snapshot.ipynb", SETUP))
        lab.run_all_cells()
        lab.page.locator(".mw-patches").wait_for()
        yield lab


def stored(lab: Lab) -> str:
    return lab.outputs(0)[0]["data"]["image/png"].replace("\n", "")


def expect_stored(lab: Lab) -> None:
    """Wait until the notebook holds the picture that the kernel draws now, in the one output it has for it."""
    wanted = lab.ask_kernel("print(base64.b64encode(grid.to_png()).decode())").strip()
    for _ in range(100):
        if stored(lab) == wanted:
            break
        lab.page.wait_for_timeout(50)
    assert base64.b64decode(stored(lab)) == base64.b64decode(wanted)
    assert len(lab.outputs(0)) == 2
    pictures = lab.page.locator('img[src^="data:image/png;base64,"].jp-RenderedImage, .jp-RenderedImage img')
    expect(pictures).to_have_count(1)
    expect(pictures).to_be_hidden()
    expect(lab.page.locator(".mw-patches")).to_be_visible()


def send(lab: Lab, state: str) -> None:
    """What a front end sends when it sets traits."""
    model = lab.ask_kernel("print(grid.model_id)").strip()
    lab.page.evaluate(
        f"""(id) => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel._comms.get(id)
          .send({{method: "update", state: {state}, buffer_paths: []}})""",
        model,
    )


def test_a_snapshot_taken_by_a_cell_is_stored(lab: Lab) -> None:
    before = stored(lab)
    lab.ask_kernel("grid.layer = 3\nassert grid.snapshot() == 1")
    expect_stored(lab)
    assert stored(lab) != before


def test_a_snapshot_that_the_page_asks_for_is_stored(lab: Lab) -> None:
    before = stored(lab)
    send(lab, "{layer: 5, snapshots: 1}")
    lab.page.wait_for_timeout(300)
    expect_stored(lab)
    assert stored(lab) != before
    assert lab.ask_kernel("print(grid.layer, grid.taken)").split() == ["5", "2"]


def test_a_snapshot_of_another_size_stays_hidden(lab: Lab) -> None:
    lab.ask_kernel(
        "small = mw.PatchMap(question.image.resize((300, 90)), vlm.geometry(question), values, tuple(range(8)))\n"
        "grid.show(small)\ngrid.snapshot()"
    )
    expect_stored(lab)


def test_with_auto_snapshot_the_stored_picture_follows_the_page(lab: Lab) -> None:
    lab.ask_kernel("grid.auto_snapshot = True")
    for layer in (1, 2, 6):
        send(lab, f"{{layer: {layer}}}")
    for _ in range(100):
        if lab.ask_kernel("print(grid.layer == 6 and grid.shots.wait(30))").strip() == "True":
            break
    expect_stored(lab)

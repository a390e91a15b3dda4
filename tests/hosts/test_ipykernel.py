"""The live view under ipykernel 6.31, 7.3 and 7.4, which run a front end's messages on different threads and at different times.

6.31: on the main thread, after the running cell.  7.3: at once, on a thread of their own.  7.4: on the main thread again, and between the awaits of a cell.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jupyter
import pytest
import seen
import story
from lab import Lab, open_lab
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator, expect

VERSIONS = ("6.31.0", "7.3.0", "7.4.0")
BUSY = "import time\ntime.sleep(globals().get('pause', 0))"


def install_kernel(data: Path, beside: Path, version: str) -> str:
    """A kernel of our own environment, with another ipykernel in front of it."""
    name = f"ipykernel-{version}"
    folder = data / "kernels" / name
    folder.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, (str(beside / name), os.environ.get("PYTHONPATH"))))
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": argv, "display_name": name, "language": "python", "env": {"PYTHONPATH": path}}
    (folder / "kernel.json").write_text(json.dumps(kernel))
    return name


@pytest.fixture(params=VERSIONS)
def live(request, server, browser, screenshots: Path, beside: Path, tmp_path: Path) -> Iterator[tuple[Lab, str]]:
    version = request.param
    name = install_kernel(server.home / "data", beside, version)
    notebook = new_notebook(
        cells=[new_code_cell(f"{story.SETUP}\n{story.HEATMAP}"), new_code_cell(BUSY)],
        metadata={"kernelspec": {"name": name, "display_name": name, "language": "python"}},
    )
    with open_lab(browser, server, screenshots) as lab:
        lab.open_notebook(story.store(notebook, tmp_path / f"{name}.ipynb"))
        lab.run_all_cells()
        assert lab.ask_kernel("import ipykernel; print(ipykernel.__version__)").strip() == version
        yield lab, version


def widen(lab: Lab, widget: Locator, window: int) -> None:
    """Move the slider on by its key, and wait until the map for that window is there, in the kernel and on the page."""
    slider = widget.locator("input[type=range]").first
    slider.focus()
    while int(slider.input_value()) < window:
        slider.press("ArrowRight")
    for _ in range(100):
        if lab.ask_kernel("print(heatmap.wait(30) and heatmap.trace.window)").strip() == str(window):
            break
        lab.page.wait_for_timeout(100)
    assert lab.ask_kernel("print(heatmap.trace.window, heatmap.state)").strip() == f"{window} idle"
    expect(widget.get_by_role("status")).to_contain_text("computed in", timeout=seen.WAIT)


def test_a_slider_moves_while_the_kernel_is_idle_and_while_a_cell_runs(live: tuple[Lab, str], pictures: Path) -> None:
    lab, version = live
    output = jupyter.area(lab, 0)
    seen.is_live(output, "heatmap")
    widget = output.locator(story.LIVE["heatmap"])
    widen(lab, widget, 3)
    lab.ask_kernel("pause = 2")
    lab.page.evaluate(
        """() => {
          const app = window.jupyterapp;
          app.shell.currentWidget.content.activeCellIndex = 1;
          void app.commands.execute("notebook:run-cell");
        }"""
    )
    lab.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'busy'"
    )
    widen(lab, widget, 5)
    assert lab.problems() == []
    seen.album(pictures / f"live-ipykernel-{version}.png", {"heatmap": seen.shot(output)})

"""The live map in a real JupyterLab: slider, keyboard, worker, cancel, errors, closing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, open_lab, write_notebook
from playwright.sync_api import Locator, expect

SETUP = """\
import sys
import mllm_widgets as mw
from mllm_widgets.tracing.engine import restored_scores as fast
sys.modules["mllm_widgets.tracing.filling"].restored_scores = fast
vlm = mw.load()
question = mw.datasets.demo_question("Eiffel Tower", "city")
trace = mw.causal_trace(vlm, question, corruption="Taj Mahal")
heatmap = mw.TraceHeatmap(trace)
heatmap"""

# What the picture shows, cell by cell, read back from the canvas's own model through the words a screen reader gets.
MATCHES = """\
import numpy as np
from mllm_widgets.widgets import wire
heatmap.wait(60)
wanted = mw.causal_trace(vlm, question, corruption="Taj Mahal", window={window}).restored.values
print(float(np.abs(wire.array(heatmap.values) - wanted).max()))"""


@pytest.fixture(scope="module")
def lab(server, browser, screenshots: Path, tmp_path_factory) -> Iterator[Lab]:
    """One page and one kernel for all tests here: a JupyterLab takes longer to open than the tests to run."""
    with open_lab(browser, server, screenshots) as lab:
        folder = tmp_path_factory.mktemp("heatmap")
        lab.open_notebook(write_notebook(folder / "heatmap.ipynb", SETUP, "import time; time.sleep(1.5)"))
        yield lab


@pytest.fixture
def heatmap(lab: Lab) -> Locator:
    """A new widget of a new model."""
    lab.page.mouse.move(1, 1)
    lab.run_all_cells()
    widget = lab.page.locator(".mw-heatmap")
    widget.wait_for()
    return widget


def slider(heatmap: Locator) -> Locator:
    return heatmap.locator("input[type=range]")


def spoken(heatmap: Locator, token: str, layer: int) -> str:
    """What the keyboard cursor says at a cell; it is taken there from the top left."""
    grid = heatmap.get_by_role("grid")
    cell = grid.locator("[role=gridcell]")
    grid.focus()
    grid.press("Control+Home")
    for row in range(1, 200):
        expect(cell).to_have_attribute("aria-rowindex", str(row))
        if f"“{token}”, token" in cell.inner_text():
            break
        grid.press("ArrowDown")
    for column in range(1, layer + 1):
        grid.press("ArrowRight")
        expect(cell).to_have_attribute("aria-colindex", str(column + 1))
    return cell.inner_text()


def drag_to(lab: Lab, heatmap: Locator, window: int, layers: int = 8) -> None:
    """Drag the slider's thumb with the pointer, by way of every value between."""
    box = slider(heatmap).bounding_box()
    assert box is not None
    now = int(slider(heatmap).input_value())
    thumb = 16

    def x(value: int) -> float:
        return box["x"] + thumb / 2 + (box["width"] - thumb) * (value - 1) / (layers - 1)

    y = box["y"] + box["height"] / 2
    lab.page.mouse.move(x(now), y)
    lab.page.mouse.down()
    lab.page.mouse.move(x(window), y, steps=10)
    lab.page.mouse.up()


def wait_for_kernel_to_say(lab: Lab, truth: str) -> None:
    """A front end holds a change back while another is on its way, so a question to the kernel may overtake it."""
    for _ in range(50):
        if lab.ask_kernel(f"print({truth})").strip() == "True":
            return
        lab.page.wait_for_timeout(100)
    raise AssertionError(f"the kernel does not say: {truth}")


def complete(heatmap: Locator) -> None:
    expect(heatmap.get_by_role("status")).to_contain_text("computed in", timeout=30_000)


def test_dragging_the_slider_recomputes_the_map(lab: Lab, heatmap: Locator) -> None:
    before = spoken(heatmap, "·building", 0)
    drag_to(lab, heatmap, 3)
    complete(heatmap)
    after = spoken(heatmap, "·building", 0)
    assert before != after
    assert "layers 0–1" in after
    assert float(lab.ask_kernel(MATCHES.format(window=3))) <= 1e-6
    assert lab.ask_kernel("print(heatmap.trace.window)").strip() == "3"


def test_the_keyboard_does_all_of_it(lab: Lab, heatmap: Locator) -> None:
    slider(heatmap).focus()
    for _ in range(4):
        slider(heatmap).press("ArrowRight")
    complete(heatmap)
    assert float(lab.ask_kernel(MATCHES.format(window=5))) <= 1e-6
    text = spoken(heatmap, "·building", 2)
    found = re.search(r"P\(Paris\) ([\d.]+(?:e−\d+)?)", text)
    assert found is not None
    value = float(found[1].replace("−", "-"))
    real = float(
        lab.ask_kernel("print(float(heatmap.trace.restored.sel(module='mlp', layer=2, token=trace.constraint[-1])))")
    )
    assert abs(value - real) < 6e-4
    grid = heatmap.get_by_role("grid")
    grid.press("m")
    expect(heatmap.get_by_role("radio", name="Self-attention")).to_be_checked()
    expect(grid.locator("[role=gridcell]")).to_contain_text("Self-attention")
    grid.press("Enter")
    wait_for_kernel_to_say(lab, "heatmap.selected[1:] == [2] and heatmap.module == 'self_attn'")
    grid.press("Escape")
    wait_for_kernel_to_say(lab, "heatmap.selected == []")


def test_the_pointer_shows_and_pins_a_cell(lab: Lab, heatmap: Locator) -> None:
    canvas = heatmap.locator(".mw-cells")
    box = canvas.bounding_box()
    assert box is not None
    lab.page.mouse.move(box["x"] + box["width"] - 40, box["y"] + 250)
    tooltip = heatmap.get_by_role("tooltip")
    expect(tooltip).to_contain_text("layer 7")
    lab.page.mouse.move(box["x"] + box["width"] - 40, box["y"] + 30)
    expect(tooltip).to_contain_text("before the constraint")
    lab.page.mouse.click(box["x"] + box["width"] - 40, box["y"] + 250)
    wait_for_kernel_to_say(lab, "heatmap.selected[1:] == [7]")


RECORD = """\
import time
asked, submit, begun = [], heatmap._jobs.submit, heatmap._jobs.started
def recorded(window):
    asked.append(time.monotonic())
    submit(window)
heatmap._jobs.submit = recorded"""


def test_ten_quick_moves_cost_at_most_two_computations(lab: Lab, heatmap: Locator) -> None:
    lab.ask_kernel(RECORD)
    slider(heatmap).focus()
    for key in ["ArrowRight"] * 6 + ["ArrowLeft"] * 4:  # ends at window 3
        # not the slider's own press, which looks for the slider each time and is no quick move
        lab.page.keyboard.press(key)
    complete(heatmap)
    wait_for_kernel_to_say(lab, "heatmap.wait(60) and heatmap.trace.window == 3")
    # on a busy machine moves may reach the kernel so far apart that they are no burst; each such pause may cost one more
    pauses = "sum(b - a >= heatmap._jobs._settle for a, b in zip(asked, asked[1:]))"
    computations, allowed = lab.ask_kernel(f"print(heatmap._jobs.started - begun, 2 + {pauses})").split()
    assert int(computations) <= int(allowed)
    assert float(lab.ask_kernel(MATCHES.format(window=3))) <= 1e-6


def test_a_busy_cell_does_not_break_it(lab: Lab, heatmap: Locator) -> None:
    lab.page.evaluate(
        "() => { const n = window.jupyterapp.shell.currentWidget.content; n.activeCellIndex = 1;"
        " void window.jupyterapp.commands.execute('notebook:run-cell'); }"
    )
    lab.page.wait_for_timeout(200)
    drag_to(lab, heatmap, 4)
    complete(heatmap)
    assert float(lab.ask_kernel(MATCHES.format(window=4))) <= 1e-6


def test_cells_of_the_model_and_the_worker_take_turns(lab: Lab, heatmap: Locator) -> None:
    answers = lab.ask_kernel(
        "heatmap.window = 6\nprint([mw.ask(vlm, question).text for _ in range(5)])\nheatmap.wait(60)"
    )
    assert answers.strip() == str(["Paris"] * 5)
    complete(heatmap)
    assert float(lab.ask_kernel(MATCHES.format(window=6))) <= 1e-6


SLOW = """\
import sys, time
module = sys.modules["mllm_widgets.tracing.filling"]
def slow(*arguments, **options):
    time.sleep(0.4)
    return fast(*arguments, **options)
module.restored_scores = slow
heatmap._batch_size = 16"""


def test_running_shows_progress_and_cancel_puts_the_old_map_back(lab: Lab, heatmap: Locator) -> None:
    lab.ask_kernel(SLOW)
    drag_to(lab, heatmap, 3)
    expect(heatmap.get_by_role("progressbar")).to_be_visible()
    expect(heatmap.get_by_role("status")).to_contain_text("computing window 3")
    lab.page.wait_for_timeout(900)
    lab.screenshot("live-running", heatmap)
    heatmap.get_by_role("button", name="Cancel").click()
    expect(heatmap.get_by_role("status")).to_contain_text("window 3 was cancelled")
    expect(slider(heatmap)).to_have_value("1")
    assert float(lab.ask_kernel(MATCHES.format(window=1))) <= 1e-6


def test_an_error_is_shown_and_the_old_map_stays(lab: Lab, heatmap: Locator) -> None:
    lab.ask_kernel(
        'import sys\nmodule = sys.modules["mllm_widgets.tracing.filling"]\n'
        "def fail(*_, **__): raise MemoryError('out of memory: tried to get 3 TiB')\n"
        "module.restored_scores = fail"
    )
    drag_to(lab, heatmap, 3)
    expect(heatmap.get_by_role("status")).to_contain_text("window 3 could not be computed")
    expect(heatmap.get_by_role("status")).to_contain_text("batch_size=48")
    expect(slider(heatmap)).to_have_value("1")
    lab.screenshot("live-error", heatmap)
    lab.ask_kernel("module.restored_scores = fast")
    drag_to(lab, heatmap, 3)
    complete(heatmap)
    assert float(lab.ask_kernel(MATCHES.format(window=3))) <= 1e-6


def test_closing_the_widget_stops_its_worker(lab: Lab, heatmap: Locator) -> None:
    lab.ask_kernel(SLOW)
    drag_to(lab, heatmap, 3)
    expect(heatmap.get_by_role("status")).to_contain_text("computing")
    alive = lab.ask_kernel(
        "import threading\n"
        "heatmap.close()\n"
        "heatmap.wait(10)\n"
        "print(sum(t.name == 'mllm_widgets worker' for t in threading.enumerate()))"
    )
    assert alive.strip() == "0"
    expect(lab.page.locator(".mw-heatmap")).to_have_count(0)


def test_interrupting_the_kernel_leaves_the_model_as_it_was(lab: Lab, heatmap: Locator) -> None:
    lab.ask_kernel(SLOW + "\nimport torch\nbefore = vlm.model(**vlm.encode(question).inputs).logits.detach()")
    lab.page.evaluate(
        """async () => {
          const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          const future = kernel.requestExecute({
            code: "while True: mw.causal_trace(vlm, question, corruption='Big Ben', batch_size=16)",
            store_history: false});
          await new Promise((done) => setTimeout(done, 700));
          await kernel.interrupt();
          await future.done;
        }"""
    )
    assert (
        lab.ask_kernel("print(torch.equal(vlm.model(**vlm.encode(question).inputs).logits, before))").strip() == "True"
    )
    lab.ask_kernel("module.restored_scores = fast")
    drag_to(lab, heatmap, 3)
    complete(heatmap)
    assert float(lab.ask_kernel(MATCHES.format(window=3))) <= 1e-6


def test_the_picture_gives_way_to_the_live_map(lab: Lab, heatmap: Locator) -> None:
    picture = lab.output(0).locator("img")
    expect(picture).to_be_hidden()
    kinds = [set(output["data"]) for output in lab.outputs(0) if "data" in output]
    assert any("image/png" in kind for kind in kinds)
    lab.ask_kernel("heatmap.close()")
    expect(picture).to_be_visible()

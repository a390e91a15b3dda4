"""How quickly the live map answers the slider, in a real JupyterLab in headless Chromium:  python benchmarks/live.py

Times run in the page, from the slider's `change` event (the pointer's release, or a key) to the canvas being drawn: with the first cells of the
new window, and with all of them.  Nothing is cached: every move asks for a window that was not computed before.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))

from browser_fixtures import CHROMIUM_FLAGS, chromium
from lab import JupyterServer, Lab, open_lab, write_notebook

NOTEBOOK = """\
import mllm_widgets as mw
vlm = mw.load()
question = mw.datasets.demo_question("Eiffel Tower", "city")
heatmap = mw.TraceHeatmap(mw.causal_trace(vlm, question, corruption="Taj Mahal"))
heatmap"""

# Resolves to milliseconds [first new cells drawn, whole map drawn] after the slider's next change event.
WATCH = """
() => { window.measured = new Promise((resolve) => {
  const box = document.querySelector(".mw-map"), slider = document.querySelector(".mw-heatmap input[type=range]");
  let start = 0, first = 0;
  slider.addEventListener("change", (event) => { start = event.timeStamp; }, {once: true});
  new MutationObserver((_, observer) => {
    const drawn = box.dataset.drawn;
    if (!start || !drawn.startsWith(`window ${slider.value}:`)) return;
    if (!first && !drawn.includes(": 0 cells")) first = performance.now();
    if (!drawn.includes("complete")) return;
    observer.disconnect();
    resolve([first - start, performance.now() - start]);
  }).observe(box, {attributes: true, attributeFilter: ["data-drawn"]});
}); }
"""


def measure(lab: Lab, window: int) -> list[float]:
    slider = lab.page.locator(".mw-heatmap input[type=range]")
    box = slider.bounding_box()
    assert box is not None
    x, y = box["x"] + 8 + (box["width"] - 16) * (window - 1) / 7, box["y"] + box["height"] / 2
    now = int(slider.input_value())
    lab.page.mouse.move(box["x"] + 8 + (box["width"] - 16) * (now - 1) / 7, y)
    lab.page.evaluate(WATCH)
    lab.page.mouse.down()
    lab.page.mouse.move(x, y)  # one move: the slider passes no other window
    lab.page.mouse.up()
    return lab.page.evaluate("window.measured")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="widgets to make; each is asked for windows 2 to 8 once")
    rounds = parser.parse_args().rounds
    times = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        notebooks, home = Path(folder, "notebooks"), Path(folder, "home")
        notebooks.mkdir()
        home.mkdir()
        server = JupyterServer(notebooks, home)
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_FLAGS))
        try:
            server.start()
            with open_lab(browser, server, home) as lab:
                lab.open_notebook(write_notebook(Path(folder, "live.ipynb"), NOTEBOOK))
                for _ in range(rounds):
                    lab.run_all_cells()
                    lab.page.locator(".mw-map[data-drawn*=complete]").wait_for()
                    times += [measure(lab, window) for window in (3, 2, 5, 4, 7, 6, 8)]
        finally:
            server.stop()
            browser.close()
    for name, values in zip(("first new cells", "complete map"), zip(*times, strict=True), strict=True):
        print(
            f"{name:16} median {statistics.median(values):5.0f} ms   slowest {max(values):5.0f} ms   ({len(values)} moves)"
        )


if __name__ == "__main__":
    main()

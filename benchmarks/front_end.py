"""Front end, measured in headless Chromium without a kernel:  python benchmarks/front_end.py

Sizes of the bundles; first paint, from `render()` to the frame that shows the cells, of maps of 32 layers; frames a second while a slider that needs no
kernel is dragged, beside what the same browser reaches on a page that only counts frames.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))

from browser_fixtures import CHROMIUM_FLAGS, chromium
from host import host, plain

import mllm_widgets as mw
from mllm_widgets.results import Answer, TokenInfo, Trace
from mllm_widgets.vlm.geometry import Grid, VisualGeometry

STATIC = Path(mw.__file__).parent / "static"
LAYERS = 32

# Renders the widget `rounds` times, one after the other in an empty page; milliseconds until the frame with its cells was handed on.
PAINT = """
async ({esm, css, state, rounds}) => {
  const bytes = (v) => Uint8Array.from(atob(v), (c) => c.charCodeAt(0));
  const revive = (v) => {
    if (Array.isArray(v)) return v.map(revive);
    if (v && typeof v === "object") {
      if ("$bytes" in v) return new DataView(bytes(v.$bytes).buffer);
      return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, revive(x)]));
    }
    return v;
  };
  document.head.append(Object.assign(document.createElement("style"), {textContent: css}));
  const module = await import(URL.createObjectURL(new Blob([esm], {type: "text/javascript"})));
  const frame = () => new Promise(requestAnimationFrame);
  // a task behind the frame: by then it is laid out, drawn and handed to the compositor
  const painted = () => new Promise((done) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  }));
  const times = [];
  for (let round = 0; round < rounds; round++) {
    const values = revive(state), heard = {};
    const model = {
      get: (k) => values[k], set: (k, v) => { values[k] = v; }, save_changes: () => {}, send: () => {},
      on: (name, f) => { (heard[name] ??= []).push(f); }, off: () => {},
    };
    const el = document.createElement("div"), stop = new AbortController();
    document.body.append(el);
    await frame();
    const start = performance.now();
    await module.default.render({model, el, signal: stop.signal});
    while (!el.querySelector(".mw-map")?.dataset.drawn) await frame();
    await painted();
    times.push(performance.now() - start);
    stop.abort();
    el.remove();
    await frame();
  }
  return times;
}
"""

# Moves a slider to and fro once a frame for some seconds; frames a second, and the slowest frame in milliseconds.
DRAG = """
async ({selector, seconds}) => {
  const slider = selector && document.querySelector(selector);
  let from = 0, to = 0, at = 0, way = 1;
  if (slider) { from = Number(slider.min || 0); to = Number(slider.max); at = from; }
  const frame = () => new Promise(requestAnimationFrame);
  let last = await frame(), longest = 0, frames = 0;
  const start = last;
  while (last - start < 1000 * seconds) {
    if (slider) {
      if (at + way > to || at + way < from) way = -way;
      at += way;
      slider.value = String(at);
      slider.dispatchEvent(new Event("input", {bubbles: true}));
    }
    const now = await frame();
    longest = Math.max(longest, now - last);
    last = now;
    frames++;
  }
  return [1000 * frames / (last - start), longest];
}
"""


def trace(tokens: int) -> mw.TraceHeatmap:
    """A trace of 32 layers by that many text tokens, all of them traced."""
    values = np.random.default_rng(0).random((2, LAYERS, tokens), dtype=np.float32)
    axes = {"module": ["mlp", "self_attn"], "layer": np.arange(LAYERS), "token": np.arange(tokens)}
    ids = np.arange(tokens)
    return mw.TraceHeatmap(
        Trace(
            restored=xr.DataArray(values, dims=("module", "layer", "token"), coords=axes, name="restored"),
            clean=0.9,
            corrupted=0.1,
            answer=Answer("Paris", " Paris", 0, 0.9, np.array([0.9, 0.1], np.float32), (" Paris", " Rome")),
            answer_token=" Paris",
            window=1,
            warnings=(),
            rows=tuple(TokenInfo(i, i, f" word{i}") for i in range(tokens)),
            constraint=(1,),
            input_ids=ids,
            corrupted_input_ids=ids + 1,
            corruption="Taj Mahal",
            fitted="exact",
            question="Which city is this building in?",
            model="none",
        )
    )


def patches(rows: int, columns: int) -> mw.PatchGrid:
    """Values of 32 layers on a grid of patches."""
    count = rows * columns
    geometry = VisualGeometry((Grid(np.arange(count).reshape(rows, columns), (0, 0, 336, 336)),), count, (336, 336))
    values = np.random.default_rng(0).random((LAYERS, count)) ** 4
    picture = Image.effect_mandelbrot((336, 336), (-2, -1.5, 1, 1.5), 60).convert("RGB")
    return mw.PatchGrid(mw.PatchMap(picture, geometry, values, tuple(range(LAYERS))))


def paint(page: Page, widget: Any, rounds: int) -> str:
    """Median and range of some first paints, the first of all left out: it compiles the bundle."""
    page.set_viewport_size({"width": 900, "height": 700})
    page.goto("about:blank")
    left_out = ("layout", "tabbable", "tooltip")
    state = {k: v for k, v in widget.get_state().items() if not k.startswith("_") and k not in left_out}
    given = {"esm": str(widget._esm), "css": str(widget._css), "state": plain(state), "rounds": rounds + 1}
    first, *times = page.evaluate(PAINT, given)
    return (
        f"median {statistics.median(times):.0f} ms ({min(times):.0f} to {max(times):.0f}; with compilation {first:.0f})"
    )


def drag(page: Page, widget: Any, selector: str, seconds: float, **changes: Any) -> str:
    host(page, widget, width=900, height=700, changes=changes)
    frames, longest = page.evaluate(DRAG, {"selector": selector, "seconds": seconds})
    return f"{frames:.0f} frames a second, slowest frame {longest:.0f} ms"


def edit_panel() -> mw.EditPanel:
    vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower", "city")
    panel = mw.EditPanel(vlm, question, steps=12)
    panel.make("Rome", layer=2)
    if not panel.wait(300) or panel.error:
        raise SystemExit(f"no edit to measure: {panel.error}")
    return panel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="first paints of each map")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each drag")
    options = parser.parse_args()
    for path in sorted(STATIC.glob("*.js")):
        print(f"bundle {path.name}: {path.stat().st_size / 1000:.1f} kB")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_FLAGS))
        page = browser.new_page()
        print(f"Chromium {browser.version}, headless")
        for name, widget in (
            ("trace map 32 x 64", trace(64)),
            ("trace map 32 x 2,880", trace(2880)),
            ("patch grid 32 x 64", patches(8, 8)),
            ("patch grid 32 x 2,880", patches(48, 60)),
        ):
            print(f"first paint, {name}: {paint(page, widget, options.rounds)}", flush=True)
        page.goto("about:blank")
        frames, longest = page.evaluate(DRAG, {"selector": "", "seconds": options.seconds})
        print(f"nothing but frames: {frames:.0f} frames a second, slowest frame {longest:.0f} ms")
        layer = ".mw-patches input[type=range]"
        print(f"layer slider, 24 x 24 patches x 32 layers: {drag(page, patches(24, 24), layer, options.seconds)}")
        lam = ".mw-editing input[type=range]"
        panel = edit_panel()
        print(f"lambda slider, 33 lambdas of the demo: {drag(page, panel, lam, options.seconds)}")
        panel.close()
        frozen = mw.TraceHeatmap(mw.causal_trace(mw.load(), mw.datasets.demo_question("Eiffel Tower", "city")))
        frozen.freeze()
        frozen.wait(300)
        window = ".mw-heatmap input[type=range]"
        print(f"window slider, frozen maps of the demo: {drag(page, frozen, window, options.seconds, offline=True)}")
        frozen.close()
        browser.close()


if __name__ == "__main__":
    main()

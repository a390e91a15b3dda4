"""A bare page that hosts one widget without Jupyter: its traits go in as they would over the wire, and the kernel never answers.

For what a picture looks like in every state, at every width and in both themes; what the kernel does is tested in a real JupyterLab.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from playwright.sync_api import Frame, Page

AXE = Path(__file__).resolve().parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"

# An anywidget model without a kernel: get, set, on, off, and a log of what was sent.
_HOST = """
async ({esm, css, state, dark, shadow}) => {
  const bytes = (v) => Uint8Array.from(atob(v), (c) => c.charCodeAt(0));
  const revive = (v) => {
    if (Array.isArray(v)) return v.map(revive);
    if (v && typeof v === "object") {
      if ("$bytes" in v) return new DataView(bytes(v.$bytes).buffer);
      return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, revive(x)]));
    }
    return v;
  };
  document.documentElement.className = dark ? "dark" : "light";
  document.body.style.cssText = `margin:0;background:${dark ? "#111" : "#fff"}`;
  const around = document.createElement("div");
  const tree = shadow ? around.attachShadow({mode: "open"}) : around;
  (shadow ? tree : document.head).append(Object.assign(document.createElement("style"), {textContent: css}));
  const values = revive(state), heard = {}, saved = [], sent = [];
  let pending = {};
  const model = {
    get: (k) => values[k],
    set: (k, v) => { values[k] = v; pending[k] = v; for (const f of heard[`change:${k}`] ?? []) f(); },
    save_changes: () => { saved.push(pending); pending = {}; },
    on: (name, f) => { (heard[name] ??= []).push(f); },
    off: () => {},
    send: (content) => { sent.push(content); },
  };
  window.widget = {
    saved,
    sent,
    receive: (changes) => { for (const [k, v] of Object.entries(revive(changes))) { values[k] = v; }
      for (const k of Object.keys(changes)) for (const f of heard[`change:${k}`] ?? []) f(); },
  };
  const url = URL.createObjectURL(new Blob([esm], {type: "text/javascript"}));
  const module = await import(url);
  const el = document.createElement("div");
  tree.append(el);
  document.body.append(shadow ? around : el);
  window.widget.abort = new AbortController();
  await module.default.render({model, el, signal: window.widget.abort.signal});
}
"""


def plain(value: Any) -> Any:
    """A trait's value as JSON, bytes marked for the page."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def host(
    page: Page,
    widget: Any,
    *,
    width: int = 800,
    height: int = 640,
    dark: bool = False,
    changes: dict[str, Any] | None = None,
) -> None:
    """Show `widget` alone on `page`, some traits replaced by `changes`."""
    page.set_viewport_size({"width": width, "height": height})
    page.goto("about:blank")
    put(page.main_frame, widget, dark=dark, changes=changes)
    settle(page)


def put(
    frame: Frame, widget: Any, *, dark: bool = False, changes: dict[str, Any] | None = None, shadow: bool = False
) -> None:
    """Show `widget` in a frame that is empty; `shadow` as marimo does, in a tree of its own with its styles."""
    state = {
        k: v
        for k, v in widget.get_state().items()
        if not k.startswith("_") and k not in ("layout", "tabbable", "tooltip")
    }
    given = {"esm": str(widget._esm), "css": str(widget._css), "state": plain({**state, **(changes or {})})}
    frame.evaluate(_HOST, {**given, "dark": dark, "shadow": shadow})


def receive(page: Page, **changes: Any) -> None:
    """What the kernel would send: new values for some traits."""
    page.evaluate("(changes) => window.widget.receive(changes)", plain(changes))
    settle(page)


def settle(page: Page) -> None:
    """Wait until the widget is laid out and drawn: one frame until its observers say its size, one to draw, one to spare; and its pictures read."""
    page.evaluate(
        """async () => {
          await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
          for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
        }"""
    )


def serious_faults(page: Page) -> list[str]:
    """What axe-core finds wrong with the widget, the smaller matters left out."""
    page.add_script_tag(path=AXE)
    found = page.evaluate("async () => (await axe.run('body > div', {resultTypes: ['violations']})).violations")
    return [
        f"{v['id']}: {v['help']}: {[node['html'] for node in v['nodes']]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]

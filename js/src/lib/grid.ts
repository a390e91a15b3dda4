// The grid over a canvas: what pointer, keyboard and screen reader find in the place of the cells that are only drawn.

import { element, uniqueName } from "./dom";
import { ownKeys } from "./keys";
import { onThemeChange } from "./theme";

export interface Grid {
  node: HTMLElement;
  cell: HTMLElement; // says what the cursor is at
  focused: () => boolean; // by keyboard
  /** Hears of events; each is followed by `redraw`. */
  listen: <K extends keyof HTMLElementEventMap>(type: K, action: (event: HTMLElementEventMap[K]) => void) => void;
  /** Hears of keys; `take` says whether a key is one of the grid's own. */
  keys: (take: (event: KeyboardEvent) => boolean) => void;
}

export function canvasGrid(attributes: Record<string, string>, redraw: () => void, signal: AbortSignal): Grid {
  const id = uniqueName("cell");
  const cell = element("div", { role: "gridcell", id, class: "mw-sr" });
  const node = element(
    "div",
    { class: "mw-grid", role: "grid", tabindex: 0, "aria-activedescendant": id, ...attributes },
    element("div", { role: "row", class: "mw-sr" }, cell),
  );
  const listen: Grid["listen"] = (type, action) => {
    const heard = (event: HTMLElementEventMap[typeof type]) => {
      action(event);
      redraw();
    };
    node.addEventListener(type, heard, { signal });
  };
  return {
    node,
    cell,
    focused: () => node.matches(":focus-visible"),
    listen,
    keys: (take) => listen("keydown", ownKeys(take)),
  };
}

/** Draws again when a box changes its size or comes into sight, and when the page changes its theme. */
export function redrawWith(box: HTMLElement, redraw: () => void, signal: AbortSignal): void {
  const resized = new ResizeObserver(redraw);
  resized.observe(box);
  // a windowed notebook may drop a canvas that was scrolled out of sight
  const seen = new IntersectionObserver(redraw);
  seen.observe(box);
  signal.addEventListener("abort", () => {
    resized.disconnect();
    seen.disconnect();
  });
  onThemeChange(redraw, signal);
}

// The map itself: canvas, pointer, keyboard, tooltip, legend.

import { inkOf } from "../lib/canvas";
import { copyText } from "../lib/copy";
import { element, perFrame } from "../lib/dom";
import { canvasGrid, redrawWith } from "../lib/grid";
import { themeOf } from "../lib/theme";
import { Tooltip } from "../lib/tooltip";
import { moved } from "./cursor";
import { drawLabels, drawMap, drawScale, widestLabel } from "./draw";
import { AXIS, cellAt, cellBox, type Layout, layout } from "./layout";
import { overview } from "./overview";
import type { Cell, Model } from "./state";
import { cellOf, isStale, Values } from "./state";
import { asSentence, describe, summary } from "./words";

const KEYS = "Arrows move, Enter pins; ? lists all keys.";

export function mapView(
  model: Model,
  root: HTMLElement,
  signal: AbortSignal,
): { nodes: HTMLElement[]; draw: () => void; update: () => void } {
  const canvas = element("canvas", { class: "mw-cells", "aria-hidden": "true" });
  const { node: grid, cell: cellNode, focused, listen, keys: hearKeys } = canvasGrid({}, () => redraw(), signal);
  const labels = element("canvas", { class: "mw-labels", "aria-hidden": "true" });
  const scroller = element("div", { class: "mw-scroller" }, canvas, labels, grid);
  const tooltip = new Tooltip(grid);
  const box = element("div", { class: "mw-map" }, scroller, tooltip.node);
  const legend = element("canvas", { "aria-hidden": "true" });
  const caption = element("p", { class: "mw-caption" });
  const keys = element("p", { class: "mw-keys" }, KEYS);
  const said = element("p", { class: "mw-said", role: "status" });
  const foot = element(
    "div",
    { class: "mw-foot" },
    element("div", {}, element("span", {}, "indirect effect"), legend),
    caption,
    keys,
    said,
  );

  let place = layout(600, 1, 1, 100);
  let pointer: Cell | undefined;
  let cursor: Cell = startOf(model);
  let dismissed = model.get("token") >= 0; // a cell that nobody has pointed at here says nothing yet
  let pinning = false;
  let opened = false; // was a tall map scrolled to where there is something to see?
  const pinned = (): Cell | undefined => {
    const [row, layer] = model.get("selected");
    return row === undefined || layer === undefined ? undefined : { row, layer };
  };
  /** Is a cell neither scrolled away nor under the labels or the layer numbers? */
  const inSight = (cell: Cell) => {
    const { x, y, width, height } = cellBox(place, cell);
    const [across, down] = [x + width / 2 - scroller.scrollLeft, y + height / 2 - scroller.scrollTop];
    return across > place.left && across < scroller.clientWidth && down > 0 && down < place.view - AXIS + 2;
  };
  const active = () => pointer ?? (focused() ? cursor : pinned());

  const draw = () => {
    if (!box.clientWidth) return; // not laid out: the ResizeObserver calls again
    const theme = themeOf(root);
    root.dataset.theme = theme;
    const ink = inkOf(root);
    const rows = model.get("rows");
    const whole = root.closest(".mw-print") !== null;
    place = layout(box.clientWidth, rows.length, model.get("layers"), widestLabel(rows, ink.font), whole);
    const tall = place.view < place.height;
    scroller.classList.toggle("mw-tall", tall);
    scroller.style.gridTemplateRows = tall ? `${place.height}px` : "";
    scroller.style.maxHeight = tall ? `${place.view + scroller.offsetHeight - scroller.clientHeight}px` : "";
    if (tall && !opened) scroller.scrollTop = cellBox(place, startOf(model)).y - place.view / 2;
    opened = true;
    const at = active();
    const marks = { cursor: at, focused: focused() && !pointer, pinned: pinned() };
    const scrolled = { left: scroller.scrollLeft, top: scroller.scrollTop };
    const fresh = drawMap(canvas, place, model, theme, ink, marks, scrolled);
    drawLabels(labels, place, rows, ink, marks, scrolled);
    scroller.classList.toggle("mw-scrolled", scroller.scrollLeft > 0);
    // what the canvas holds now, for tests and benchmarks, which cannot read it otherwise
    box.dataset.drawn = `window ${model.get("window")}: ${fresh} cells${isStale(model) ? "" : ", complete"}`;
    canvas.dataset.cellWidth = String(place.cellWidth);
    const row = at && rows[at.row];
    drawScale(legend, model, theme, ink, at && row ? new Values(model).effect(row, at.layer) : undefined);
    caption.textContent = reason(model);
    grid.style.width = `${place.width}px`;
    grid.style.height = `${place.height}px`;
    grid.setAttribute("aria-rowcount", String(rows.length));
    grid.setAttribute("aria-colcount", String(model.get("layers")));
    grid.setAttribute("aria-label", summary(model));
    cellNode.textContent = asSentence(model, cursor);
    cellNode.setAttribute("aria-rowindex", String(cursor.row + 1));
    cellNode.setAttribute("aria-colindex", String(cursor.layer + 1));
    if (at && !dismissed && inSight(at)) {
      const on = cellBox(place, at);
      tooltip.show(describe(model, at), `layer ${at.layer}`, {
        ...on,
        x: on.x - scrolled.left,
        y: on.y - scrolled.top,
      });
    } else tooltip.hide();
  };
  const redraw = perFrame(draw, signal);

  const pin = (cell: Cell | undefined) => {
    const now = pinned();
    const same = cell && now && now.row === cell.row && now.layer === cell.layer;
    const row = cell && !same ? model.get("rows")[cell.row] : undefined;
    pinning = true;
    if (cell && row) model.set("layer", cell.layer);
    model.set("token", row ? row.position : -1);
    model.set("selected", cell && row ? [cell.row, cell.layer] : []);
    pinning = false;
    model.save_changes();
  };
  const under = ({ offsetX: x, offsetY: y }: PointerEvent | MouseEvent) => {
    const covered = x - scroller.scrollLeft < place.left || y - scroller.scrollTop > place.view - AXIS;
    return covered ? undefined : cellAt(place, x, y);
  };
  const copy = async (cell: Cell) => {
    said.textContent = await copied(model, cell);
  };

  listen("pointermove", (event) => {
    pointer = under(event);
    dismissed = false;
  });
  listen("pointerleave", () => {
    pointer = undefined;
  });
  listen("click", (event) => {
    const cell = under(event);
    if (!cell) return;
    cursor = cell;
    pin(cell);
  });
  listen("focus", () => {
    dismissed = false;
  });
  listen("blur", () => {});
  hearKeys(({ key, ctrlKey }) => {
    said.textContent = "";
    const to = moved(cursor, key, ctrlKey, model.get("rows").length, model.get("layers"));
    if (to) {
      cursor = to;
      pointer = undefined;
      dismissed = false;
      reveal(scroller, place, cursor);
    } else if (key === "Enter" || key === " ") pin(cursor);
    else if (key === "Escape") {
      dismissed = true;
      if (pinned()) pin(undefined);
    } else if (key === "c" && !ctrlKey) void copy(cursor);
    else if (key === "m" && !ctrlKey) nextModule(model);
    else return false;
    return true;
  });

  // linked to another widget, which knows tokens and no rows
  const follow = () => {
    const cell = cellOf(model.get("rows"), model.get("token"), model.get("layer"));
    if (pinning || String(cell) === String(model.get("selected"))) return;
    if (cell[0] !== undefined && cell[1] !== undefined) cursor = { row: cell[0], layer: cell[1] };
    dismissed = true;
    model.set("selected", cell);
    model.save_changes();
  };
  model.on("change:token", follow);
  model.on("change:layer", follow);

  redrawWith(box, redraw, signal);
  scroller.addEventListener("scroll", redraw, { signal });
  return { nodes: [box, foot], draw, update: redraw };
}

/** Scrolls a wide or tall map so that a cell is in sight, and neither under the labels nor under the layer numbers. */
function reveal(scroller: HTMLElement, place: Layout, cell: Cell): void {
  const { x, y, width, height } = cellBox(place, cell);
  const last = x + width + 1 - scroller.clientWidth;
  const first = x - place.left;
  scroller.scrollLeft = Math.min(Math.max(scroller.scrollLeft, last), first);
  const lowest = y + height + AXIS - place.view;
  scroller.scrollTop = Math.min(Math.max(scroller.scrollTop, lowest), y - place.top);
}

/** The keyboard begins at the last constraint token, where there is something to see. */
function startOf(model: Model): Cell {
  const row = model.get("rows").findLastIndex(({ constraint }) => constraint);
  return { row: Math.max(0, row), layer: 0 };
}

/** Copies a cell's effect, and says what came of it. */
async function copied(model: Model, cell: Cell): Promise<string> {
  const row = model.get("rows")[cell.row];
  const effect = row ? new Values(model).effect(row, cell.layer) : Number.NaN;
  if (Number.isNaN(effect)) return "There is no value here to copy.";
  if (await copyText(String(effect))) return `Copied ${effect}.`;
  return `The browser does not let this page copy. The value is ${effect}.`;
}

function nextModule(model: Model): void {
  const keys = model.get("modules").map(({ key }) => key);
  const next = keys[(keys.indexOf(model.get("module")) + 1) % keys.length];
  if (next === undefined) return;
  model.set("module", next);
  model.save_changes();
}

/** What the marks mean, those that are there: why rows are striped (the row of visual tokens has a reason of its own), and what is drawn on cells. */
function reason(model: Model): string {
  const untraced = model.get("rows").filter(({ traced }) => !traced);
  const reasons = [...new Set(untraced.map((row) => row.reason))].filter(Boolean);
  const parts = reasons.length ? [`Striped rows: ${reasons.join("; ")}.`] : [];
  if (isStale(model)) return parts.join("");
  const { unknown, outside } = overview(model);
  if (unknown) parts.push("Crossed: not known.");
  if (outside) parts.push("Triangle: beyond the scale.");
  return parts.join(" ");
}

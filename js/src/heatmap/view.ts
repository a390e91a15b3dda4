// The map itself: canvas, pointer, keyboard, tooltip, legend.

import { inkOf } from "../lib/canvas";
import { beyondLimit } from "../lib/color";
import { copyText } from "../lib/copy";
import { element, perFrame } from "../lib/dom";
import { canvasGrid, redrawWith } from "../lib/grid";
import { themeOf } from "../lib/theme";
import { Tooltip } from "../lib/tooltip";
import { moved } from "./cursor";
import { drawLabels, drawMap, drawScale, widestLabel } from "./draw";
import { cellAt, cellBox, layout } from "./layout";
import type { Cell, Model } from "./state";
import { cellOf, isStale, onShow, Values } from "./state";
import { asSentence, describe, summary } from "./words";

const KEYS = "Arrows move, Enter pins; ? lists all keys.";

export function mapView(
  model: Model,
  root: HTMLElement,
  signal: AbortSignal,
): { nodes: HTMLElement[]; update: () => void } {
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
  const pinned = (): Cell | undefined => {
    const [row, layer] = model.get("selected");
    return row === undefined || layer === undefined ? undefined : { row, layer };
  };
  /** Is a cell neither scrolled away to the right nor under the labels? */
  const inSight = (cell: Cell) => {
    const middle = cellBox(place, cell).x + place.cellWidth / 2 - scroller.scrollLeft;
    return middle > place.left && middle < scroller.clientWidth;
  };
  const active = () => pointer ?? (focused() ? cursor : pinned());

  const draw = () => {
    if (!box.clientWidth) return; // not laid out: the ResizeObserver calls again
    const theme = themeOf(root);
    root.dataset.theme = theme;
    const ink = inkOf(root);
    const rows = model.get("rows");
    place = layout(box.clientWidth, rows.length, model.get("layers"), widestLabel(rows, ink.font));
    const at = active();
    const marks = { cursor: at, focused: focused() && !pointer, pinned: pinned() };
    const fresh = drawMap(canvas, place, model, theme, ink, marks, scroller.scrollLeft);
    drawLabels(labels, place, rows, ink, marks);
    scroller.classList.toggle("mw-scrolled", scroller.scrollLeft > 0);
    // what the canvas holds now, for tests and benchmarks, which cannot read it otherwise
    box.dataset.drawn = `window ${model.get("window")}: ${fresh} cells${isStale(model) ? "" : ", complete"}`;
    canvas.dataset.cellWidth = String(place.cellWidth);
    const row = at && rows[at.row];
    drawScale(legend, model, theme, ink, at && row ? new Values(model).effect(row, at.layer) : undefined);
    caption.textContent = reason(model);
    grid.style.width = canvas.style.width;
    grid.style.height = canvas.style.height;
    grid.setAttribute("aria-rowcount", String(rows.length));
    grid.setAttribute("aria-colcount", String(model.get("layers")));
    grid.setAttribute("aria-label", summary(model));
    cellNode.textContent = asSentence(model, cursor);
    cellNode.setAttribute("aria-rowindex", String(cursor.row + 1));
    cellNode.setAttribute("aria-colindex", String(cursor.layer + 1));
    if (at && !dismissed && inSight(at)) {
      const on = cellBox(place, at);
      tooltip.show(describe(model, at), `layer ${at.layer}`, { ...on, x: on.x - scroller.scrollLeft });
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
  const under = (event: PointerEvent | MouseEvent) =>
    event.offsetX - scroller.scrollLeft < place.left ? undefined : cellAt(place, event.offsetX, event.offsetY);
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
      reveal(scroller, cellBox(place, cursor), place.left);
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
  return { nodes: [box, foot], update: redraw };
}

/** Scrolls a wide map sideways so that a cell is in sight, beside the labels and not under them. */
function reveal(scroller: HTMLElement, { x, width }: { x: number; width: number }, labels: number): void {
  const last = x + width + 1 - scroller.clientWidth;
  const first = x - labels;
  scroller.scrollLeft = Math.min(Math.max(scroller.scrollLeft, last), first);
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

/** Why rows are striped; with a corrupted picture the row of visual tokens has a reason of its own. */
/** What the marks mean, those that are there. */
function reason(model: Model): string {
  const untraced = model.get("rows").filter(({ traced }) => !traced);
  const reasons = [...new Set(untraced.map((row) => row.reason))].filter(Boolean);
  const parts = reasons.length ? [`Striped rows: ${reasons.join("; ")}.`] : [];
  if (isStale(model)) return parts.join("");
  const values = new Values(model);
  const layers = Array.from({ length: model.get("layers") }, (_, layer) => layer);
  const traced = model.get("rows").filter((row) => row.traced);
  const effects = traced.flatMap((row) => layers.map((layer) => values.effect(row, layer)));
  if (effects.some(Number.isNaN)) parts.push("Crossed: not known.");
  if (effects.some((effect) => beyondLimit(effect, onShow(model).limit))) parts.push("Triangle: beyond the scale.");
  return parts.join(" ");
}

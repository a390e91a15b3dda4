// Draws the map on a canvas.

import { type Ink, paint, stripes } from "../lib/canvas";
import { beyondLimit, blend, colorIndex, colorTable, css } from "../lib/color";
import { number } from "../lib/format";
import { drawLegend } from "../lib/legend";
import { beyond, unknown } from "../lib/marks";
import type { Pen } from "../lib/pen";
import { cut, widest } from "../lib/text";
import type { Theme } from "../lib/theme";
import { AXIS, cellBox, GAP, type Layout, numbered, rowsInSight } from "./layout";
import { type Cell, isStale, type Model, onShow, type Row, Values } from "./state";

const STALE = 0.28; // opacity of what belongs to another window
export const LABEL_SIZE = 12;
const MARGIN = 2; // of the first cells' rings, which the labels must not cover

export function widestLabel(rows: Row[], font: string): number {
  return Math.max(
    40,
    widest(rows, ({ label }) => label, `600 ${LABEL_SIZE}px ${font}`),
  ); // as bold as a label gets
}

export interface Marks {
  cursor: Cell | undefined; // under the pointer, or the keyboard's
  focused: boolean;
  pinned: Cell | undefined;
}

/** How far the map is scrolled, in pixels. */
export interface Scrolled {
  left: number;
  top: number;
}

/** Draws everything in sight but the labels; returns how many of its cells belong to the window on the slider. */
export function drawMap(
  canvas: HTMLCanvasElement,
  l: Layout,
  model: Model,
  theme: Theme,
  ink: Ink,
  marks: Marks,
  scrolled: Scrolled,
): number {
  let fresh = 0;
  paint(canvas, l.width, l.view, (pen) => {
    above(pen, l, scrolled.top, l.width, () => {
      fresh = drawCells(pen, l, model, theme, ink, scrolled.top);
      if (marks.pinned) ring(pen, l, marks.pinned, ink.text, 2, css(ink.ground));
      if (marks.cursor)
        ring(pen, l, marks.cursor, marks.focused ? ink.accent : ink.text, marks.focused ? 3 : 1.5, css(ink.ground));
    });
    drawAxis(pen, l, ink, marks, scrolled.left);
  });
  return fresh;
}

/** Draws rows of a map that is scrolled down, in its own coordinates; those of a tall one end above its layer numbers. */
function above(pen: Pen, l: Layout, from: number, width: number, draw: () => void): void {
  if (l.view === l.height) {
    draw();
    return;
  }
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, width, l.view - AXIS);
  pen.clip();
  pen.translate(0, -from);
  draw();
  pen.restore();
}

function drawCells(pen: Pen, l: Layout, model: Model, theme: Theme, ink: Ink, from: number): number {
  const values = new Values(model);
  const data = model.get("colors")[model.get("module")]?.[theme];
  if (!data) return 0;
  let drawn = 0;
  const color = colorTable(data);
  const limit = onShow(model).limit;
  // a style for each entry of the table, made when it is first used: there may be a hundred thousand cells
  const styles: string[] = [];
  const pale: string[] = [];
  const gap = l.cellWidth > 12 ? 1 : 0.5;
  const [first, end] = rowsInSight(l, from);
  model
    .get("rows")
    .slice(first, end)
    .forEach((row, place) => {
      const { x, y } = cellBox(l, { row: first + place, layer: 0 });
      if (!row.traced) {
        stripes(pen, x, y, l.cellWidth * l.layers - gap, l.cellHeight, ink.stripes);
        return;
      }
      for (let layer = 0; layer < l.layers; layer++) {
        const effect = values.effect(row, layer);
        const at = { x: x + layer * l.cellWidth, y, width: l.cellWidth - gap, height: l.cellHeight - gap };
        if (Number.isNaN(effect)) {
          unknown(pen, at, ink.stripes, ink, !isStale(model));
          continue;
        }
        const index = colorIndex(effect, limit);
        const fresh = values.fresh(row, layer);
        if (fresh) drawn++;
        if (fresh) styles[index] ??= css(color(index));
        else pale[index] ??= css(blend(color(index), ink.ground, STALE));
        pen.fillStyle = (fresh ? styles : pale)[index] as string;
        pen.fillRect(at.x, at.y, at.width, at.height);
        const side = beyondLimit(effect, limit);
        if (side) beyond(pen, at, side, ink);
      }
    });
  return drawn;
}

/** Draws the tokens on a canvas of their own, which stays where it is while the cells scroll under it. */
export function drawLabels(
  canvas: HTMLCanvasElement,
  l: Layout,
  rows: Row[],
  ink: Ink,
  marks: Marks,
  scrolled: Scrolled,
): void {
  const [width, height] = [l.left - MARGIN, l.view - AXIS];
  const [first, end] = rowsInSight(l, scrolled.top);
  const draw = (pen: Pen) => {
    pen.textBaseline = "middle";
    rows.slice(first, end).forEach((row, place) => {
      const i = first + place;
      const y = l.top + (i + 0.5) * l.cellHeight;
      const here = marks.cursor?.row === i;
      pen.font = `${here || row.constraint ? "600 " : ""}${LABEL_SIZE}px ${ink.font}`;
      pen.fillStyle = row.constraint ? ink.accent : row.traced ? ink.text : ink.faint;
      if (row.constraint) pen.fillRect(l.left - 6, l.top + i * l.cellHeight, 3, l.cellHeight);
      pen.textAlign = "right";
      pen.fillText(cut(pen, row.label, l.left - GAP), l.left - GAP, y);
    });
  };
  paint(canvas, width, height, (pen) => {
    pen.fillStyle = css(ink.ground);
    pen.fillRect(0, 0, width, height);
    above(pen, l, scrolled.top, width, () => draw(pen));
  });
}

function drawAxis(pen: Pen, l: Layout, ink: Ink, marks: Marks, scrolled: number): void {
  const y = l.view - AXIS;
  pen.textAlign = "center";
  for (const layer of numbered(l)) {
    if ((layer + 0.5) * l.cellWidth < scrolled) continue; // half a number under the labels would be another number
    const here = marks.cursor?.layer === layer;
    pen.font = `${here ? "600 " : ""}11px ${ink.font}`;
    pen.fillStyle = here ? ink.text : ink.faint;
    pen.fillText(String(layer), l.left + (layer + 0.5) * l.cellWidth, y + 10);
  }
  pen.font = `11px ${ink.font}`;
  pen.fillStyle = ink.faint;
  pen.fillText("layer", l.left + (l.layers * l.cellWidth) / 2, y + 26);
}

function ring(pen: Pen, l: Layout, cell: Cell, color: string, width: number, halo: string): void {
  const { x, y, width: w, height: h } = cellBox(l, cell);
  // a halo in the ground's colour keeps the ring visible on any cell
  for (const [style, line] of [
    [halo, width + 2],
    [color, width],
  ] as const) {
    pen.strokeStyle = style;
    pen.lineWidth = line;
    pen.strokeRect(x - 0.5, y - 0.5, w, h);
  }
}

/** The colour scale, with a tick where `value` lies. */
export function drawScale(
  canvas: HTMLCanvasElement,
  model: Model,
  theme: Theme,
  ink: Ink,
  value: number | undefined,
): void {
  const data = model.get("colors")[model.get("module")]?.[theme];
  if (!data) return;
  const color = colorTable(data);
  const limit = onShow(model).limit;
  drawLegend(canvas, {
    color: (share) => color(Math.round(255 * share)),
    ticks: [
      [0, `−${number(limit)}`],
      [0.5, "0"],
      [1, `+${number(limit)}`],
    ],
    mark: value === undefined ? Number.NaN : Math.max(-1, Math.min(1, value / limit)) * 0.5 + 0.5,
    ink,
  });
}

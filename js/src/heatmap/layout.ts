// Where everything of the map lies, in CSS pixels.  Pure, so that drawing and pointing cannot disagree.

import type { Cell } from "./state";

export interface Layout {
  width: number;
  height: number;
  view: number; // of its height, what is in sight at once: a tall map scrolls over its layer numbers
  left: number; // where the cells begin, after the token labels
  top: number;
  cellWidth: number;
  cellHeight: number;
  rows: number;
  layers: number;
}

export const GAP = 10; // between label and cells
export const AXIS = 38; // layer numbers and their title below the cells
const CELL = { min: 7, max: 64 };
const MANY_ROWS = 40;
const TALL = { from: 1000, view: 720 }; // beyond that only the rows in sight are drawn, however many there are

/** Fits `rows` x `layers` cells into `available` pixels; `labels` is the widest label.  Narrow: labels take at most two fifths.  `whole`: all rows at once. */
export function layout(available: number, rows: number, layers: number, labels: number, whole = false): Layout {
  const left = Math.ceil(Math.min(labels, Math.max(60, available * 0.4))) + GAP;
  const cellWidth = Math.max(CELL.min, Math.min(CELL.max, Math.floor((available - left - 1) / layers)));
  const cellHeight = rows <= MANY_ROWS ? 20 : 15;
  const height = rows * cellHeight + AXIS + 2;
  return {
    width: left + cellWidth * layers + 1,
    height,
    view: whole || height <= TALL.from ? height : TALL.view,
    left,
    top: 2,
    cellWidth,
    cellHeight,
    rows,
    layers,
  };
}

/** The cell at a point, labels included in their row (layer 0); undefined beside the map. */
export function cellAt(l: Layout, x: number, y: number): Cell | undefined {
  const row = Math.floor((y - l.top) / l.cellHeight);
  const layer = Math.floor((x - l.left) / l.cellWidth);
  return row >= 0 && row < l.rows && layer >= 0 && layer < l.layers ? { row, layer } : undefined;
}

export function cellBox(l: Layout, { row, layer }: Cell): { x: number; y: number; width: number; height: number } {
  return {
    x: l.left + layer * l.cellWidth,
    y: l.top + row * l.cellHeight,
    width: l.cellWidth,
    height: l.cellHeight,
  };
}

/** The rows in sight, first and one past the last, where the map is scrolled down to `from`. */
export function rowsInSight(l: Layout, from: number): [number, number] {
  const first = Math.floor((from - l.top) / l.cellHeight);
  return [Math.max(0, first), Math.min(l.rows, Math.ceil((from + l.view - AXIS - l.top) / l.cellHeight))];
}

/** Which layers get a number, so that numbers never touch. */
export function numbered(l: Layout): number[] {
  const room = String(l.layers - 1).length * 7 + 8;
  const step = [1, 2, 4, 5, 8, 10, 20].find((n) => n * l.cellWidth >= room) ?? 40;
  return Array.from({ length: Math.ceil(l.layers / step) }, (_, i) => i * step);
}

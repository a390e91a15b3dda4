// Where everything lies: the picture's pixels on the page, and the patch under a point.  Pure, so that drawing and pointing cannot disagree.

import type { Box, Patch } from "./state";

/** A point, in pixels of the picture unless said otherwise. */
export interface Point {
  x: number;
  y: number;
}

export interface Layout {
  view: Box; // what is drawn, in pixels of the picture: all of it, and the padding that patches lie on
  zoom: number; // CSS pixels for each pixel of the picture
  width: number;
  height: number;
  chart: { width: number; height: number };
}

const FIGURE = { width: 480, height: 440 }; // the most room a picture takes
const SIDE = { least: 250, most: 380, gap: 20 }; // the chart beside it
const CHART = 210;

/** What is drawn: the picture of `size`, and what patches reach beyond it. */
export function viewOf(size: { width: number; height: number }, grids: Box[]): Box {
  const of = (side: keyof Box) => grids.map((box) => box[side]);
  return {
    left: Math.min(0, ...of("left")),
    top: Math.min(0, ...of("top")),
    right: Math.max(size.width, ...of("right")),
    bottom: Math.max(size.height, ...of("bottom")),
  };
}

/** Fits the view into `available` CSS pixels; the chart stands beside it where there is room, else below. */
export function layout(available: number, view: Box): Layout {
  const [across, down] = [view.right - view.left, view.bottom - view.top];
  const beside = available - SIDE.least - SIDE.gap;
  const room = beside >= 260 ? Math.min(FIGURE.width, beside) : Math.min(FIGURE.width, available);
  const zoom = Math.min(room / across, FIGURE.height / down);
  const width = Math.round(across * zoom);
  const left = available - width - SIDE.gap;
  return {
    view,
    zoom,
    width,
    height: Math.round(down * zoom),
    chart: { width: Math.min(SIDE.most, left >= SIDE.least ? left : available), height: CHART },
  };
}

/** A box of the picture on the page, its edges on whole device pixels so that neighbours meet without a seam. */
export function onPage(l: Layout, box: Box, density = 1): { x: number; y: number; width: number; height: number } {
  const snap = (value: number) => Math.round(value * density) / density;
  const x = snap((box.left - l.view.left) * l.zoom);
  const y = snap((box.top - l.view.top) * l.zoom);
  return {
    x,
    y,
    width: snap((box.right - l.view.left) * l.zoom) - x,
    height: snap((box.bottom - l.view.top) * l.zoom) - y,
  };
}

/** A point of the page in pixels of the picture. */
export function toPicture(l: Layout, x: number, y: number): Point {
  return { x: x / l.zoom + l.view.left, y: y / l.zoom + l.view.top };
}

export function patchAt(patches: Patch[], x: number, y: number): Patch | undefined {
  return patches.find((p) => p.left <= x && x < p.right && p.top <= y && y < p.bottom);
}

/** The rectangle between two of its corners. */
export function between(from: Point, to: Point): Box {
  return {
    left: Math.min(from.x, to.x),
    right: Math.max(from.x, to.x),
    top: Math.min(from.y, to.y),
    bottom: Math.max(from.y, to.y),
  };
}

/** Patches whose middle lies in the rectangle between two points of the picture. */
export function patchesIn(patches: Patch[], from: Point, to: Point): Patch[] {
  const { left, right, top, bottom } = between(from, to);
  return patches.filter((patch) => {
    const { x, y } = middle(patch);
    return left <= x && x <= right && top <= y && y <= bottom;
  });
}

export function middle(box: Box): Point {
  return { x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 };
}

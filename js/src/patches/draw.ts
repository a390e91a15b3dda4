// Draws the patches over the picture.

import { density, type Ink, paint, stripes } from "../lib/canvas";
import { blend, colorTable, css, parseRgb, type Rgb, strengthIndex } from "../lib/color";
import { number } from "../lib/format";
import { drawLegend } from "../lib/legend";
import { type Cell, unknown } from "../lib/marks";
import type { Pen } from "../lib/pen";
import type { Theme } from "../lib/theme";
import { type Layout, onPage } from "./layout";
import { DECADES, type Highlights, shareOf } from "./scale";
import { type Box, boxOf, type Model, type Patch } from "./state";

export const FADE = 0.55; // how much of the picture goes at full opacity
const HATCH = 0.35; // opacity of what marks values too small for their scale
const LEAST_LINED = 6; // px; between smaller patches there would be mostly lines
const SMALL = 18; // px; smaller patches are outlined around, not inside

/** Opacity of a patch's colour for its place on the scale; the same rule as in render/patches.py. */
export function cover(share: number, opacity: number): number {
  return opacity * Math.max(0, Math.min(1, share)) ** 0.7;
}

export interface Marks {
  cursor: Patch | undefined; // under the pointer, or the keyboard's
  focused: boolean;
  drag: Box | undefined; // in pixels of the picture
}

export function drawPatches(
  canvas: HTMLCanvasElement,
  l: Layout,
  model: Model,
  patches: Patch[],
  shown: Highlights,
  theme: Theme,
  ink: Ink,
  { cursor, focused, drag }: Marks,
): void {
  const sharp = density(canvas);
  const place = (box: Box) => onPage(l, box, sharp);
  paint(canvas, l.width, l.height, (pen) => {
    drawUnseen(pen, l, model, ink);
    drawColors(pen, patches, shown, place, model, theme, ink);
    drawLines(pen, patches, place, theme);
    drawTiles(pen, model, place, theme);
    drawSinks(pen, model, patches, place, ink);
    const byToken = new Map(patches.map((patch) => [patch.token, patch]));
    const frame = (token: number, style: string, line: number) => {
      const patch = byToken.get(token);
      if (patch) ring(pen, place(patch), style, line, css(ink.ground));
    };
    for (const token of shown.top) frame(token, ink.text, 1.5);
    for (const token of model.get("selected")) frame(token, ink.accent, 2.5);
    if (cursor) frame(cursor.token, focused ? ink.accent : ink.text, focused ? 3.5 : 2);
    if (drag) {
      const { x, y, width, height } = place(drag);
      pen.setLineDash([5, 4]);
      ring(pen, { x, y, width, height }, ink.accent, 1.5, css(ink.ground));
      pen.setLineDash([]);
    }
  });
}

type Place = (box: Box) => Cell;

/** Colours of the patches, and what a colour cannot say. */
function drawColors(
  pen: Pen,
  patches: Patch[],
  shown: Highlights,
  place: Place,
  model: Model,
  theme: Theme,
  ink: Ink,
): void {
  const color = colorTable(model.get("colors")[theme]);
  for (const patch of patches) {
    const mark = shown.marks.get(patch.token);
    if (!mark) continue;
    const at = place(patch);
    const { x, y, width, height } = at;
    pen.globalAlpha = mark.below ? HATCH : cover(mark.share, model.get("opacity"));
    pen.fillStyle = css(color(strengthIndex(mark.share)));
    if (mark.drawn) pen.fillRect(x, y, width, height);
    if (mark.below) stripes(pen, x, y, width, height, ink.faint, -1);
    pen.globalAlpha = 1;
    if (mark.unknown) unknown(pen, at, ink.faint, ink, true);
  }
}

/** Stripes over what no patch sees (cut off by a crop) and over padding, which is no picture. */
function drawUnseen(pen: Pen, l: Layout, model: Model, ink: Ink): void {
  const [width = 0, height = 0] = model.get("picture_size");
  const seen = model
    .get("grids")
    .filter(({ kind }) => kind === model.get("grid"))
    .map(boxOf);
  const picture = { left: 0, top: 0, right: width, bottom: height };
  for (const [inside, veil] of [
    [seen, 0.6],
    [[picture], 0],
  ] as const) {
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, l.width, l.height);
    for (const box of inside) {
      const { x, y, width: w, height: h } = onPage(l, box);
      pen.rect(x, y, w, h);
    }
    pen.clip("evenodd");
    pen.globalAlpha = veil;
    pen.fillStyle = css(ink.ground);
    pen.fillRect(0, 0, l.width, l.height);
    pen.globalAlpha = 1;
    stripes(pen, 0, 0, l.width, l.height, ink.stripes);
    pen.restore();
  }
}

function drawLines(pen: Pen, patches: Patch[], place: Place, theme: Theme): void {
  pen.fillStyle = theme === "light" ? "rgb(255 255 255 / 28%)" : "rgb(0 0 0 / 35%)";
  for (const patch of patches) {
    const { x, y, width, height } = place(patch);
    if (width < LEAST_LINED) return;
    pen.fillRect(x, y, width, 0.75);
    pen.fillRect(x, y, 0.75, height);
  }
}

/** Where one tile ends and another begins: the model sees each by itself. */
function drawTiles(pen: Pen, model: Model, place: Place, theme: Theme): void {
  const tiles = model.get("grids").filter(({ kind }) => kind === model.get("grid"));
  if (tiles.length < 2) return;
  pen.strokeStyle = theme === "light" ? "rgb(255 255 255 / 85%)" : "rgb(0 0 0 / 75%)";
  pen.lineWidth = 2;
  for (const tile of tiles) {
    const { x, y, width, height } = place(boxOf(tile));
    pen.strokeRect(x, y, width, height);
  }
}

/** Sinks have a corner cut off; masked ones are striped. */
function drawSinks(pen: Pen, model: Model, patches: Patch[], place: Place, ink: Ink): void {
  const sinks = new Set(model.get("sinks").map(({ token }) => token));
  for (const patch of patches) {
    if (!sinks.has(patch.token)) continue;
    const { x, y, width, height } = place(patch);
    if (model.get("mask_sinks")) {
      pen.fillStyle = css(ink.ground);
      pen.fillRect(x, y, width, height);
      stripes(pen, x, y, width, height, ink.faint);
    }
    const corner = Math.max(3, Math.min(12, width / 3));
    pen.fillStyle = ink.text;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(x + corner, y);
    pen.lineTo(x, y + corner);
    pen.fill();
    pen.strokeStyle = css(ink.ground);
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x + corner + 1, y);
    pen.lineTo(x, y + corner + 1);
    pen.stroke();
  }
}

function ring(
  pen: Pen,
  { x, y, width, height }: { x: number; y: number; width: number; height: number },
  color: string,
  line: number,
  halo: string,
): void {
  // inside a patch, unless that would leave little of it; a halo in the ground's colour keeps it visible on any picture
  const inset = width < SMALL || height < SMALL ? -line / 2 : line / 2;
  for (const [style, thick] of [
    [halo, line + 1.5],
    [color, line],
  ] as const) {
    pen.strokeStyle = style;
    pen.lineWidth = thick;
    pen.strokeRect(x + inset, y + inset, width - 2 * inset, height - 2 * inset);
  }
}

/** The scale as it looks over a middle grey of the faded picture, with a tick where `value` lies. */
export function drawScale(
  canvas: HTMLCanvasElement,
  model: Model,
  shown: Highlights,
  theme: Theme,
  ink: Ink,
  value: number,
): void {
  const opacity = model.get("opacity");
  const color = colorTable(model.get("colors")[theme]);
  const under: Rgb = blend(parseRgb("#808080"), ink.ground, 1 - FADE * opacity);
  const log = model.get("scale") === "log";
  drawLegend(canvas, {
    color: (share) => blend(color(strengthIndex(share)), under, cover(share, opacity)),
    ticks: [
      [0, log ? `≤ ${number(shown.limit / 10 ** DECADES)}` : "0"],
      [1, number(shown.limit)],
    ],
    mark: shareOf(value, shown.limit, model.get("scale")),
    ink,
  });
}

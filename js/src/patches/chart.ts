// Values over the layers, as lines: the selected patches beside all others.  A click takes the layer there.

import { type Ink, paint } from "../lib/canvas";
import { css } from "../lib/color";
import { number } from "../lib/format";
import type { Pen } from "../lib/pen";
import { largestOf, meanOver, shareOf } from "./scale";
import type { Model, Values } from "./state";

const MOST_LINES = 12; // of single patches; more than that are shown by their mean alone
const PLACE = { left: 54, right: 6, top: 44, bottom: 36 };

export interface Size {
  width: number;
  height: number;
}

/** Draws the chart; returns the line that matters most, layer by layer. */
export function drawChart(
  canvas: HTMLCanvasElement,
  size: Size,
  model: Model,
  values: Values,
  tokens: number[],
  selected: number[],
  ink: Ink,
): number[] {
  const mean = meanOver(values, tokens);
  const first = selected.length ? meanOver(values, selected) : largestOf(values, tokens);
  const single = selected.length > 1 && selected.length <= MOST_LINES ? selected.map((t) => meanOver(values, [t])) : [];
  const limit = [...single, mean, first].flat().reduce((most, value) => Math.max(most, value || 0), 0) || 1;
  const bottom = size.height - PLACE.bottom;
  const x = (index: number) => layerX(index, values.layers, size.width);
  const y = (value: number) => bottom - shareOf(value, limit, model.get("scale")) * (bottom - PLACE.top);

  paint(canvas, size.width, size.height, (pen) => {
    const here = Math.max(0, model.get("layers").indexOf(model.get("layer")));
    const step = (size.width - PLACE.left - PLACE.right) / values.layers;
    pen.fillStyle = ink.stripes;
    pen.globalAlpha = 0.45;
    pen.fillRect(x(here) - Math.max(2, step) / 2, PLACE.top, Math.max(2, step), bottom - PLACE.top);
    pen.globalAlpha = 1;
    pen.strokeStyle = ink.stripes;
    pen.lineWidth = 1;
    pen.strokeRect(PLACE.left + 0.5, PLACE.top + 0.5, size.width - PLACE.left - PLACE.right - 1, bottom - PLACE.top);

    const line = (points: number[], color: string, width: number, opacity = 1) => {
      pen.strokeStyle = color;
      pen.lineWidth = width;
      pen.globalAlpha = opacity;
      pen.beginPath();
      points.forEach((value, index) => {
        if (!Number.isNaN(value)) pen.lineTo(x(index), y(value));
      });
      pen.stroke();
      pen.globalAlpha = 1;
    };
    for (const points of single) line(points, ink.accent, 1, 0.45);
    line(mean, ink.faint, 1.5);
    line(first, ink.accent, 2.5);
    dot(pen, x(here), y(first[here] ?? 0), ink.accent, css(ink.ground));

    pen.font = `11px ${ink.font}`;
    pen.textBaseline = "middle";
    const names = [
      ["mean of all patches", ink.faint],
      [nameOf(selected.length), ink.accent],
    ] as const;
    names.forEach(([text, color], index) => {
      pen.fillStyle = color;
      pen.fillRect(0, 9 + 17 * index, 16, 2);
      pen.textAlign = "left";
      pen.fillText(text, 22, 10 + 17 * index);
    });
    pen.fillStyle = ink.faint;
    pen.textAlign = "right";
    pen.fillText(number(limit), PLACE.left - 5, PLACE.top + 5);
    pen.fillText(model.get("scale") === "log" ? number(limit / 100) : "0", PLACE.left - 5, bottom - 4);
    pen.textAlign = "center";
    const every = [1, 2, 4, 5, 8, 10, 20].find((n) => n * step >= 22) ?? 40;
    model.get("layers").forEach((layer, index) => {
      if (index % every) return;
      pen.fillStyle = index === here ? ink.text : ink.faint;
      pen.fillText(String(layer), x(index), bottom + 10);
    });
    pen.fillStyle = ink.faint;
    pen.fillText("layer", (PLACE.left + size.width - PLACE.right) / 2, bottom + 26);
  });
  return first;
}

function nameOf(selected: number): string {
  if (!selected) return "largest patch";
  return selected === 1 ? "the selected patch" : `mean of ${selected} selected patches`;
}

function dot(pen: Pen, x: number, y: number, color: string, halo: string): void {
  pen.beginPath();
  pen.arc(x, y, 4, 0, 7);
  pen.fillStyle = color;
  pen.fill();
  pen.strokeStyle = halo;
  pen.lineWidth = 1.5;
  pen.stroke();
}

function layerX(index: number, layers: number, width: number): number {
  return PLACE.left + ((index + 0.5) / layers) * (width - PLACE.left - PLACE.right);
}

/** The layer (its index) at a point of the chart. */
export function layerAt(x: number, layers: number, width: number): number {
  const share = (x - PLACE.left) / (width - PLACE.left - PLACE.right);
  return Math.max(0, Math.min(layers - 1, Math.floor(share * layers)));
}

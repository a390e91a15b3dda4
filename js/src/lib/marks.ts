// Marks of cells for what a colour cannot say; mllm_widgets/render/marks.py draws the same.

import type { Ink } from "./canvas";
import { css } from "./color";
import type { Pen } from "./pen";

export interface Cell {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A cell that has no value: outlined; with a small cross, on a halo in the ground's colour, once it is clear that none will come. */
export function unknown(pen: Pen, { x, y, width, height }: Cell, color: string, ink: Ink, crossed: boolean): void {
  pen.strokeStyle = color;
  pen.lineWidth = 1;
  pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  if (!crossed) return;
  const arm = Math.max(2, Math.min(4, 0.25 * Math.min(width, height)));
  const [left, top] = [x + width / 2 - arm, y + height / 2 - arm];
  pen.beginPath();
  for (const way of [0, 2 * arm]) {
    pen.moveTo(left + way, top);
    pen.lineTo(left + 2 * arm - way, top + 2 * arm);
  }
  pen.strokeStyle = css(ink.ground);
  pen.lineWidth = 3;
  pen.stroke();
  pen.strokeStyle = ink.faint;
  pen.lineWidth = 1;
  pen.stroke();
}

/** A value that its scale does not reach: a triangle in the corner towards which it goes on; `side` is 1 or -1. */
export function beyond(pen: Pen, { x, y, width, height }: Cell, side: number, ink: Ink): void {
  const size = Math.max(3, Math.min(6, 0.4 * Math.min(width, height)));
  const right = x + width - 1;
  const tip = side > 0 ? y + 1 : y + height - 1;
  const base = tip + 0.8 * side * size;
  pen.fillStyle = css(ink.ground);
  pen.beginPath();
  pen.moveTo(right - size, base);
  pen.lineTo(right, base);
  pen.lineTo(right - size / 2, tip);
  pen.fill();
}

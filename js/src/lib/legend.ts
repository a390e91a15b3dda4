// A colour scale with its ends in numbers, and a tick where a value lies.

import { type Ink, paint } from "./canvas";
import { css, type Rgb } from "./color";

export interface Legend {
  color: (share: number) => Rgb;
  ticks: (readonly [share: number, text: string])[];
  mark: number; // a share, or NaN for none
  ink: Ink;
}

export function drawLegend(canvas: HTMLCanvasElement, { color, ticks, mark, ink }: Legend, width = 240): void {
  paint(canvas, width, 40, (pen) => {
    const [left, bar] = [8, width - 16];
    for (let i = 0; i < bar; i++) {
      pen.fillStyle = css(color(i / (bar - 1)));
      pen.fillRect(left + i, 10, 1.5, 10);
    }
    pen.font = `11px ${ink.font}`;
    pen.textBaseline = "middle";
    pen.fillStyle = ink.faint;
    for (const [share, text] of ticks) {
      pen.textAlign = share === 0 ? "left" : share === 1 ? "right" : "center";
      pen.fillText(text, left + share * bar, 31);
    }
    if (Number.isNaN(mark)) return;
    const x = left + mark * bar;
    pen.fillStyle = ink.text;
    pen.beginPath();
    pen.moveTo(x, 11);
    pen.lineTo(x - 5, 3);
    pen.lineTo(x + 5, 3);
    pen.fill();
  });
}

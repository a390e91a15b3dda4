// Canvases: sharp on dense screens, in the widget's colours.

import { parseRgb, type Rgb } from "./color";
import type { Drawing, Painted, Pen } from "./pen";

export interface Ink {
  font: string;
  text: string;
  faint: string;
  accent: string;
  ground: Rgb;
  stripes: string;
}

let reader: CanvasRenderingContext2D | null = null;

/** A canvas cannot inherit CSS, so its colours are read from the element at draw time. */
export function inkOf(element: Element): Ink {
  const style = getComputedStyle(element);
  reader ??= document.createElement("canvas").getContext("2d");
  // a canvas knows every way to write a colour, those of the system too, and writes each as numbers
  const read = (name: string) => {
    const written = style.getPropertyValue(name).trim();
    if (!reader) return written;
    reader.fillStyle = written;
    return String(reader.fillStyle);
  };
  return {
    font: style.fontFamily,
    text: style.color,
    faint: read("--mw-faint"),
    accent: read("--mw-accent"),
    ground: parseRgb(read("--mw-ground")),
    stripes: read("--mw-stripes"),
  };
}

/** Device pixels for each CSS pixel; what is printed has two. */
export function density(element: Element): number {
  return element.closest(".mw-print") ? 2 : globalThis.devicePixelRatio || 1;
}

/** Makes a canvas that many CSS pixels large and draws on it; an export draws the same once more (tools/print.ts). */
export function paint(canvas: Painted, width: number, height: number, drawing: Drawing): void {
  const scale = density(canvas);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.drawing = drawing;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.scale(scale, scale);
  drawing(pen);
}

/** There is nothing here: lines up to the right; with `way` -1 lines down to the right. */
export function stripes(pen: Pen, x: number, y: number, w: number, h: number, color: string, way = 1): void {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, w, h);
  pen.clip();
  pen.strokeStyle = color;
  pen.lineWidth = 1;
  pen.beginPath();
  // lines x + way * y = const on a grid of the canvas, so that they run on from row to row
  const [first, last] = [way * y, way * (y + h)];
  for (let c = Math.floor((x + Math.min(first, last)) / 6) * 6; c < x + w + Math.max(first, last); c += 6) {
    pen.moveTo(c - first, y);
    pen.lineTo(c - last, y + h);
  }
  pen.stroke();
  pen.restore();
}

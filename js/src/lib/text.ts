// Text on a canvas that has little room.

import type { Pen } from "./pen";

const MOST = 400; // characters; more have no room on any screen, and measuring ten thousand of them takes its time

/** A text as it fits into `room` pixels, cut off with an ellipsis where it must be; never through the middle of a character. */
export function cut(pen: Pen, text: string, room: number): string {
  if (text.length <= MOST && pen.measureText(text).width <= room) return text;
  const letters = [...text.slice(0, MOST)];
  let fits = 1;
  let over = letters.length + 1;
  while (over - fits > 1) {
    const middle = (fits + over) >> 1;
    if (pen.measureText(`${letters.slice(0, middle).join("")}…`).width > room) over = middle;
    else fits = middle;
  }
  return `${letters.slice(0, fits).join("")}…`;
}

/** The width of the widest of some texts, measured once for the same list and font. */
export function widest<T extends object>(items: T[], textOf: (item: T) => string, font: string): number {
  const known = widths.get(items);
  if (known?.font === font) return known.width;
  const pen = document.createElement("canvas").getContext("2d");
  if (!pen) return 0;
  pen.font = font;
  const width = Math.max(0, ...items.map((item) => pen.measureText(textOf(item).slice(0, MOST)).width));
  widths.set(items, { font, width });
  return width;
}

const widths = new WeakMap<object, { font: string; width: number }>();

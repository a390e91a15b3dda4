// A picture of a widget.  The widget draws itself once more, out of sight, on white and in light colours, without its controls;
// what the browser has laid out there is then drawn with a pen: texts, boxes, small charts, pictures, and canvases by their own drawings.

import type { AnyModel } from "@anywidget/types";
import { element } from "../lib/dom";
import type { Painted } from "../lib/pen";
import type { Own } from "../lib/tools";
import { drawElement, type PrintPen } from "./walk";

const WIDTH = { least: 520, most: 900 };

type Use<T> = (width: number, height: number, draw: (pen: PrintPen) => void) => Promise<T>;

export async function printed<T>(
  root: HTMLElement,
  // biome-ignore lint/suspicious/noExplicitAny: the models of all widgets
  model: AnyModel<any>,
  own: Own,
  use: Use<T>,
): Promise<T> {
  const sheet = element("div", { class: "mw-print", "aria-hidden": "true" });
  sheet.style.width = `${Math.max(WIDTH.least, Math.min(WIDTH.most, root.offsetWidth))}px`;
  sheet.inert = true;
  const home = root.getRootNode(); // marimo keeps a widget and its styles in a tree of their own
  (home instanceof ShadowRoot ? home : document.body).append(sheet);
  const gone = new AbortController();
  try {
    own.render?.({ model: still(model), el: sheet, signal: gone.signal });
    await laidOut(sheet);
    const page = sheet.firstElementChild as HTMLElement;
    const { left, top } = page.getBoundingClientRect();
    const [width, height] = [page.scrollWidth, page.scrollHeight];
    return await use(width, height, (pen) => {
      pen.fillStyle = "#ffffff";
      pen.fillRect(0, 0, width, height);
      drawElement(pen, page, left, top);
    });
  } finally {
    gone.abort();
    sheet.remove();
  }
}

/** The model as it is now: nobody listens to it, and nothing is sent. */
// biome-ignore lint/suspicious/noExplicitAny: the models of all widgets
function still(model: AnyModel<any>): AnyModel<any> {
  const nothing = () => {};
  return {
    get: (name: string) => (name === "picture_id" ? "" : model.get(name)),
    set: nothing,
    on: nothing,
    off: nothing,
    save_changes: nothing,
    send: nothing,
    // biome-ignore lint/suspicious/noExplicitAny: what else a model has is of no use here
  } as any;
}

/** Until all is drawn: the widget's own frames, its toolbar's code, and its pictures. */
async function laidOut(sheet: HTMLElement): Promise<void> {
  const settled = () =>
    sheet.querySelector(".mw-tools")?.hasChildNodes() &&
    [...sheet.querySelectorAll<Painted>("canvas")].every(({ drawing }) => drawing);
  for (let frame = 0; frame < 60 && !(frame > 2 && settled()); frame++) await new Promise(requestAnimationFrame);
  await Promise.all([...sheet.querySelectorAll("img")].map((image) => image.decode().catch(() => {})));
}

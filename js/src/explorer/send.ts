// Messages to the kernel: each is heard once and in order, and its id comes back when it was.

import type { AnyModel } from "@anywidget/types";
import { away } from "../lib/kernel";

const SILENCE_MS = 2500; // a kernel that has said nothing by then is busy or gone

export const SILENT = "No answer from the kernel: it is busy with a cell, or not running (then re-run the notebook).";

export interface Sender {
  send: (content: Record<string, unknown>, buffers?: ArrayBuffer[]) => void;
  silent: () => boolean;
  last: () => number; // id of the last message, 0 for none
}

/** `changed` is called when the kernel falls silent, and when it is heard again. */
export function sender(model: AnyModel<{ received: number }>, changed: () => void, signal: AbortSignal): Sender {
  let last = 0;
  let quiet = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const heard = () => {
    if (model.get("received") < last) return;
    clearTimeout(timer);
    const was = quiet;
    quiet = false;
    if (was) changed();
  };
  model.on("change:received", heard);
  signal.addEventListener("abort", () => clearTimeout(timer));
  return {
    send: (content, buffers) => {
      if (away(model)) return; // nobody hears it, and the controls say so
      last = Math.max(last + 1, Date.now());
      model.send({ ...content, id: last }, undefined, buffers);
      clearTimeout(timer);
      timer = setTimeout(() => {
        quiet = true;
        changed();
      }, SILENCE_MS);
    },
    silent: () => quiet && !away(model),
    last: () => last,
  };
}

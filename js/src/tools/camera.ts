// Refreshes the picture that a saved notebook shows where no widget can live.  The one thing here that only a kernel can do.

import type { AnyModel } from "@anywidget/types";
import { away, onKernel } from "../lib/kernel";
import { toolButton } from "./button";

const SILENCE_MS = 2500; // a kernel that has said nothing by then is busy or gone
const NAME = "Refresh the picture stored in the notebook";
const ICON = "M1.7 4.7h3l1-1.9h4.6l1 1.9h3v8.5H1.7zM8 6.4a2.4 2.4 0 1 0 0 4.8a2.4 2.4 0 1 0 0-4.8";

// biome-ignore lint/suspicious/noExplicitAny: the models of all widgets
export function camera(model: AnyModel<any>, say: (text: string) => void, signal: AbortSignal): HTMLElement {
  let timer: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(timer));
  const node = toolButton(ICON, NAME, () => {
    model.set("snapshots", model.get("snapshots") + 1);
    model.save_changes();
    say("storing");
    clearTimeout(timer);
    timer = setTimeout(() => say("No answer from the kernel: it is busy with a cell, or not running."), SILENCE_MS);
  });
  const taken = () => {
    clearTimeout(timer);
    say("stored");
  };
  const refused = () => {
    if (!model.get("refused")) return;
    clearTimeout(timer);
    say(`Not stored: ${model.get("refused")}`);
  };
  const update = () => {
    // the views of an Explorer have no picture of their own, nor has a widget inside another one's output
    node.hidden = !model.get("outputs");
    node.disabled = away(model);
    node.title = node.disabled ? "Run the notebook to refresh the picture stored in it" : NAME;
  };
  model.on("change:taken", taken);
  model.on("change:refused", refused);
  model.on("change:outputs", update);
  onKernel(model, update, signal);
  update();
  return node;
}

// Refreshes the picture that a saved notebook shows where no widget can live.  The one thing here that only a kernel can do.

import type { AnyModel } from "@anywidget/types";
import { toolButton } from "./button";

const SILENCE_MS = 2500; // a kernel that has said nothing by then is busy or gone
const ICON = "M1.7 4.7h3l1-1.9h4.6l1 1.9h3v8.5H1.7zM8 6.4a2.4 2.4 0 1 0 0 4.8a2.4 2.4 0 1 0 0-4.8";

// biome-ignore lint/suspicious/noExplicitAny: the models of all widgets
export function camera(model: AnyModel<any>, say: (text: string) => void, signal: AbortSignal): HTMLElement {
  let timer: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(timer));
  const node = toolButton(ICON, "Refresh the picture stored in the notebook", () => {
    model.set("snapshots", (model.get("snapshots") ?? 0) + 1);
    model.save_changes();
    say("storing");
    clearTimeout(timer);
    timer = setTimeout(() => say("No answer from the kernel: it is busy or not running."), SILENCE_MS);
  });
  node.classList.add("mw-camera");
  const answered = () => {
    const now = model.get("stored");
    if (Math.abs(now) !== model.get("snapshots")) return;
    clearTimeout(timer);
    say(now > 0 ? "stored" : "Nothing is stored yet: display the widget in a cell of its own.");
  };
  const update = () => {
    node.disabled = model.get("offline") === true;
    if (node.disabled) node.title = "Run the notebook to refresh the picture stored in it";
  };
  model.on("change:stored", answered);
  model.on("change:offline", update);
  update();
  return node;
}

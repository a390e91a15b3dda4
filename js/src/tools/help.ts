// The keys of a widget, in a dialog.  The browser's own: Escape closes it, and the focus goes back to where it was.

import { element } from "../lib/dom";
import { toolButton } from "./button";

export function help(root: HTMLElement, keys: [string, string][], signal: AbortSignal): HTMLElement {
  const list = element("dl");
  for (const [key, does] of [...keys, ["?", "this help"] as const])
    list.append(
      element("dt", {}, ...key.split(" ").flatMap((one) => [one === "+" ? one : element("kbd", {}, one), " "])),
      element("dd", {}, does),
    );
  const close = element("button", { type: "button" }, "Close");
  const dialog = element("dialog", { class: "mw-help", "aria-label": "keys" }, element("h4", {}, "Keys"), list, close);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close()); // beside it
  root.append(dialog);
  const show = () => {
    if (!dialog.open) dialog.showModal();
  };
  const heard = (event: KeyboardEvent) => {
    const from = event.target as Element;
    if (dialog.open)
      event.stopPropagation(); // JupyterLab would hear Escape too
    else if (event.key === "?" && !from.matches("input:is([type=text],[type=number]),textarea")) {
      event.preventDefault();
      event.stopPropagation();
      show();
    }
  };
  root.addEventListener("keydown", heard, { signal });
  return toolButton("?", "Help: the keys of this view", show);
}

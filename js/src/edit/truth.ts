// Is the model edited?  Always on show, and always what the kernel says of the model, never what was clicked.

import { element } from "../lib/dom";
import { away, disable } from "../lib/kernel";
import { keepKeys } from "../lib/keys";
import { radioSwitch } from "../lib/switch";
import type { EditModel, Send } from "./state";

const SIDES = [
  { key: "original", name: "Original" },
  { key: "edited", name: "Edited" },
];

export function truth(model: EditModel, send: Send, signal: AbortSignal) {
  const sides = radioSwitch("the model in the kernel is", SIDES, signal, {
    read: () => (model.get("edited") ? "edited" : "original"),
    write: (key) => {
      send({ kind: "toggle", edited: key === "edited" });
      sides.update();
    },
  });
  keepKeys(sides.node, signal);
  const words = element("span", { class: "mw-is", role: "status" });
  const foreign = element("p", { class: "mw-foreign", role: "status" });
  const node = element("div", { class: "mw-truth" }, sides.node, words, foreign);
  const update = () => {
    sides.update();
    const searching = model.get("state") === "running" && ["value", "layers"].includes(model.get("doing"));
    const none = !model.get("rows").length;
    const gone = away(model);
    for (const input of sides.node.querySelectorAll("input"))
      disable(input, gone, searching || (none && input.value === "edited"));
    sides.node.title = gone
      ? ""
      : none
        ? "There is no edit yet: type a target and press Try."
        : searching
          ? "A value is being searched with the original model."
          : "";
    node.dataset.edited = String(model.get("edited"));
    words.textContent = model.get("truth");
    foreign.textContent = model.get("foreign");
    foreign.hidden = !foreign.textContent;
  };
  return { node, update };
}

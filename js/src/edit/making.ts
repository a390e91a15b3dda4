// What the model should say, and where.

import { element } from "../lib/dom";
import type { EditModel, Send } from "./state";

export function making(model: EditModel, send: Send, signal: AbortSignal) {
  const field = element("input", {
    type: "text",
    "aria-label": "target: what the model should say",
    placeholder: "what it should say",
    spellcheck: "false",
    autocomplete: "off",
  });
  const attempt = element("button", { type: "submit", class: "mw-main" }, "Try");
  const sweep = element("button", { type: "button" }, "Sweep layers");
  const node = element(
    "form",
    { class: "mw-form" },
    element("label", {}, element("span", {}, "Target"), field),
    attempt,
    sweep,
  );
  let placed = ""; // what the field held before anybody typed
  const ask = (kind: string) => {
    placed = field.value;
    send({ kind, target: field.value, layer: model.get("layer") });
  };
  const submit = (event: Event) => {
    event.preventDefault();
    if (!attempt.disabled) ask("try");
  };
  node.addEventListener("submit", submit, { signal });
  sweep.addEventListener("click", () => ask("sweep"), { signal });
  // JupyterLab takes keys of a cell for itself
  node.addEventListener("keydown", (event) => event.stopPropagation(), { signal });
  const update = () => {
    // not over what is being typed
    if (field.value === placed) field.value = placed = model.get("target");
    const busy = model.get("state") === "running";
    attempt.disabled = sweep.disabled = busy && ["value", "layers"].includes(model.get("doing"));
    attempt.textContent = `Try at layer ${model.get("layer")}`;
    sweep.title = "Find the value and make the edit at every layer, one after the other";
  };
  return { node, update };
}

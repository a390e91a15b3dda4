// What the model should say, and where.

import { element } from "../lib/dom";
import { away, awayNote, disable } from "../lib/kernel";
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
  const note = awayNote(model);
  const node = element(
    "form",
    { class: "mw-form" },
    element("label", {}, element("span", {}, "Target"), field),
    attempt,
    sweep,
    note.node,
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
    const searching = busy && ["value", "layers"].includes(model.get("doing"));
    const gone = away(model);
    disable(field, gone);
    disable(attempt, gone, searching);
    disable(sweep, gone, searching, "Find the value and make the edit at every layer, one after the other");
    note.update();
    attempt.textContent = `Try at layer ${model.get("layer")}`;
  };
  return { node, update };
}

// What the model should say, where, and what the kernel is doing about it.

import { element } from "../lib/dom";
import type { EditModel, Send } from "./state";

const PATIENCE_MS = 250; // quick answers show no progress

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

export function statusLine(model: EditModel, send: Send, signal: AbortSignal) {
  const text = element("span", { role: "status" });
  const bar = element("progress", { max: 1, "aria-label": "done so far" });
  const cancel = element("button", { type: "button" }, "Cancel");
  const node = element("div", { class: "mw-status" }, bar, text, cancel);
  cancel.addEventListener("click", () => send({ kind: "cancel" }), { signal });
  let since = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(timer));
  const update = () => {
    const running = model.get("state") === "running";
    if (running && !since) {
      since = performance.now();
      timer = setTimeout(update, PATIENCE_MS + 5);
    } else if (!running) since = 0;
    const busy = running && performance.now() - since >= PATIENCE_MS;
    bar.hidden = cancel.hidden = !busy;
    const progress = model.get("progress");
    if (progress >= 0) bar.value = progress;
    else bar.removeAttribute("value");
    text.textContent = busy || !running ? model.get("message") : "";
    node.hidden = !busy && !text.textContent;
  };
  return { node, update };
}

// What steers the picture.  All of it works without a kernel: every layer was sent.

import { element, perFrame } from "../lib/dom";
import { keepKeys } from "../lib/keys";
import { radioSwitch } from "../lib/switch";
import type { Model, PatchState } from "./state";

export interface Control {
  node: HTMLElement;
  update: () => void;
}

export function controls(model: Model, signal: AbortSignal): { node: HTMLElement; update: () => void } {
  const send = perFrame(() => model.save_changes(), signal);
  const set = <K extends keyof PatchState>(name: K, value: PatchState[K]) => {
    if (model.get(name) === value) return;
    model.set(name, value);
    send();
  };
  const choice = (trait: "grid" | "scale", label: string, options: { key: string; name: string }[]) =>
    radioSwitch(label, options, signal, { read: () => model.get(trait), write: (key) => set(trait, key) });
  const layers = model.get("layers");
  const parts: Control[] = [
    slider("Layer", { min: 0, max: layers.length - 1, step: 1 }, signal, {
      read: () => layers.indexOf(model.get("layer")),
      write: (index) => set("layer", layers[index] ?? model.get("layer")),
      name: () => `${model.get("layer")} of ${layers[0]}–${layers.at(-1)}`,
      disabled: layers.length < 2,
    }),
  ];
  if (model.get("targets").length) parts.push(targetChoice(model, signal, set));
  if (model.get("kinds").length > 1) parts.push(choice("grid", "view of the picture", model.get("kinds")));
  const scales = [
    { key: "linear", name: "Linear" },
    { key: "log", name: "Log" },
  ];
  parts.push(choice("scale", "scale of the values", scales));
  const finer = [
    number("Outline top", model, signal, set),
    slider("Only above", { min: 0, max: 1, step: 0.01 }, signal, {
      read: () => model.get("threshold"),
      write: (value) => set("threshold", value),
      name: () => `${Math.round(100 * model.get("threshold"))}%`,
    }),
    slider("Highlights", { min: 0, max: 1, step: 0.01 }, signal, {
      read: () => model.get("opacity"),
      write: (value) => set("opacity", value),
      name: () => `${Math.round(100 * model.get("opacity"))}%`,
    }),
  ];
  const boxes = [box("compare", "One scale for all layers", model, signal, set)];
  if (model.get("sinks").length) boxes.push(box("mask_sinks", "Mask sinks", model, signal, set));
  const first = element("div", { class: "mw-controls" }, ...parts.map(({ node }) => node));
  const second = element("div", { class: "mw-controls mw-finer" }, ...[...finer, ...boxes].map(({ node }) => node));
  const node = element("div", {}, first, second);
  keepKeys(node, signal);
  return {
    node,
    update: () => {
      for (const part of [...parts, ...finer, ...boxes]) part.update();
    },
  };
}

type Set = <K extends keyof PatchState>(name: K, value: PatchState[K]) => void;

interface Slide {
  read: () => number;
  write: (value: number) => void;
  name: () => string;
  disabled?: boolean;
}

function slider(
  label: string,
  range: { min: number; max: number; step: number },
  signal: AbortSignal,
  { read, write, name, disabled = false }: Slide,
): Control {
  const input = element("input", { type: "range", ...range, disabled, "aria-label": label.toLowerCase() });
  const value = element("span", { class: "mw-value", "aria-hidden": "true" });
  const node = element("label", { class: "mw-slider" }, element("span", {}, label), input, value);
  input.addEventListener("input", () => write(input.valueAsNumber), { signal });
  const update = () => {
    input.value = String(read());
    value.textContent = name();
    input.setAttribute("aria-valuetext", name());
  };
  return { node, update };
}

/** Which of several targets receives what is shown. */
function targetChoice(model: Model, signal: AbortSignal, set: Set): Control {
  const select = element("select", { "aria-label": "target" });
  const node = element("label", { class: "mw-number" }, element("span", {}, "Into"), select);
  select.addEventListener("change", () => set("token", Number(select.value)), { signal });
  const option = (value: number, text: string) => element("option", { value }, text);
  let built = "";
  const update = () => {
    const token = model.get("token");
    const targets = model.get("targets");
    const unknown = token >= 0 && !targets.some(({ position }) => position === token);
    const now = `${targets.map(({ position }) => position)} ${unknown ? token : ""}`;
    if (now !== built) {
      built = now;
      select.replaceChildren(
        option(-1, `mean of ${targets.length} tokens`),
        ...targets.map(({ position, name }) => option(position, `${name} (${position})`)),
        ...(unknown ? [option(token, `token ${token}`)] : []),
      );
    }
    select.value = String(token);
  };
  return { node, update };
}

function number(label: string, model: Model, signal: AbortSignal, set: Set): Control {
  const input = element("input", { type: "number", min: 0, step: 1, "aria-label": `${label.toLowerCase()} patches` });
  const node = element("label", { class: "mw-number" }, element("span", {}, label), input);
  const moved = () => {
    const value = input.valueAsNumber;
    if (Number.isInteger(value) && value >= 0) set("top_k", value);
  };
  input.addEventListener("input", moved, { signal });
  const update = () => {
    // not while it is being typed in: an empty field would become a number under the hand
    if (!input.matches(":focus") || input.valueAsNumber >= 0) input.value = String(model.get("top_k"));
  };
  return { node, update };
}

function box(trait: "compare" | "mask_sinks", label: string, model: Model, signal: AbortSignal, set: Set): Control {
  const input = element("input", { type: "checkbox" });
  const node = element("label", { class: "mw-check" }, input, element("span", {}, label));
  input.addEventListener("change", () => set(trait, input.checked), { signal });
  const update = () => {
    input.checked = model.get(trait);
  };
  return { node, update };
}

// mw.EditPanel: what the model should say instead, where that is written, how strongly, and what else it changes.

import type { RenderProps } from "@anywidget/types";
import { lossChart, tradeChart } from "./edit/charts";
import { answers, effectsTable } from "./edit/effects";
import { layerPicker } from "./edit/layers";
import { editList, takeAlong } from "./edit/list";
import { making } from "./edit/making";
import { lamName, shown } from "./edit/numbers";
import { ownOf } from "./edit/own";
import type { EditModel, EditState } from "./edit/state";
import { truth } from "./edit/truth";
import { SILENT, sender } from "./explorer/send";
import { element, perFrame } from "./lib/dom";
import { number } from "./lib/format";
import { away, onKernel } from "./lib/kernel";
import { keepKeys } from "./lib/keys";
import { replacePicture } from "./lib/picture";
import { statusLine } from "./lib/status";
import { onThemeChange, themeOf } from "./lib/theme";
import { tools } from "./lib/tools";
import "./edit_panel.css";

// one thing leads to another, and a frame draws all of it
const MODEL = ["edited", "truth", "foreign", "rows", "results", "together", "current", "lam_of"] as const;
const WHERE = ["probes", "layers", "effects", "token", "causal", "trace_note", "limit", "bars", "curve"] as const;
const WORK = ["state", "doing", "progress", "message", "error", "saved"] as const;
const WATCHED = [...MODEL, ...WHERE, ...WORK, "target", "layer", "name", "can_undo", "can_redo"] as const;

function render({ model, el, signal }: RenderProps<EditState>): void {
  const root = element("div", { class: "mw mw-editing", "data-lm-suppress-shortcuts": "true" });
  const kernel = sender(model, () => update(), signal);
  const moved = perFrame(() => model.save_changes(), signal);
  const setLam = (at: number) => {
    const id = String(model.get("current"));
    if (model.get("lam_of")[id] === at) return;
    model.set("lam_of", { ...model.get("lam_of"), [id]: at });
    moved();
  };
  const doing = () => ({
    running: model.get("state") === "running" && !away(model),
    message: away(model) ? "" : model.get("message"),
    progress: model.get("progress"),
  });
  const parts = {
    truth: truth(model, kernel.send, signal),
    making: making(model, kernel.send, signal),
    status: statusLine("done so far", doing, () => kernel.send({ kind: "cancel" }), signal),
    layers: layerPicker(model, signal),
    loss: lossChart(model),
    slider: lamSlider(model, setLam, signal),
    answers: answers(model),
    trade: tradeChart(model, setLam, signal),
    effects: effectsTable(model, signal),
    list: editList(model, kernel.send, signal),
    out: takeAlong(model, kernel.send, signal),
  };
  const error = element("p", { class: "mw-failed", role: "alert" });
  const warnings = element("ul", { class: "mw-warnings", "aria-label": "warnings" });
  const pair = (...nodes: HTMLElement[]) => element("div", { class: "mw-pair" }, ...nodes);
  root.append(
    tools(root, model, { ...ownOf(model), follows: WATCHED, render }, signal),
    heading(model, signal),
    parts.truth.node,
    element("div", { class: "mw-ask" }, parts.making.node, parts.status.node),
    error,
    warnings,
    pair(parts.layers.node, parts.loss.node),
    parts.slider.node,
    pair(parts.answers.node, parts.trade.node),
    parts.effects.node,
    pair(parts.list.node, parts.out.node),
  );
  el.append(root);
  const update = () => {
    root.dataset.theme = themeOf(root);
    root.dataset.state = model.get("state");
    for (const part of Object.values(parts)) part.update();
    error.textContent = kernel.silent() ? SILENT : model.get("error");
    const result = model.get("results")[String(model.get("current"))];
    const texts = result?.warnings ?? [];
    warnings.replaceChildren(...texts.map((text) => element("li", {}, text)));
    warnings.hidden = !texts.length;
  };
  const soon = perFrame(update, signal);
  for (const name of WATCHED) model.on(`change:${name}`, soon);
  onKernel(model, soon, signal);
  onThemeChange(soon, signal);
  replacePicture(model, signal);
  requestAnimationFrame(update);
  update();
}

function heading(model: EditModel, signal: AbortSignal): HTMLElement {
  const [start = 0, end = 0] = model.get("span");
  const text = [...model.get("question")]; // offsets count code points, as Python does
  const part = (from: number, to?: number) => text.slice(from, to).join("");
  const question = element("p", { class: "mw-question" }, part(0, start));
  if (end > start) question.append(element("mark", { title: "the visual constraint" }, part(start, end)));
  question.append(part(end));
  const node = element("header", {}, question);
  const image = model.get("image");
  if (image.byteLength) {
    const url = URL.createObjectURL(new Blob([image as DataView<ArrayBuffer>]));
    signal.addEventListener("abort", () => URL.revokeObjectURL(url));
    node.prepend(element("img", { src: url, alt: "the picture that the question is about" }));
  }
  return node;
}

/** 33 places on a logarithmic axis; needs no kernel. */
function lamSlider(model: EditModel, moved: (at: number) => void, signal: AbortSignal) {
  const input = element("input", { type: "range", min: 0, step: 1, "aria-label": "lambda" });
  const value = element("output", {});
  const label = element("label", { class: "mw-slider" }, element("span", {}, "λ"), input, value);
  const ends = element("span", { class: "mw-note" }, "small: the edit in full; large: the weight is held");
  const node = element("div", { class: "mw-controls mw-lam" }, label, ends);
  input.addEventListener("input", () => moved(input.valueAsNumber), { signal });
  keepKeys(node, signal);
  const update = () => {
    const now = shown(model);
    node.hidden = !now;
    if (!now) return;
    const { result, at } = now;
    const baked = model.get("rows").some(({ id, baked }) => baked && id === model.get("current"));
    input.disabled = baked;
    input.title = baked ? "This edit is in the weights: unbake it to move its lambda." : "";
    input.max = String(result.lams.length - 1);
    input.value = String(at);
    const lam = lamName(result.lams[at] ?? 0);
    value.textContent = lam;
    input.setAttribute("aria-valuetext", `${lam}, P(${result.target}) ${number(result.efficacy[at] ?? Number.NaN)}`);
  };
  return { node, update };
}

export default { render };

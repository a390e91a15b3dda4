// mw.PatchGrid: values of visual tokens on the picture.  Draws from the model alone, and needs no kernel for anything.

import type { RenderProps } from "@anywidget/types";
import { element, perFrame, warningList } from "./lib/dom";
import { away, RUN } from "./lib/kernel";
import { replacePicture } from "./lib/picture";
import { tools } from "./lib/tools";
import "./patch_grid.css";
import { controls } from "./patches/controls";
import { ownOf } from "./patches/own";
import { type Model, type PatchState, targetName } from "./patches/state";
import { patchView } from "./patches/view";

const STEERED = [
  "stacked",
  "token",
  "layer",
  "selected",
  "top_k",
  "threshold",
  "scale",
  "grid",
  "mask_sinks",
  "compare",
  "opacity",
];
// what PatchGrid.show() replaces, all of it in one message
const CONTENT = ["image", "question", "target", "quantity", "warnings", "layers", "values", "boxes", "places", "sinks"];

function render({ model, el, signal }: RenderProps<PatchState>): void {
  const root = element("div", { class: "mw mw-patches", "data-lm-suppress-shortcuts": "true" });
  el.append(root);
  const bar = tools(root, model, { ...ownOf(model), follows: [...STEERED, ...CONTENT], render }, signal);
  const extras = () => [...root.querySelectorAll(":scope > :is(dialog, .mw-data)")]; // the toolbar's
  let shown = new AbortController();
  let update = () => {};
  const build = () => {
    shown.abort();
    shown = new AbortController();
    const steering = controls(model, shown.signal);
    const map = patchView(model, root, shown.signal);
    const head = heading(model);
    root.replaceChildren(
      bar,
      head.node,
      ...warningList(model.get("warnings")),
      steering.node,
      ...map.nodes,
      ...extras(),
    );
    update = () => {
      head.update();
      steering.update();
      map.update();
    };
    update();
  };
  for (const name of STEERED) model.on(`change:${name}`, () => update());
  const rebuild = perFrame(build, signal);
  for (const name of CONTENT) model.on(`change:${name}`, rebuild);
  signal.addEventListener("abort", () => shown.abort());
  replacePicture(model, signal);
  build();
}

function heading(model: Model): { node: HTMLElement; update: () => void } {
  const what = element("p", { class: "mw-answer" });
  const node = element("header", {}, element("p", { class: "mw-question" }, model.get("question")), what);
  const update = () => {
    const target = targetName(model);
    const token = model.get("token");
    const known = token < 0 || model.get("targets").some(({ position }) => position === token);
    const lacking = known || !away(model) ? "" : ` – ${RUN}`;
    what.textContent = `${model.get("quantity")} of visual tokens${target ? ` to ${target}` : ""}${lacking}`;
  };
  return { node, update };
}

export default { render };

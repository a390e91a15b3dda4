// mw.PatchGrid: values of visual tokens on the picture.  Draws from the model alone, and needs no kernel for anything.

import type { RenderProps } from "@anywidget/types";
import { element, warningList } from "./lib/dom";
import { replacePicture } from "./lib/picture";
import "./patch_grid.css";
import { controls } from "./patches/controls";
import type { Model, PatchState } from "./patches/state";
import { patchView } from "./patches/view";

const WATCHED = [
  "values",
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

function render({ model, el, signal }: RenderProps<PatchState>): void {
  const root = element("div", { class: "mw mw-patches", "data-lm-suppress-shortcuts": "true" });
  const steering = controls(model, signal);
  const map = patchView(model, root, signal);
  root.append(heading(model), ...warningList(model.get("warnings")), steering.node, ...map.nodes);
  el.append(root);
  const update = () => {
    steering.update();
    map.update();
  };
  for (const name of WATCHED) model.on(`change:${name}`, update);
  replacePicture(model.get("picture_id"), signal);
  update();
}

function heading(model: Model): HTMLElement {
  const target = model.get("target");
  const what = `${model.get("quantity")} of visual tokens${target ? ` to ${target}` : ""}`;
  return element(
    "header",
    {},
    element("p", { class: "mw-question" }, model.get("question")),
    element("p", { class: "mw-answer" }, what),
  );
}

export default { render };

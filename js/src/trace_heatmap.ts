// mw.TraceHeatmap: layers by tokens, live from the kernel.  Draws from the model alone, so a saved state draws the same.

import type { RenderProps } from "@anywidget/types";
import { controls } from "./heatmap/controls";
import { ownOf } from "./heatmap/own";
import type { HeatmapState, Model } from "./heatmap/state";
import { mapView } from "./heatmap/view";
import { element, warningList } from "./lib/dom";
import { number } from "./lib/format";
import { onKernel } from "./lib/kernel";
import { replacePicture } from "./lib/picture";
import { tools } from "./lib/tools";
import "./trace_heatmap.css";

const WATCHED = [
  "values",
  "fresh",
  "shown",
  "maps",
  "computing",
  "state",
  "message",
  "progress",
  "window",
  "module",
  "selected",
  "limit",
];

function render({ model, el, signal }: RenderProps<HeatmapState>): void {
  const root = element("div", { class: "mw mw-heatmap", "data-lm-suppress-shortcuts": "true" });
  const steering = controls(model, signal);
  const map = mapView(model, root, signal);
  const bar = tools(root, model, { ...ownOf(model), follows: WATCHED, render }, signal);
  root.append(bar, heading(model), ...warningList(model.get("warnings")), steering.node, ...map.nodes);
  el.append(root);
  const update = () => {
    steering.update();
    map.update();
  };
  for (const name of WATCHED) model.on(`change:${name}`, update);
  onKernel(model, update, signal);
  replacePicture(model, signal);
  steering.update();
  map.draw(); // where the page is laid out already, its next frame has the map
}

function heading(model: Model): HTMLElement {
  const [start = 0, end = 0] = model.get("span");
  // offsets count code points, as Python does
  const text = [...model.get("question")];
  const part = (from: number, to?: number) => text.slice(from, to).join("");
  const question = element("p", { class: "mw-question" }, part(0, start));
  if (end > start) question.append(element("mark", { title: "the visual constraint" }, part(start, end)));
  question.append(part(end));
  const instead = end > start ? ` for “${part(start, end)}”` : "";
  const corruption = model.get("swapped") ? `“${model.get("corruption")}”${instead}` : model.get("corruption");
  const answer = element(
    "p",
    { class: "mw-answer" },
    element("b", {}, model.get("answer")),
    `  ${model.get("measure")} ${number(model.get("clean"))}, but ${number(model.get("corrupted"))} with ${corruption}`,
  );
  return element("header", {}, question, answer);
}

export default { render };

// The two line charts: how the value was found, and what lambda trades for what.

import { element } from "../lib/dom";
import { number } from "../lib/format";
import { points, svg } from "../lib/svg";
import { LINES, lamName, nearest, shown } from "./numbers";
import type { Curve, EditModel } from "./state";

const WIDTH = 400;
const PLACE = { left: 38, right: 38, top: 10 };
const ACROSS = WIDTH - PLACE.left - PLACE.right;
const DOWN = 146;
const BOTTOM = PLACE.top + DOWN;
const HEADROOM = 5; // a line at 1 does not run into the frame

function frame(label: string, lines: number): SVGSVGElement {
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${BOTTOM + 15 * lines + 4}`, role: "img", "aria-label": label });
  chart.append(svg("rect", { x: PLACE.left, y: PLACE.top, width: ACROSS, height: DOWN, class: "mw-plot" }));
  return chart;
}

/** Where a share of 1 stands. */
function height(share: number): number {
  return BOTTOM - Math.max(0, Math.min(1, share)) * (DOWN - HEADROOM);
}

function write(text: string, x: number, y: number, anchor: "start" | "middle" | "end", kind = ""): SVGTextElement {
  return svg("text", { x, y, "text-anchor": anchor, class: kind }, text);
}

/** Loss and P(target) over the steps: of the search that runs, or of the edit looked at. */
export function lossChart(model: EditModel) {
  const node = element("div", { class: "mw-chart" });
  const update = () => {
    const curve = curveOf(model);
    node.hidden = !curve;
    if (!curve) return;
    const { losses, chances } = curve;
    const last = losses.length - 1;
    const words = last < 0 ? "no step yet" : `step ${last}: loss ${number(losses[last] ?? 0)}`;
    const chart = frame(
      `Optimising the value for ${curve.target} at layer ${curve.layer}, ${words}, P ${number(chances[last] ?? 0)}`,
      1,
    );
    const most = Math.max(...losses, 1e-3);
    const x = (step: number) => PLACE.left + (step / Math.max(1, curve.steps)) * ACROSS;
    const line = (values: number[], scale: number, kind: string) => {
      const pairs = values.map((value, step) => [x(step), height(value / scale)] as const);
      chart.append(svg("polyline", { points: points(pairs), class: kind }));
      const end = pairs.at(-1);
      if (end) chart.append(svg("circle", { cx: end[0], cy: end[1], r: 3.5, class: kind }));
    };
    line(losses, most, "mw-loss");
    line(chances, 1, "mw-efficacy");
    chart.append(
      write(number(most), PLACE.left - 5, PLACE.top + 9, "end", "mw-loss"),
      write("0", PLACE.left - 5, BOTTOM, "end", "mw-loss"),
      write("1", WIDTH - PLACE.right + 5, PLACE.top + 9, "start", "mw-efficacy"),
      write("0", WIDTH - PLACE.right + 5, BOTTOM, "start", "mw-efficacy"),
      write("0", PLACE.left, BOTTOM + 14, "middle"),
      write(String(curve.steps), WIDTH - PLACE.right, BOTTOM + 14, "middle"),
      write("step", PLACE.left + ACROSS / 2, BOTTOM + 14, "middle"),
    );
    const found = element(
      "p",
      { class: "mw-key" },
      key("mw-loss", "loss (nats)", number(losses[last] ?? Number.NaN)),
      key("mw-efficacy", `P(${curve.target}) with the value in place`, number(chances[last] ?? Number.NaN)),
    );
    node.replaceChildren(element("h4", {}, `Finding the value, layer ${curve.layer}`), chart, found);
  };
  return { node, update };
}

function curveOf(model: EditModel): Curve | undefined {
  const running = model.get("curve") as Curve;
  if (running.losses) return running;
  const result = model.get("results")[String(model.get("current"))];
  if (!result) return undefined;
  const { losses, chances, target, layer } = result;
  return { losses, chances, target, layer, steps: Math.max(1, losses.length - 1) };
}

function key(kind: string, name: string, value: string, title = ""): HTMLElement {
  const mark = svg("svg", { viewBox: "0 0 18 8", width: 18, height: 8, "aria-hidden": "true" });
  mark.append(svg("line", { x1: 0, y1: 4, x2: 18, y2: 4, class: kind }));
  const attributes: Record<string, string> = title ? { title } : {};
  return element("span", attributes, mark, `${name} `, element("b", {}, value));
}

/** Efficacy against specificity and leakage over lambda; a click on it moves the slider. */
export function tradeChart(model: EditModel, moved: (at: number) => void, signal: AbortSignal) {
  const node = element("div", { class: "mw-chart mw-trade" });
  let held = false;
  const at = (event: PointerEvent) => {
    const now = shown(model);
    const box = node.querySelector("svg")?.getBoundingClientRect();
    if (!now || !box) return;
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    moved(nearest((x - PLACE.left) / ACROSS, now.result.lams.length));
  };
  const begin = (event: PointerEvent) => {
    if (event.button !== 0 || !(event.target as Element).closest("svg[role=img]")) return;
    held = true;
    node.setPointerCapture(event.pointerId);
    at(event);
  };
  const end = () => {
    held = false;
  };
  node.addEventListener("pointerdown", begin, { signal });
  node.addEventListener("pointermove", (event) => held && at(event), { signal });
  node.addEventListener("pointerup", end, { signal });
  node.addEventListener("pointercancel", end, { signal });
  const update = () => {
    const now = shown(model);
    node.hidden = !now;
    if (!now) return;
    const { result } = now;
    const count = result.lams.length;
    const lines = LINES.filter(([name]) => result[name].length === count);
    const values = lines.map(([name, words]) => `${words} ${number(result[name][now.at] ?? 0)}`);
    const chart = frame(`Over lambda; at λ ${lamName(result.lams[now.at] ?? 0)}: ${values.join(", ")}`, 2);
    const x = (index: number) => PLACE.left + (index / Math.max(1, count - 1)) * ACROSS;
    chart.append(svg("line", { x1: x(now.at), x2: x(now.at), y1: PLACE.top, y2: BOTTOM, class: "mw-here" }));
    for (const [name] of lines) {
      const pairs = result[name].map((value, index) => [x(index), height(value)] as const);
      chart.append(svg("polyline", { points: points(pairs), class: `mw-${name}` }));
    }
    for (const [name] of lines) {
      const value = result[name][now.at] ?? 0;
      chart.append(svg("circle", { cx: x(now.at), cy: height(value), r: 4, class: `mw-${name}` }));
    }
    chart.append(write("1", PLACE.left - 5, PLACE.top + 9, "end"), write("0", PLACE.left - 5, BOTTOM, "end"));
    for (let index = 0; index < count; index += Math.max(1, Math.floor((count - 1) / 4)))
      chart.append(write(lamName(result.lams[index] ?? 0), x(index), BOTTOM + 14, "middle"));
    chart.append(
      write("← stronger edit", PLACE.left, BOTTOM + 29, "start"),
      write("λ", PLACE.left + ACROSS / 2, BOTTOM + 29, "middle"),
      write("weaker edit →", WIDTH - PLACE.right, BOTTOM + 29, "end"),
    );
    const keys = lines.map(([name, words, title]) =>
      key(`mw-${name}`, words, number(result[name][now.at] ?? Number.NaN), title),
    );
    node.replaceChildren(element("h4", {}, "What λ trades"), chart, element("p", { class: "mw-key" }, ...keys));
  };
  return { node, update };
}

// Where to edit: the trace's effect of each layer, and beneath it what an edit there gives.

import { colorIndex, colorTable, css } from "../lib/color";
import { element, uniqueName } from "../lib/dom";
import { number, signed } from "../lib/format";
import { ownKeys } from "../lib/keys";
import { themeOf } from "../lib/theme";
import type { Bars, EditModel } from "./state";

/** A list of layers, side by side; arrows or a click pick one. */
export function layerPicker(model: EditModel, signal: AbortSignal) {
  const id = uniqueName("layer");
  const title = element("h4", { id: `${id}-title` });
  const list = element("div", {
    class: "mw-layers",
    role: "listbox",
    tabindex: 0,
    "aria-orientation": "horizontal",
    "aria-labelledby": `${id}-title`,
  });
  const legend = element("p", { class: "mw-key" });
  const note = element("p", { class: "mw-note" });
  const node = element("section", { class: "mw-where" }, title, list, legend, note);
  const pick = (layer: number) => {
    if (layer === model.get("layer")) return;
    model.set("layer", layer);
    model.save_changes();
  };
  const clicked = (event: MouseEvent) => {
    const option = (event.target as Element).closest<HTMLElement>("[role=option]");
    if (option) pick(Number(option.dataset.layer));
  };
  list.addEventListener("click", clicked, { signal });
  const take = (event: KeyboardEvent) => {
    const at = model.get("layer");
    const last = model.get("layers") - 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (to === undefined || event.ctrlKey) return false;
    pick(Math.max(0, Math.min(last, to)));
    return true;
  };
  list.addEventListener("keydown", ownKeys(take), { signal });
  const update = () => {
    const layers = model.get("layers");
    const effects = model.get("effects");
    const bars = model.get("bars") as Bars;
    const causal = model.get("causal");
    const data = model.get("colors")[themeOf(node)];
    const color = data ? colorTable(data) : () => [255, 255, 255] as const;
    const every = [1, 2, 4, 5, 8, 10, 20].find((step) => layers / step <= 24) ?? 40;
    title.textContent = "Layer to edit";
    list.replaceChildren(
      ...Array.from({ length: layers }, (_, layer) => {
        const effect = effects[layer];
        const option = element("div", {
          role: "option",
          id: `${id}-${layer}`,
          "data-layer": layer,
          "aria-selected": String(layer === model.get("layer")),
          "aria-label": asSentence(model, layer),
          title: asSentence(model, layer),
        });
        const mark = element("span", { class: "mw-causal" }, layer === causal ? "▼" : "");
        const cell = element("span", { class: "mw-effect" });
        if (effect !== undefined) cell.style.background = css(color(colorIndex(effect, model.get("limit"))));
        const number = element("span", { class: "mw-number" }, layer % every ? "" : String(layer));
        option.append(mark, cell);
        if (bars.layers) option.append(pair(bars, layer));
        option.append(number);
        return option;
      }),
    );
    list.setAttribute("aria-activedescendant", `${id}-${model.get("layer")}`);
    legend.replaceChildren(
      ...(effects.length
        ? [
            element("span", {}, element("i", { class: "mw-swatch mw-cell" }), `trace: MLP at “${model.get("token")}”`),
            element("span", {}, "▼ causal layer"),
          ]
        : []),
      ...(bars.layers
        ? [
            element("span", {}, element("i", { class: "mw-swatch mw-in-place" }), `P(${bars.target}) with the value`),
            element("span", {}, element("i", { class: "mw-swatch mw-after" }), "after the edit"),
          ]
        : []),
    );
    const swatch = legend.querySelector<HTMLElement>(".mw-cell");
    if (swatch) swatch.style.background = css(color(255));
    note.textContent = model.get("trace_note");
    note.hidden = !note.textContent;
  };
  return { node, update };
}

function pair(bars: Bars, layer: number): HTMLElement {
  const place = bars.layers.indexOf(layer);
  const node = element("span", { class: "mw-bars" });
  if (place < 0) return node;
  for (const [kind, value] of [
    ["mw-in-place", bars.reached[place] ?? 0],
    ["mw-after", bars.efficacy[place] ?? 0],
  ] as const) {
    const bar = element("i", { class: kind, "data-value": value });
    bar.style.height = `${Math.max(2, 100 * value)}%`;
    node.append(bar);
  }
  return node;
}

function asSentence(model: EditModel, layer: number): string {
  const parts = [`layer ${layer}`];
  if (layer === model.get("causal")) parts.push("the causal layer");
  const effect = model.get("effects")[layer];
  if (effect !== undefined) parts.push(`indirect effect ${signed(effect)}`);
  const bars = model.get("bars") as Bars;
  const place = bars.layers ? bars.layers.indexOf(layer) : -1;
  if (place >= 0) {
    parts.push(`P(${bars.target}) ${number(bars.reached[place] ?? 0)} with the value in place`);
    parts.push(`${number(bars.efficacy[place] ?? 0)} after the edit`);
  }
  return parts.join(", ");
}

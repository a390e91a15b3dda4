// The logit lens of mw.Explorer: the words that each layer would say at the selected token.

import type { RenderProps } from "@anywidget/types";
import { lensOf } from "./explorer/own";
import type { LensModel, LensState } from "./explorer/state";
import { element, uniqueName } from "./lib/dom";
import { number } from "./lib/format";
import { keepKeys, ownKeys } from "./lib/keys";
import { replacePicture } from "./lib/picture";
import { onThemeChange, themeOf } from "./lib/theme";
import { tools } from "./lib/tools";
import "./lens_panel.css";

function render({ model, el, signal }: RenderProps<LensState>): void {
  const id = uniqueName("layer");
  const root = element("div", { class: "mw mw-lens", "data-lm-suppress-shortcuts": "true" });
  const title = element("p", { class: "mw-answer" });
  const list = element("div", {
    role: "listbox",
    tabindex: 0,
    "aria-label": "words that each layer would say; choosing one looks at that layer",
  });
  const count = topK(model, signal);
  root.append(
    tools(root, model, { ...lensOf(model), render }, signal),
    element("header", {}, title),
    element("div", { class: "mw-controls" }, count.node),
    list,
  );
  el.append(root);
  replacePicture(model, signal);

  const choose = (layer: number | undefined) => {
    if (layer === undefined || layer === model.get("layer")) return;
    model.set("layer", layer);
    model.save_changes();
  };
  const clicked = (event: MouseEvent) => {
    const option = (event.target as Element).closest<HTMLElement>("[role=option]");
    if (option) choose(Number(option.dataset.layer));
  };
  list.addEventListener("click", clicked, { signal });
  const take = ({ key, ctrlKey }: KeyboardEvent) => {
    const layers = model.get("layers");
    const at = layers.indexOf(model.get("layer"));
    const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: layers.length - 1 }[key];
    if (to === undefined || ctrlKey) return false;
    choose(layers[Math.max(0, Math.min(layers.length - 1, to))]);
    return true;
  };
  list.addEventListener("keydown", ownKeys(take), { signal });
  const update = () => {
    root.dataset.theme = themeOf(root);
    count.update();
    const place = model.get("positions").indexOf(model.get("token"));
    const words = model.get("words")[place];
    const name = model.get("names")[place];
    title.textContent = words
      ? `Logit lens: what each layer would say at “${name}” (token ${model.get("token")})`
      : "Logit lens: select a token of the text to see what each layer would say there.";
    list.hidden = !words;
    list.replaceChildren(
      ...model.get("layers").map((layer, index) => {
        const here = layer === model.get("layer");
        const said = (words?.[index] ?? []).slice(0, model.get("top_k"));
        const option = element("div", {
          role: "option",
          id: `${id}-${layer}`,
          "data-layer": layer,
          "aria-selected": String(here),
        });
        option.append(element("span", { class: "mw-layer" }, String(layer)));
        for (const { word, p } of said) {
          const strength = element("small", {}, number(p));
          const node = element(
            "span",
            { class: "mw-word", "data-answer": word === model.get("answer") },
            word,
            strength,
          );
          node.style.setProperty("--p", `${Math.round(100 * p)}%`);
          option.append(node);
        }
        return option;
      }),
    );
    if (words) list.setAttribute("aria-activedescendant", `${id}-${model.get("layer")}`);
    const chosen = list.querySelector<HTMLElement>("[aria-selected=true]");
    if (chosen) reveal(list, chosen);
  };
  for (const name of ["token", "layer", "top_k"] as const) model.on(`change:${name}`, update);
  onThemeChange(update, signal);
  requestAnimationFrame(update);
  update();
}

/** Scrolls the list alone: `scrollIntoView` would move the notebook. */
function reveal(list: HTMLElement, option: HTMLElement): void {
  const top = option.offsetTop - list.offsetTop;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + option.offsetHeight > list.scrollTop + list.clientHeight)
    list.scrollTop = top + option.offsetHeight - list.clientHeight;
}

function topK(model: LensModel, signal: AbortSignal) {
  const most = model.get("words")[0]?.[0]?.length ?? 1;
  const input = element("input", { type: "range", min: 1, max: most, step: 1, "aria-label": "words of each layer" });
  const value = element("span", { "aria-hidden": "true" });
  const node = element("label", { class: "mw-slider" }, element("span", {}, "Words"), input, value);
  const moved = () => {
    model.set("top_k", input.valueAsNumber);
    model.save_changes();
  };
  input.addEventListener("input", moved, { signal });
  keepKeys(node, signal);
  const update = () => {
    input.value = String(model.get("top_k"));
    value.textContent = input.value;
  };
  return { node, update };
}

export default { render };

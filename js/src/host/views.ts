// Views of models: anywidgets, boxes of views, and one sentence in the place of what cannot be shown here.

import { element } from "../lib/dom";
import { facade, type Model } from "./model";
import type { Store } from "./store";

/** What every view of a page needs; `failed` is told of a view that could not be drawn. */
export interface Host {
  store: Store;
  failed: () => void;
}

const FLOWS: Record<string, string> = { BoxModel: "row", HBoxModel: "row", VBoxModel: "column", GridBoxModel: "cells" };

/** The view of a model; never fails, but says what is missing. */
export async function view(host: Host, reference: unknown, signal: AbortSignal): Promise<HTMLElement> {
  const own = new AbortController();
  const stop = () => own.abort();
  signal.addEventListener("abort", stop, { signal: own.signal });
  try {
    const model = await host.store.model(reference);
    const node = element("div");
    if (model.name in FLOWS) await box(host, model, node, own.signal);
    else if (model.module === "anywidget") await anywidget(host, model, node, own.signal);
    else throw new Error(`a ${model.name.replace(/Model$/, "")} works in Jupyter only`);
    dress(model, node, own.signal);
    await layOut(host, model, node, own.signal);
    return node;
  } catch (error) {
    stop();
    host.failed();
    const reason = error instanceof Error ? error.message : String(error);
    return element("p", { class: "mw-broken", role: "note" }, `This view cannot be shown here: ${reason}.`);
  }
}

async function anywidget(host: Host, model: Model, el: HTMLElement, signal: AbortSignal): Promise<void> {
  const { render } = await host.store.bundle(model);
  if (!render) throw new Error("its program draws nothing");
  const cleanUp = await render({ model: facade(model, signal), el, signal });
  if (typeof cleanUp === "function") signal.addEventListener("abort", () => cleanUp());
}

/** Children in a row or a column; a child that stays keeps its view. */
async function box(host: Host, model: Model, node: HTMLElement, signal: AbortSignal): Promise<void> {
  node.classList.add("mw-box", `mw-${FLOWS[model.name]}`); // by class, since a Layout may say otherwise
  const shown = new Map<string, { stop: AbortController; node: Promise<HTMLElement> }>();
  let turn = 0;
  const arrange = async () => {
    const wanted = (model.get("children") ?? []) as string[];
    turn += 1;
    const now = turn;
    for (const [child, { stop }] of shown) {
      if (wanted.includes(child)) continue;
      stop.abort();
      shown.delete(child);
    }
    for (const child of wanted) {
      if (shown.has(child)) continue;
      const stop = new AbortController();
      shown.set(child, { stop, node: view(host, child, stop.signal) });
    }
    const nodes = await Promise.all(wanted.map((child) => shown.get(child)?.node));
    if (now === turn && !signal.aborted) node.replaceChildren(...nodes.filter((child) => child !== undefined));
  };
  signal.addEventListener("abort", () => {
    for (const { stop } of shown.values()) stop.abort();
  });
  listen(model, "children", () => void arrange(), signal);
  await arrange();
}

/** The classes that Python gave the view. */
function dress(model: Model, node: HTMLElement, signal: AbortSignal): void {
  let worn: string[] = [];
  const update = () => {
    node.classList.remove(...worn);
    worn = (model.get("_dom_classes") ?? []) as string[];
    node.classList.add(...worn);
  };
  listen(model, "_dom_classes", update, signal);
  update();
}

/** The view's Layout: every trait of it is a CSS property. */
async function layOut(host: Host, model: Model, node: HTMLElement, signal: AbortSignal): Promise<void> {
  const reference = model.get("layout");
  if (!reference) return;
  const layout = await host.store.model(reference).catch(() => undefined); // a view without its layout is still a view
  for (const trait of layout?.names() ?? []) {
    if (trait.startsWith("_")) continue;
    const update = () => node.style.setProperty(trait.replaceAll("_", "-"), String(layout?.get(trait) ?? ""));
    if (layout) listen(layout, trait, update, signal);
    update();
  }
}

function listen(model: Model, trait: string, changed: () => void, signal: AbortSignal): void {
  model.on(`change:${trait}`, changed);
  signal.addEventListener("abort", () => model.off(`change:${trait}`, changed));
}

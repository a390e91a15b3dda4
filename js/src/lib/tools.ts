// The toolbar of a widget, whose code is the same for all: it comes in the trait `tools` and is loaded as the widget itself was, from a Blob.

import type { AnyModel } from "@anywidget/types";
import { element } from "./dom";

/** A matrix with names on both sides. */
export interface Sheet {
  corner: string; // what the rows are
  columns: string[];
  rows: { label: string; cells: (number | string)[] }[]; // NaN where there is no value
}

/** What a widget's toolbar must know of it. */
export interface Own {
  kind: string; // the name of its bundle
  stem: () => string; // of the names of files
  about: () => string; // what the controls are set to, in words; a picture has no controls
  sheet?: () => Sheet; // no table, and no CSV, without it
  follows?: readonly string[]; // the traits that the table is of
  unfit?: () => string; // why what is on show is not for a file; empty where it is
  data?: () => Record<string, unknown>; // what a JSON file holds beside the provenance and the traits that the toolbar knows of
  // biome-ignore lint/suspicious/noExplicitAny: each widget's own render, whose model is the one given here
  render?: (props: any) => void; // draws the widget once more, for a picture of it; none without
}

// biome-ignore lint/suspicious/noExplicitAny: the models of all widgets
type Any = AnyModel<any>;

export type Attach = (place: HTMLElement, root: HTMLElement, model: Any, own: Own, signal: AbortSignal) => void;

/** Where the toolbar will be; in a picture of the widget, what its controls are set to. */
export function tools(root: HTMLElement, model: Any, own: Own, signal: AbortSignal): HTMLElement {
  const place = element("div", { class: "mw-tools" });
  void load(place, root, model, own, signal);
  return place;
}

async function load(place: HTMLElement, root: HTMLElement, model: Any, own: Own, signal: AbortSignal): Promise<void> {
  const source: string = model.get("tools");
  if (!source) return;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    const { default: attach }: { default: Attach } = await import(url);
    if (!signal.aborted) attach(place, root, model, own, signal);
  } finally {
    URL.revokeObjectURL(url);
  }
}

// The traits of mllm_widgets.widgets.TraceHeatmap, and what the view derives from them.

import type { AnyModel } from "@anywidget/types";
import type { WidgetState } from "../lib/state";
import { decoded, isRounded, ROUNDED, type WireTensor } from "../lib/tensor";

export interface Row {
  label: string;
  position: number;
  id: number;
  count: number;
  visual: boolean;
  constraint: boolean;
  traced: boolean;
  reason: string;
  column: number; // (first) place on the token axis of `values`; -1 for folded visual tokens
}

/** Whole maps of several windows, which the slider reads without the kernel. */
export interface Maps {
  windows: number[];
  values: WireTensor; // (window, module, layer, token)
  limits: number[]; // the end of each window's scale
}

export interface HeatmapState extends WidgetState {
  question: string;
  span: number[];
  answer: string;
  measure: string; // P, log P or logit difference
  corruption: string;
  swapped: boolean; // the corruption is other words, not noise or another picture
  warnings: string[];
  clean: number;
  corrupted: number;
  modules: { key: string; name: string }[];
  layers: number;
  rows: Row[];
  colors: Record<string, Record<"light" | "dark", DataView>>;
  limit: number;
  values: WireTensor;
  fresh: WireTensor;
  shown: number;
  maps: Maps | Record<string, never>;
  computing: number;
  state: "idle" | "waiting" | "running" | "stopped" | "error";
  message: string;
  progress: number;
  seconds: number;
  live: boolean;
  window: number;
  module: string;
  selected: number[];
  token: number;
  layer: number;
  cancel: number;
}

export type Model = AnyModel<HeatmapState>;

export interface Cell {
  row: number;
  layer: number;
}

/** Reads cells of the module on show. */
export class Values {
  private readonly restored: Float32Array | Uint8Array;
  private readonly isFresh: Float32Array | Uint8Array;
  private readonly complete: boolean; // all cells are of the slider's window
  private readonly coming: boolean; // some are, the fresh ones
  private readonly staying: boolean; // those that are not fresh yet: the slider went back while another window was computed
  private readonly computing: number; // the window that fresh cells are of; 0 where all are of one
  private readonly shown: number;
  private readonly corrupted: number;
  private readonly tokens: number;
  private readonly first: number; // of the module's cells

  // what a hundred thousand cells ask for is read from the model once
  constructor(model: Model) {
    const wire = onShow(model).values;
    this.complete = !isStale(model);
    this.computing = isMixed(model) ? model.get("computing") : 0;
    this.shown = model.get("shown");
    this.coming = this.computing === model.get("window");
    this.staying = this.shown === model.get("window");
    this.restored = decoded(wire);
    this.isFresh = decoded(model.get("fresh"));
    this.corrupted = model.get("corrupted");
    this.tokens = wire.shape[2] ?? 0;
    this.first = model.get("modules").findIndex(({ key }) => key === model.get("module")) * model.get("layers");
  }

  /** P_restored; NaN where it is not known, or where nothing is traced. */
  at(row: Row, layer: number): number {
    return row.traced && row.column >= 0 ? (this.restored[this.index(row, layer)] ?? Number.NaN) : Number.NaN;
  }

  effect(row: Row, layer: number): number {
    return this.at(row, layer) - this.corrupted;
  }

  /** Does the cell belong to the window that the slider shows? */
  fresh(row: Row, layer: number): boolean {
    return this.complete || (this.isAhead(row, layer) ? this.coming : this.staying);
  }

  /** The window that a cell is of, where it is not the slider's. */
  windowOf(row: Row, layer: number): number {
    return this.isAhead(row, layer) ? this.computing : this.shown;
  }

  /** Is the cell of the window that is being computed, and the map called after another one? */
  isAhead(row: Row, layer: number): boolean {
    return this.computing > 0 && this.isFresh[this.index(row, layer)] === 1;
  }

  private index(row: Row, layer: number): number {
    return (this.first + layer) * this.tokens + row.column;
  }
}

/** The place of the slider's window among the maps that came whole; -1 where it is none of them, or on show anyway. */
function heldAt(model: Model): number {
  const window = model.get("window");
  const there = window === model.get("shown") && !model.get("computing");
  return there ? -1 : (model.get("maps").windows ?? []).indexOf(window);
}

/** Are cells of two windows on show?  So it is while a map is computed, and in a notebook that was saved meanwhile. */
export function isMixed(model: Model): boolean {
  return model.get("computing") > 0 && heldAt(model) < 0;
}

/** The map that is drawn: of which window, its numbers (module, layer, token), and the end of its scale. */
export function onShow(model: Model): { window: number; values: WireTensor; limit: number } {
  const at = heldAt(model);
  if (at < 0) return { window: model.get("shown"), values: model.get("values"), limit: model.get("limit") };
  const { values, limits } = model.get("maps") as Maps;
  return { window: model.get("window"), values: part(values, at), limit: limits[at] ?? model.get("limit") };
}

const parts = new WeakMap<WireTensor, Map<number, WireTensor>>();

/** One of several tensors that came as one; the same object each time, so that it is decoded once. */
function part(whole: WireTensor, at: number): WireTensor {
  const known = parts.get(whole) ?? new Map<number, WireTensor>();
  parts.set(whole, known);
  const { data, shape } = whole;
  const size = data.byteLength / (shape[0] ?? 1);
  const view = () => new DataView(data.buffer, data.byteOffset + at * size, size);
  const one = known.get(at) ?? { ...whole, shape: shape.slice(1), data: view() };
  known.set(at, one);
  return one;
}

/** Is the map on show still that of another window than the slider's, or of two? */
export function isStale(model: Model): boolean {
  return heldAt(model) < 0 && (isMixed(model) || model.get("window") !== model.get("shown"));
}

/** How the map on show was rounded on its way here, in words: effects that are small beside the scores have no more than that left. */
export function rounded(model: Model): string {
  const { values } = onShow(model);
  return isRounded(values) ? ROUNDED : values.dtype === "f2" ? "stored in 16 bits" : "";
}

/** The windows whose maps are here. */
export function windowsHere(model: Model): number[] {
  const windows = new Set(model.get("maps").windows ?? []);
  return [...windows.add(model.get("shown"))].filter((window) => window > 0);
}

/** The pinned cell, told by its token and layer; nothing where no token is. */
export function cellOf(rows: Row[], token: number, layer: number): number[] {
  const row = rows.findIndex(({ position, count }) => position <= token && token < position + count);
  return token < 0 || row < 0 ? [] : [row, layer];
}

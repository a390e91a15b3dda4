// The traits of mllm_widgets.widgets.TraceHeatmap, and what the view derives from them.

import type { AnyModel } from "@anywidget/types";
import { decode, type WireTensor } from "../lib/tensor";

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

export interface HeatmapState {
  version: number;
  picture_id: string;
  offline: boolean;
  snapshots: number;
  taken: number;
  outputs: number;
  tools: string;
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
  private readonly tokens: number;
  private readonly module: number;

  constructor(private readonly model: Model) {
    const wire = model.get("values");
    this.restored = decode(wire);
    this.isFresh = decode(model.get("fresh"));
    this.tokens = wire.shape[2] ?? 0;
    this.module = model.get("modules").findIndex(({ key }) => key === model.get("module"));
  }

  /** P_restored; NaN where it is not known, or where nothing is traced. */
  at(row: Row, layer: number): number {
    return row.traced && row.column >= 0 ? (this.restored[this.index(row, layer)] ?? Number.NaN) : Number.NaN;
  }

  effect(row: Row, layer: number): number {
    return this.at(row, layer) - this.model.get("corrupted");
  }

  /** Does the cell belong to the window that the slider shows? */
  fresh(row: Row, layer: number): boolean {
    if (this.model.get("window") === this.model.get("shown")) return true;
    return this.model.get("computing") === this.model.get("window") && this.isFresh[this.index(row, layer)] === 1;
  }

  private index(row: Row, layer: number): number {
    return (this.module * this.model.get("layers") + layer) * this.tokens + row.column;
  }
}

export function isStale(model: Model): boolean {
  return model.get("window") !== model.get("shown");
}

/** The pinned cell, told by its token and layer; nothing where no token is. */
export function cellOf(rows: Row[], token: number, layer: number): number[] {
  const row = rows.findIndex(({ position, count }) => position <= token && token < position + count);
  return token < 0 || row < 0 ? [] : [row, layer];
}

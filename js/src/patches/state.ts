// The traits of mllm_widgets.widgets.PatchGrid, and the patches they tell of.

import type { AnyModel } from "@anywidget/types";
import type { WidgetState } from "../lib/state";
import { decoded, type WireTensor } from "../lib/tensor";

export interface PatchState extends WidgetState {
  image: DataView;
  picture_size: number[];
  question: string;
  target: string;
  quantity: string;
  model_name: string;
  warnings: string[];
  layers: number[];
  values: WireTensor; // (layers, visual tokens)
  boxes: WireTensor; // (visual tokens, 4): left, top, right, bottom in pixels of the picture; NaN for what is no patch
  places: WireTensor; // (visual tokens, 3): index of its grid, row, column
  grids: { kind: string; box: number[] }[];
  kinds: { key: string; name: string }[];
  sinks: { token: number; reason: string }[];
  colors: Record<"light" | "dark", DataView>;
  targets: { position: number; name: string }[]; // of contributions to several
  stacked: WireTensor; // (targets, layers, visual tokens)
  token: number; // position of the target on show, -1 for `values`, the mean of all
  layer: number;
  selected: number[];
  top_k: number;
  threshold: number;
  scale: "linear" | "log";
  grid: string;
  mask_sinks: boolean;
  compare: boolean;
  opacity: number;
}

export type Model = AnyModel<PatchState>;

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** A visual token that lies on the picture. */
export interface Patch extends Box {
  token: number;
  grid: number;
  row: number;
  column: number;
}

/** The values of all visual tokens at all layers; NaN where nothing is known about the target. */
export interface Values {
  data: Float32Array | Uint8Array;
  count: number; // visual tokens
  layers: number;
}

export function readValues(model: Model): Values {
  const wire = model.get("values");
  const [layers = 0, count = 0] = wire.shape;
  if (model.get("token") < 0) return { data: decoded(wire), layers, count };
  const size = layers * count;
  const target = model.get("targets").findIndex(({ position }) => position === model.get("token"));
  const data =
    target < 0
      ? new Float32Array(size).fill(Number.NaN)
      : decoded(model.get("stacked")).subarray(target * size, (target + 1) * size);
  return { data, layers, count };
}

/** What receives the values on show, in words. */
export function targetName(model: Model): string {
  const token = model.get("token");
  if (token < 0) return model.get("target");
  const name = model.get("targets").find(({ position }) => position === token)?.name;
  return name === undefined ? `token ${token}, not computed yet` : `“${name}”`;
}

/** The patches of the grids of one kind, by token. */
export function readPatches(model: Model): Patch[] {
  const boxes = decoded(model.get("boxes"));
  const places = decoded(model.get("places"));
  const grids = model.get("grids");
  const patches: Patch[] = [];
  for (let token = 0; token < boxes.length / 4; token++) {
    const [left = 0, top = 0, right = 0, bottom = 0] = boxes.subarray(4 * token, 4 * token + 4);
    const [grid = -1, row = 0, column = 0] = places.subarray(3 * token, 3 * token + 3);
    // NaN, what is no patch, is none of the grids
    if (grids[grid]?.kind === model.get("grid")) patches.push({ token, left, top, right, bottom, grid, row, column });
  }
  return patches;
}

export function boxOf({ box: [left = 0, top = 0, right = 0, bottom = 0] }: { box: number[] }): Box {
  return { left, top, right, bottom };
}

/** The row of `values` that holds the layer on show. */
export function layerIndex(model: Model): number {
  return Math.max(0, model.get("layers").indexOf(model.get("layer")));
}

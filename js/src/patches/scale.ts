// How patches stand out: shares of the scale and ranks.  The same rules as mllm_widgets/patch_map.py; tests/data/patches.json holds both to them.

import type { Values } from "./state";

export const DECADES = 2; // a logarithmic scale ends at a hundredth of its largest value

export interface Options {
  scale: "linear" | "log";
  threshold: number;
  topK: number;
  compare: boolean;
}

export interface Mark {
  value: number; // NaN where masked or unknown
  share: number; // place on the scale, 0..1
  rank: number; // 1 is the largest; 0 has none
  drawn: boolean;
  below: boolean; // too small for a logarithmic scale
  unknown: boolean; // not masked, and yet without a value
}

export interface Highlights {
  marks: Map<number, Mark>;
  top: number[];
  ranked: number; // how many patches have a rank
  sum: number;
  limit: number; // the value at the scale's end
}

/** The highlights of `tokens` at a layer (its index), those in `hidden` left out. */
export function highlights(
  values: Values,
  layer: number,
  tokens: number[],
  hidden: ReadonlySet<number>,
  { scale, threshold, topK, compare }: Options,
): Highlights {
  const at = (row: number, token: number) =>
    hidden.has(token) ? Number.NaN : (values.data[row * values.count + token] ?? Number.NaN);
  let limit = 0;
  for (let row = compare ? 0 : layer; row < (compare ? values.layers : layer + 1); row++) {
    for (const token of tokens) limit = Math.max(limit, at(row, token) || 0);
  }
  const known = tokens.filter((token) => !Number.isNaN(at(layer, token)));
  const order = known.sort((a, b) => at(layer, b) - at(layer, a) || a - b);
  const marks = new Map<number, Mark>();
  for (const token of tokens) {
    const value = at(layer, token);
    const share = shareOf(value, limit, scale);
    const below = scale === "log" && threshold === 0 && value < limit / 10 ** DECADES;
    marks.set(token, {
      value,
      share,
      rank: 0,
      drawn: share > 0 && share >= threshold,
      below,
      unknown: Number.isNaN(value) && !hidden.has(token),
    });
  }
  order.forEach((token, index) => {
    const mark = marks.get(token);
    if (mark) mark.rank = index + 1;
  });
  const sum = order.reduce((total, token) => total + at(layer, token), 0);
  return { marks, top: order.slice(0, topK), ranked: order.length, sum, limit };
}

/** Where a value lies on a scale that ends at `limit`. */
export function shareOf(value: number, limit: number, scale: "linear" | "log"): number {
  if (Number.isNaN(value)) return Number.NaN;
  if (limit <= 0) return 0;
  const share = value / limit;
  return Math.max(0, Math.min(1, scale === "log" ? 1 + Math.log10(share) / DECADES : share));
}

/** Mean of some tokens at every layer; NaN where none has a value. */
export function meanOver(values: Values, tokens: number[]): number[] {
  return Array.from({ length: values.layers }, (_, layer) => {
    const known = tokens
      .map((t) => values.data[layer * values.count + t] ?? Number.NaN)
      .filter((v) => !Number.isNaN(v));
    return known.length ? known.reduce((a, b) => a + b, 0) / known.length : Number.NaN;
  });
}

/** Largest of some tokens at every layer. */
export function largestOf(values: Values, tokens: number[]): number[] {
  return Array.from({ length: values.layers }, (_, layer) =>
    tokens.reduce((most, token) => Math.max(most, values.data[layer * values.count + token] || 0), 0),
  );
}

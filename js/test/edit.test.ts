import { expect, test } from "vitest";
import { lamName, nearest, Sweep, shown, verdict, word } from "../src/edit/numbers";
import type { EditModel, Result } from "../src/edit/state";
import type { WireTensor } from "../src/lib/tensor";

function tensor(shape: number[], values: number[], dtype: "f4" | "u1" = "f4"): WireTensor {
  const array = dtype === "f4" ? new Float32Array(values) : new Uint8Array(values);
  return { dtype, shape, data: new DataView(array.buffer) };
}

// two lambdas, three questions, two ranks; "·Rome" is the target
const result = {
  target: "Rome",
  lams: [0.01, 100],
  probability: tensor([2, 3], [0.9, 0.1, 0.8, 0, 0.25, 0.5]),
  kept: tensor([2, 3], [0.05, 0.75, 0.1, 1, 0.5, 0.25]),
  agreement: tensor([2, 3], [0, 1, 0, 1, 1, 0], "u1"),
  words: ["·Paris", "·Rome", "·Agra"],
  said: 1,
  top: tensor([2, 3, 2], [1, 0, 2, 1, 1, 2, 0, 1, 2, 1, 0, 1]),
  top_p: tensor([2, 3, 2], [0.9, 0.05, 0.75, 0.1, 0.8, 0.1, 1, 0, 0.5, 0.25, 0.5, 0.5]),
} as unknown as Result;

test("a sweep is read lambda by lambda, question by question", () => {
  const sweep = new Sweep(result);
  expect(sweep.count).toBe(2);
  expect(sweep.probability(0, 2)).toBeCloseTo(0.8);
  expect(sweep.kept(1, 1)).toBe(0.5);
  expect(sweep.agrees(0, 1)).toBe(true);
  expect(sweep.top(0, 1).map(word)).toEqual(["Agra", "Rome"]);
  expect(sweep.top(1, 0)[0]?.p).toBe(1);
});

test("a question that should follow has changed or not, another one is kept, leaks, or says something else", () => {
  const sweep = new Sweep(result);
  expect(verdict(sweep, "edited", 0, 0)).toEqual({ good: true, text: "changed" });
  expect(verdict(sweep, "picture", 1, 0)).toEqual({ good: false, text: "not changed" });
  expect(verdict(sweep, "same phrase", 0, 1)).toEqual({ good: true, text: "kept" });
  expect(verdict(sweep, "same phrase", 0, 2)).toEqual({ good: false, text: "leaks" });
  expect(verdict(sweep, "unrelated", 1, 2)).toEqual({ good: false, text: "now Paris" });
});

test("the edit looked at stands at its own place of its own axis, and nothing is shown before its sweep is there", () => {
  const model = (values: Record<string, unknown>) => ({ get: (name: string) => values[name] }) as unknown as EditModel;
  const results = { "1": result, "2": { ...result, lams: [] } };
  expect(shown(model({ results, current: 0, lam_of: {} }))).toBeUndefined();
  expect(shown(model({ results, current: 2, lam_of: { "2": 1 } }))).toBeUndefined();
  expect(shown(model({ results, current: 1, lam_of: { "1": 1, "2": 0 } }))?.at).toBe(1);
  expect(shown(model({ results, current: 1, lam_of: { "1": 40 } }))?.at).toBe(1);
});

test("lambdas are written with three figures, and as powers of ten where they are large or small", () => {
  expect([0, 0.01, 0.05623, 5.623, 56.23, 5623, 56234, 0.00056].map(lamName)).toEqual([
    "0",
    "0.01",
    "0.0562",
    "5.62",
    "56.2",
    "5620",
    "5.6e4",
    "5.6e−4",
  ]);
});

test("a place on the axis is a whole number inside it", () => {
  expect([-0.2, 0, 0.49, 0.51, 1, 3].map((share) => nearest(share, 3))).toEqual([0, 0, 1, 1, 2, 2]);
});

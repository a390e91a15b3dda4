import { expect, test } from "vitest";
import { contains, pieces, rangeOf, spanOf, stepped } from "../src/explorer/marking";
import { cellOf, type Row } from "../src/heatmap/state";
import { type Model, readValues, targetName } from "../src/patches/state";

const text = "Is “this” 🗼 here?";
const words = [
  { text: "Is", start: 0, end: 2 },
  { text: "this", start: 4, end: 8 },
  { text: "here", start: 12, end: 16 },
];

test("a question is cut into its words and what stands between them, counted in code points", () => {
  expect(pieces(text, words)).toEqual([
    { text: "Is", word: 0 },
    { text: " “", word: -1 },
    { text: "this", word: 1 },
    { text: "” 🗼 ", word: -1 },
    { text: "here", word: 2 },
    { text: "?", word: -1 },
  ]);
  expect(
    pieces(text, words)
      .map((piece) => piece.text)
      .join(""),
  ).toBe(text);
});

test("a span of characters marks the words it touches, and a range of words gives its span back", () => {
  expect(rangeOf(words, [4, 16])).toEqual({ from: 1, to: 2 });
  expect(rangeOf(words, [])).toBeUndefined();
  expect(rangeOf(words, [2, 4])).toBeUndefined();
  expect(spanOf(words, { from: 2, to: 1 })).toEqual([4, 16]);
  expect([0, 1, 2].map((index) => contains({ from: 2, to: 1 }, index))).toEqual([false, true, true]);
  expect(contains(undefined, 0)).toBe(false);
});

test("arrows mark one word, with Shift they mark more, and they stop at the ends", () => {
  expect(stepped({ from: 1, to: 1 }, "ArrowRight", false, 3)).toEqual({ from: 2, to: 2 });
  expect(stepped({ from: 1, to: 1 }, "ArrowLeft", true, 3)).toEqual({ from: 1, to: 0 });
  expect(stepped({ from: 1, to: 2 }, "ArrowRight", true, 3)).toEqual({ from: 1, to: 2 });
  expect(stepped({ from: 1, to: 1 }, "End", true, 3)).toEqual({ from: 1, to: 2 });
  expect(stepped({ from: 1, to: 1 }, "a", false, 3)).toBeUndefined();
});

test("a token is found in the row that holds it, folded or not", () => {
  const row = (position: number, count: number) => ({ position, count }) as Row;
  const rows = [row(0, 1), row(1, 64), row(65, 1)];
  expect(cellOf(rows, 40, 3)).toEqual([1, 3]);
  expect(cellOf(rows, 65, 0)).toEqual([2, 0]);
  expect(cellOf(rows, -1, 3)).toEqual([]);
  expect(cellOf(rows, 66, 3)).toEqual([]);
});

test("a patch grid shows the target its token names, the mean for none, and nothing for one that is not known", () => {
  const wire = (shape: number[], data: number[]) => ({
    dtype: "f4",
    shape,
    data: new DataView(Float32Array.from(data).buffer),
  });
  const traits = {
    values: wire([1, 2], [1, 2]),
    stacked: wire([2, 1, 2], [3, 4, 5, 6]),
    targets: [
      { position: 7, name: "·a" },
      { position: 9, name: "·b" },
    ],
    target: "“a b”",
    token: -1,
  };
  const model = { get: (name: keyof typeof traits) => traits[name] } as unknown as Model;
  const shown = (token: number) => {
    traits.token = token;
    return { data: [...readValues(model).data], name: targetName(model) };
  };
  expect(shown(-1)).toEqual({ data: [1, 2], name: "“a b”" });
  expect(shown(7)).toEqual({ data: [3, 4], name: "“·a”" });
  expect(shown(9)).toEqual({ data: [5, 6], name: "“·b”" });
  expect(shown(8)).toEqual({ data: [Number.NaN, Number.NaN], name: "token 8, not computed yet" });
});

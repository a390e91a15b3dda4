import { expect, test } from "vitest";
import { blend, colorIndex, colorTable, parseRgb } from "../src/lib/color";

test("0 is the middle, the limits are the ends, beyond them nothing changes", () => {
  expect([0, 1, -1, 7, -7].map((effect) => colorIndex(effect, 1))).toEqual([128, 255, 0, 255, 0]);
  expect(colorIndex(0.25, 0.5)).toBe(192);
  expect(colorIndex(-0.25, 0.5)).toBe(64);
});

test("a table gives the three bytes of an entry", () => {
  const bytes = Uint8Array.from({ length: 768 }, (_, i) => i % 256);
  expect(colorTable(new DataView(bytes.buffer))(2)).toEqual([6, 7, 8]);
});

test("blending mixes towards the ground", () => {
  expect(blend([200, 0, 100], [0, 0, 0], 0.5)).toEqual([100, 0, 50]);
});

test("computed colours are parsed in every form a browser gives", () => {
  expect(parseRgb("#fff")).toEqual([255, 255, 255]);
  expect(parseRgb("#112233")).toEqual([17, 34, 51]);
  expect(parseRgb("rgb(1, 2, 3)")).toEqual([1, 2, 3]);
  expect(parseRgb("rgba(1 2 3 / 50%)")).toEqual([1, 2, 3]);
  expect(parseRgb("")).toEqual([255, 255, 255]);
});

// What Python and TypeScript must both compute: the tables in tests/data are checked by tests/test_colormaps.py, test_labels.py and test_numbers.py, too.

import { expect, test } from "vitest";
import colors from "../../tests/data/color_index.json";
import numbers from "../../tests/data/numbers.json";
import windows from "../../tests/data/windows.json";
import { lamName } from "../src/edit/numbers";
import { colorIndex } from "../src/lib/color";
import { number, signed, windowLayers, windowName } from "../src/lib/format";

test("effects get the colours that Python gives them", () => {
  for (const [effect = Number.NaN, limit = Number.NaN, index] of colors.cases) {
    expect([effect, limit, colorIndex(effect, limit)]).toEqual([effect, limit, index]);
  }
});

test("windows restore the layers that Python restores", () => {
  for (const [centre = -1, window = -1, layers = -1, first, last] of windows.layers) {
    expect([centre, window, layers, ...windowLayers(centre, window, layers)]).toEqual([
      centre,
      window,
      layers,
      first,
      last,
    ]);
  }
});

test("windows are called what Python calls them", () => {
  for (const [window, name] of windows.names) {
    expect(windowName(Number(window))).toBe(name);
  }
});

test("numbers are written as Python writes them", () => {
  for (const [value, text] of numbers.number) expect([value, number(Number(value))]).toEqual([value, text]);
  for (const [value, text] of numbers.signed) expect([value, signed(Number(value))]).toEqual([value, text]);
  for (const [value, text] of numbers.lam) expect([value, lamName(Number(value))]).toEqual([value, text]);
});

import { expect, test } from "vitest";
import { layerRange, number, percent, signed, windowLayers, windowName } from "../src/lib/format";

test("numbers keep three significant figures and never show a false zero", () => {
  expect([0.9987, 0.1234, 0.01234, 1, 0].map(number)).toEqual(["0.999", "0.123", "0.0123", "1.00", "0"]);
  expect([1.234e-6, -0.25].map(number)).toEqual(["1.23e−6", "−0.250"]);
  const sent: unknown[] = [Number.NaN, null, "nan"]; // what becomes of NaN on a page, and on Jupyter's way
  for (const value of sent) expect(number(value as number)).toBe("not known yet");
});

test("effects carry a sign", () => {
  expect([0.5, -0.5, 0].map(signed)).toEqual(["+0.500", "−0.500", "0"]);
});

test("shares read as percent, and no effect to recover as undefined", () => {
  expect([1, 0.05, -0.5].map(percent)).toEqual(["100%", "5.0%", "−50%"]);
  expect(percent(Number.POSITIVE_INFINITY)).toBe("undefined");
});

test("windows are centred, clipped, and lean left when even, as in Python", () => {
  expect(windowLayers(2, 3, 8)).toEqual([1, 3]);
  expect(windowLayers(0, 3, 8)).toEqual([0, 1]);
  expect(windowLayers(4, 4, 8)).toEqual([2, 5]);
  expect(windowLayers(7, 5, 8)).toEqual([5, 7]);
  expect(layerRange([2, 2])).toBe("layer 2");
  expect([1, 3, 4, 2].map(windowName)).toEqual([
    "1 layer: l",
    "3 layers: l−1 … l+1",
    "4 layers: l−2 … l+1",
    "2 layers: l−1 … l",
  ]);
});

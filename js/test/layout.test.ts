import { expect, test } from "vitest";
import { moved } from "../src/heatmap/cursor";
import { cellAt, cellBox, layout, numbered, rowsInSight } from "../src/heatmap/layout";

test("the middle of every cell's box is that cell", () => {
  for (const [available, rows, layers] of [
    [800, 16, 8],
    [380, 60, 32],
    [1000, 5, 80],
  ] as const) {
    const l = layout(available, rows, layers, 90);
    for (let row = 0; row < rows; row++) {
      for (let layer = 0; layer < layers; layer++) {
        const box = cellBox(l, { row, layer });
        expect(cellAt(l, box.x + box.width / 2, box.y + box.height / 2)).toEqual({ row, layer });
      }
    }
  }
});

test("points beside the map are no cell", () => {
  const l = layout(800, 4, 8, 90);
  expect(cellAt(l, l.left - 1, l.top + 5)).toBeUndefined();
  expect(cellAt(l, l.left + 8 * l.cellWidth + 1, l.top + 5)).toBeUndefined();
  expect(cellAt(l, l.left + 1, l.top + 4 * l.cellHeight + 1)).toBeUndefined();
});

test("the map fits the width it was given, labels are cut first", () => {
  const l = layout(400, 20, 32, 300);
  expect(l.width).toBeLessThanOrEqual(400);
  expect(l.left).toBeLessThanOrEqual(171);
});

test("layer numbers never touch", () => {
  for (const layers of [8, 32, 80]) {
    const l = layout(420, 10, layers, 90);
    const shown = numbered(l);
    expect(shown[0]).toBe(0);
    const step = (shown[1] ?? layers) - (shown[0] ?? 0);
    expect(step * l.cellWidth).toBeGreaterThanOrEqual(String(layers - 1).length * 7);
  }
});

test("keys move as in a grid and stop at its edges", () => {
  const at = { row: 3, layer: 2 };
  const to = (key: string, ctrl = false) => moved(at, key, ctrl, 5, 8);
  expect(to("ArrowRight")).toEqual({ row: 3, layer: 3 });
  expect(to("ArrowUp")).toEqual({ row: 2, layer: 2 });
  expect(to("PageDown")).toEqual({ row: 4, layer: 2 });
  expect(to("PageUp")).toEqual({ row: 0, layer: 2 });
  expect(to("End")).toEqual({ row: 3, layer: 7 });
  expect(to("Home", true)).toEqual({ row: 0, layer: 0 });
  expect(to("End", true)).toEqual({ row: 4, layer: 7 });
  expect(to("x")).toBeUndefined();
  expect(moved({ row: 0, layer: 0 }, "ArrowLeft", false, 5, 8)).toEqual({ row: 0, layer: 0 });
});

test("a tall map has the height of a screen, and only the rows in sight are drawn", () => {
  const l = layout(800, 2880, 32, 90);
  expect(l.height).toBeGreaterThan(43_000);
  expect(l.view).toBe(720);
  const [first, end] = rowsInSight(l, 15_000);
  expect(cellBox(l, { row: first, layer: 0 }).y).toBeLessThanOrEqual(15_000);
  expect(cellBox(l, { row: first + 1, layer: 0 }).y).toBeGreaterThan(15_000);
  expect(cellBox(l, { row: end, layer: 0 }).y).toBeGreaterThanOrEqual(15_000 + 720 - 38);
  expect(end - first).toBeLessThan(50);
  expect(rowsInSight(l, l.height - l.view)[1]).toBe(2880);
});

test("a map of a usual length, and one that is exported, has all its rows in sight", () => {
  expect(rowsInSight(layout(800, 60, 8, 90), 0)).toEqual([0, 60]);
  const whole = layout(800, 2880, 32, 90, true);
  expect(whole.view).toBe(whole.height);
  expect(rowsInSight(whole, 0)).toEqual([0, 2880]);
});

import { expect, test } from "vitest";
import { moved } from "../src/heatmap/cursor";
import { cellAt, cellBox, layout, numbered } from "../src/heatmap/layout";

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

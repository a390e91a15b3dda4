import { expect, test } from "vitest";
import golden from "../../tests/data/patches.json";
import { strengthIndex } from "../src/lib/color";
import { layerAt } from "../src/patches/chart";
import { cover } from "../src/patches/draw";
import { layout, middle, onPage, patchAt, patchesIn, toPicture, viewOf } from "../src/patches/layout";
import { highlights, largestOf, meanOver, shareOf } from "../src/patches/scale";
import { moved, toggled } from "../src/patches/select";
import type { Patch } from "../src/patches/state";

/** Patches of equal size, row by row. */
function grid(rows: number, columns: number, size = 10, at = { x: 0, y: 0, grid: 0, token: 0 }): Patch[] {
  return Array.from({ length: rows * columns }, (_, index) => {
    const [row, column] = [Math.floor(index / columns), index % columns];
    const [left, top] = [at.x + column * size, at.y + row * size];
    return { token: at.token + index, grid: at.grid, row, column, left, top, right: left + size, bottom: top + size };
  });
}

const values = {
  data: Float32Array.from(golden.values.flat().map((value) => value ?? Number.NaN)),
  layers: golden.values.length,
  count: 6,
};

test("patches stand out as Python says", () => {
  for (const { layer, options, share, rank, drawn, top, limit } of golden.cases) {
    const { scale, threshold, top_k, mask_sinks, compare } = options as Record<string, never>;
    const found = highlights(
      values,
      golden.layers.indexOf(layer),
      [0, 1, 2, 3, 4, 5],
      new Set(mask_sinks ? golden.sinks : []),
      { scale: scale ?? "linear", threshold: threshold ?? 0, topK: top_k ?? 0, compare: compare ?? false },
    );
    const marks = [...found.marks.values()];
    expect(found.limit).toBeCloseTo(limit, 10);
    expect(found.top).toEqual(top);
    expect(marks.map((mark) => mark.rank)).toEqual(rank);
    expect(marks.map((mark) => mark.drawn)).toEqual(drawn);
    marks.forEach((mark, index) => {
      const wanted = share[index];
      if (typeof wanted === "number") expect(mark.share).toBeCloseTo(wanted, 10);
      else expect(mark.share).toBeNaN();
    });
  }
});

test("a scale without values is empty, and values beyond it stick to its ends", () => {
  expect(shareOf(0, 0, "linear")).toBe(0);
  expect(shareOf(0, 0, "log")).toBe(0);
  expect([0, 0.5, 2].map((value) => shareOf(value, 1, "linear"))).toEqual([0, 0.5, 1]);
  expect([0, 0.01, 0.1, 1].map((value) => shareOf(value, 1, "log"))).toEqual([0, 0, 0.5, 1]);
  expect(shareOf(Number.NaN, 1, "log")).toBeNaN();
});

test("colours and opacities begin at nothing and end at the whole", () => {
  expect([-1, 0, 0.5, 1, 3].map(strengthIndex)).toEqual([0, 0, 128, 255, 255]);
  expect([0, 1].map((share) => cover(share, 0.8))).toEqual([0, 0.8]);
  expect(cover(0.5, 1)).toBeCloseTo(0.6156, 4);
});

test("lines over the layers leave unknown values out", () => {
  expect(meanOver(values, [1, 2])).toEqual([4, 0.5]);
  expect(largestOf(values, [1, 2])).toEqual([8, 0.5]);
  expect(meanOver(values, [1])[1]).toBeNaN();
});

test("the middle of every patch's box on the page is that patch", () => {
  const patches = [...grid(3, 4), ...grid(2, 2, 20, { x: 40, y: -10, grid: 1, token: 12 })];
  for (const available of [300, 400, 800]) {
    const l = layout(available, viewOf({ width: 80, height: 30 }, [{ left: 40, top: -10, right: 80, bottom: 30 }]));
    expect(l.view.top).toBe(-10);
    for (const patch of patches) {
      const { x, y, width, height } = onPage(l, patch);
      const point = toPicture(l, x + width / 2, y + height / 2);
      expect(patchAt(patches, point.x, point.y)).toBe(patch);
    }
    expect(patchAt(patches, -1, 5)).toBeUndefined();
  }
});

test("neighbours meet without a seam at any zoom and density", () => {
  const patches = grid(24, 24, 14.0833);
  for (const density of [1, 1.5, 2]) {
    const l = layout(437, viewOf({ width: 338, height: 338 }, []));
    for (let index = 0; index < 23; index++) {
      const [left, right] = [patches[index], patches[index + 1]].map((patch) => onPage(l, patch as Patch, density));
      const [above, below] = [patches[24 * index], patches[24 * index + 24]].map((patch) =>
        onPage(l, patch as Patch, density),
      );
      expect((left?.x ?? 0) + (left?.width ?? 0)).toBeCloseTo(right?.x ?? -1, 9);
      expect((above?.y ?? 0) + (above?.height ?? 0)).toBeCloseTo(below?.y ?? -1, 9);
    }
  }
});

test("the picture keeps its shape and fits, the chart stands beside it where there is room", () => {
  for (const [width, height] of [
    [100, 400],
    [400, 100],
    [256, 256],
  ] as const) {
    for (const available of [320, 400, 640, 900]) {
      const l = layout(available, viewOf({ width, height }, []));
      expect(l.width / l.height).toBeCloseTo(width / height, 1);
      expect(l.width).toBeLessThanOrEqual(available);
      expect(l.height).toBeLessThanOrEqual(440);
      const beside = l.width + 20 + l.chart.width <= available;
      expect(beside || l.chart.width <= available).toBe(true);
      if (available >= 640) expect(beside).toBe(true);
    }
  }
});

test("a rectangle takes the patches whose middle it holds, drawn from any corner", () => {
  const patches = grid(4, 4);
  const tokens = (from: [number, number], to: [number, number]) =>
    patchesIn(patches, { x: from[0], y: from[1] }, { x: to[0], y: to[1] }).map(({ token }) => token);
  expect(tokens([4, 4], [16, 16])).toEqual([0, 1, 4, 5]);
  expect(tokens([16, 16], [4, 4])).toEqual([0, 1, 4, 5]);
  expect(tokens([6, 6], [14, 14])).toEqual([]);
});

test("toggling takes in what is out, and out what is in", () => {
  expect(toggled([5, 2], [9])).toEqual([2, 5, 9]);
  expect(toggled([2, 5], [5])).toEqual([2]);
  expect(toggled([2], [2, 3])).toEqual([2, 3]);
});

test("keys move to the neighbour, from tile to tile, and stop at the edges", () => {
  // two tiles of 2 x 2 side by side, and a wide one of other lines under both
  const patches = [
    ...grid(2, 2),
    ...grid(2, 2, 10, { x: 20, y: 0, grid: 1, token: 4 }),
    ...grid(1, 3, 40 / 3, { x: 0, y: 20, grid: 2, token: 8 }),
  ];
  const from = (token: number, key: string, ctrl = false) => moved(patches, patches[token] as Patch, key, ctrl)?.token;
  expect(from(1, "ArrowRight")).toBe(4);
  expect(from(4, "ArrowLeft")).toBe(1);
  expect(from(0, "ArrowLeft")).toBe(0);
  expect(from(2, "ArrowDown")).toBe(8);
  expect(from(7, "ArrowDown")).toBe(10);
  expect(from(9, "ArrowUp")).toBeOneOf([3, 6]);
  expect(from(0, "End")).toBe(5);
  expect(from(5, "Home")).toBe(0);
  expect(from(5, "Home", true)).toBe(0);
  expect(from(0, "End", true)).toBe(10);
  expect(from(0, "x")).toBeUndefined();
});

test("every patch can be reached by arrows", () => {
  const patches = [...grid(3, 3, 10), ...grid(3, 3, 10, { x: 30, y: 0, grid: 1, token: 9 })];
  const reached = new Set([0]);
  for (let round = 0; round < 20; round++) {
    for (const token of [...reached]) {
      for (const key of ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]) {
        reached.add(moved(patches, patches[token] as Patch, key, false)?.token ?? 0);
      }
    }
  }
  expect(reached.size).toBe(18);
});

test("points of the chart are layers", () => {
  expect(layerAt(0, 8, 400)).toBe(0);
  expect(layerAt(399, 8, 400)).toBe(7);
  expect(layerAt(54 + 340 / 2 + 1, 8, 400)).toBe(4);
});

test("the middle of a box is its middle", () => {
  expect(middle({ left: 2, right: 6, top: -4, bottom: 0 })).toEqual({ x: 4, y: -2 });
});

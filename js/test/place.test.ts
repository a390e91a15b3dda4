import { expect, test } from "vitest";
import { overlap, place } from "../src/lib/place";

const TIP = { width: 250, height: 150 };

test("a tooltip stands beside its box where there is room, else above or below it", () => {
  expect(place(TIP, { x: 100, y: 200, width: 50, height: 50 }, 800)).toEqual({ x: 160, y: 150 });
  expect(place(TIP, { x: 700, y: 200, width: 50, height: 50 }, 800)).toEqual({ x: 440, y: 150 });
  expect(place(TIP, { x: 100, y: 200, width: 50, height: 50 }, 300)).toEqual({ x: 2, y: 42 });
  expect(place(TIP, { x: 100, y: 20, width: 50, height: 50 }, 300)).toEqual({ x: 2, y: 78 });
  expect(place(TIP, { x: 100, y: 0, width: 50, height: 50 }, 800).y).toBe(2);
});

test("it never covers what must be seen, nor its own box, wherever that is", () => {
  for (const width of [120, 300, 480]) {
    const avoid = { x: width + 20, y: 40, width: 300, height: 210 };
    const room = avoid.x + avoid.width;
    for (let x = 0; x < width; x += 30) {
      for (let y = 0; y < 440; y += 30) {
        const box = { x, y, width: 30, height: 30 };
        const tip = { ...place(TIP, box, room, avoid), ...TIP };
        expect(overlap(tip, avoid)).toBe(false);
        expect(overlap(tip, box)).toBe(false);
        expect(tip.x >= 0 && tip.x + tip.width <= room && tip.y >= 2).toBe(true);
      }
    }
  }
});

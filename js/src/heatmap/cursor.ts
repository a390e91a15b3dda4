// Keyboard movement over the cells: the keys of the WAI-ARIA grid pattern.

import type { Cell } from "./state";

const PAGE = 10;

/** Where a key takes the cursor; undefined if it is none of ours. */
export function moved(from: Cell, key: string, ctrl: boolean, rows: number, layers: number): Cell | undefined {
  const to = target(from, key, ctrl, rows, layers);
  return to && { row: clamp(to.row, rows), layer: clamp(to.layer, layers) };
}

function target({ row, layer }: Cell, key: string, ctrl: boolean, rows: number, layers: number): Cell | undefined {
  switch (key) {
    case "ArrowUp":
      return { row: row - 1, layer };
    case "ArrowDown":
      return { row: row + 1, layer };
    case "ArrowLeft":
      return { row, layer: layer - 1 };
    case "ArrowRight":
      return { row, layer: layer + 1 };
    case "Home":
      return { row: ctrl ? 0 : row, layer: 0 };
    case "End":
      return { row: ctrl ? rows - 1 : row, layer: layers - 1 };
    case "PageUp":
      return { row: row - PAGE, layer };
    case "PageDown":
      return { row: row + PAGE, layer };
    default:
      return undefined;
  }
}

function clamp(value: number, size: number): number {
  return Math.max(0, Math.min(size - 1, value));
}

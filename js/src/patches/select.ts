// The selection, and the keyboard's way over patches that lie in any number of grids.

import { middle } from "./layout";
import type { Patch } from "./state";

/** `tokens` taken in if any of them was out, else all taken out; ascending. */
export function toggled(selected: number[], tokens: number[]): number[] {
  const now = new Set(selected);
  if (tokens.every((token) => now.has(token))) for (const token of tokens) now.delete(token);
  else for (const token of tokens) now.add(token);
  return ascending(now);
}

export function ascending(tokens: Iterable<number>): number[] {
  return [...new Set(tokens)].sort((a, b) => a - b);
}

/** Where a key takes the cursor: to the nearest patch in that direction; undefined if the key is none of ours. */
export function moved(patches: Patch[], from: Patch, key: string, ctrl: boolean): Patch | undefined {
  switch (key) {
    case "ArrowLeft":
      return nearest(patches, from, -1, 0);
    case "ArrowRight":
      return nearest(patches, from, 1, 0);
    case "ArrowUp":
      return nearest(patches, from, 0, -1);
    case "ArrowDown":
      return nearest(patches, from, 0, 1);
    case "Home":
      return ctrl ? corner(patches, -1) : end(patches, from, -1);
    case "End":
      return ctrl ? corner(patches, 1) : end(patches, from, 1);
    default:
      return undefined;
  }
}

function nearest(patches: Patch[], from: Patch, dx: number, dy: number): Patch {
  const here = middle(from);
  let best = from;
  let least = Number.POSITIVE_INFINITY;
  for (const patch of patches) {
    const there = middle(patch);
    const [right, down] = [there.x - here.x, there.y - here.y];
    const ahead = right * dx + down * dy;
    const aside = Math.abs(right * dy) + Math.abs(down * dx);
    // straight ahead: the next row's or column's patch, wherever its grid's lines are
    const width = dx
      ? Math.max(from.bottom - from.top, patch.bottom - patch.top)
      : Math.max(from.right - from.left, patch.right - patch.left);
    if (ahead <= 1e-6 || aside > 0.75 * width) continue;
    const distance = ahead + 2 * aside;
    if (distance < least) [best, least] = [patch, distance];
  }
  return best;
}

/** The first or last patch of a row across all grids. */
function end(patches: Patch[], from: Patch, direction: number): Patch {
  const { y } = middle(from);
  const row = patches.filter((patch) => patch.top <= y && y < patch.bottom);
  return row.reduce((best, patch) => ((middle(patch).x - middle(best).x) * direction > 0 ? patch : best), from);
}

function corner(patches: Patch[], direction: number): Patch {
  const first = patches[0] as Patch;
  const place = (patch: Patch) => middle(patch).x + middle(patch).y;
  return patches.reduce((best, patch) => ((place(patch) - place(best)) * direction > 0 ? patch : best), first);
}

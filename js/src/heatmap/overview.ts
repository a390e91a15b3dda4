// What all cells of the map on show are together; asked for at every frame, and found once for the same numbers.

import { beyondLimit } from "../lib/color";
import { decoded, type WireTensor } from "../lib/tensor";
import { type Cell, type Model, onShow, Values } from "./state";

export interface Overview {
  best: { effect: number; cell: Cell } | undefined; // the largest effect
  unknown: boolean; // is any not known?
  outside: boolean; // does any lie beyond the scale?
}

const known = new WeakMap<WireTensor, { key: string; found: Overview }>();

export function overview(model: Model): Overview {
  const { values: wire, limit } = onShow(model);
  const key = [model.get("module"), limit, model.get("corrupted")].join();
  const before = known.get(wire);
  if (before?.key === key) return before.found;
  decoded(wire); // what cannot be read is not remembered
  const found = look(model, limit);
  known.set(wire, { key, found });
  return found;
}

function look(model: Model, limit: number): Overview {
  const values = new Values(model);
  const found: Overview = { best: undefined, unknown: false, outside: false };
  const layers = model.get("layers");
  model.get("rows").forEach((row, index) => {
    if (!row.traced) return;
    for (let layer = 0; layer < layers; layer++) {
      const effect = values.effect(row, layer);
      if (Number.isNaN(effect)) found.unknown = true;
      else if (effect > (found.best?.effect ?? Number.NEGATIVE_INFINITY))
        found.best = { effect, cell: { row: index, layer } };
      if (beyondLimit(effect, limit)) found.outside = true;
    }
  });
  return found;
}

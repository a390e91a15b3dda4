// What a cell says, in words: for the tooltip, for screen readers and for copying.

import { layerRange, number, percent, signed, windowLayers } from "../lib/format";
import type { Words } from "../lib/tooltip";
import { overview } from "./overview";
import { type Cell, type Model, rounded, Values } from "./state";

export function describe(model: Model, cell: Cell): Words {
  const row = model.get("rows")[cell.row];
  if (!row) return { title: "", lines: [], note: "" };
  const name =
    row.count > 1
      ? `${row.label}, tokens ${row.position} to ${row.position + row.count - 1}`
      : `“${row.label}”, token ${row.position}`;
  const title = `${name}${row.constraint ? ", constraint" : ""}`;
  if (!row.traced) return { title, lines: [], note: row.reason };
  const values = new Values(model);
  const restored = values.at(row, cell.layer);
  const effect = values.effect(row, cell.layer);
  const fresh = values.fresh(row, cell.layer);
  const window = fresh ? model.get("window") : values.windowOf(row, cell.layer);
  const total = model.get("clean") - model.get("corrupted");
  const module = model.get("modules").find(({ key }) => key === model.get("module"))?.name ?? "";
  return {
    title,
    lines: [
      ["restored", `${module}, ${layerRange(windowLayers(cell.layer, Math.max(1, window), model.get("layers")))}`],
      [measured(model), number(restored)],
      ["indirect effect", signed(effect)],
      ["recovery", Number.isNaN(effect) ? number(effect) : percent(effect / total)],
    ],
    note: !fresh && !Number.isNaN(effect) ? `still of window ${window}` : rounded(model),
  };
}

/** How the score of the answer is written, as labels.py's measured. */
export function measured(model: Model): string {
  const measure = model.get("measure");
  return measure.endsWith("P") ? `${measure}(${model.get("answer")})` : measure;
}

export function asSentence(model: Model, cell: Cell): string {
  const { title, lines, note } = describe(model, cell);
  return [`layer ${cell.layer}, ${title}`, ...lines.map(([name, value]) => `${name} ${value}`), note]
    .filter(Boolean)
    .join(", ");
}

/** The largest effect of the module on show: the map in one sentence. */
export function summary(model: Model): string {
  const { best } = overview(model);
  const size = `Map of ${model.get("layers")} layers by ${model.get("rows").length} rows of tokens.`;
  if (!best) return size;
  const label = model.get("rows")[best.cell.row]?.label ?? "";
  return `${size} Largest indirect effect ${signed(best.effect)} at layer ${best.cell.layer}, ${label}.`;
}

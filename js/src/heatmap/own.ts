// What the toolbar must know of the map: its numbers and its words.

import { windowName } from "../lib/format";
import type { Own, Sheet } from "../lib/tools";
import { isMixed, type Model, onShow, Values } from "./state";
import { measured } from "./words";

export function ownOf(model: Model): Own {
  return {
    kind: "trace_heatmap",
    stem: () => `trace ${model.get("question")} window ${onShow(model).window}`,
    about: () => {
      const module = model.get("modules").find(({ key }) => key === model.get("module"))?.name;
      return `Indirect effect on ${measured(model)}: ${module}, ${windowName(onShow(model).window)}`;
    },
    sheet: () => sheetOf(model),
    data: () => dataOf(model),
    unfit: () =>
      isMixed(model)
        ? `Only a part of window ${model.get("computing")} is computed, and the rest is of another: export the map when it is complete.`
        : "",
  };
}

function sheetOf(model: Model): Sheet {
  const values = new Values(model);
  const layers = Array.from({ length: model.get("layers") }, (_, layer) => layer);
  return {
    corner: "token",
    columns: ["position", ...layers.map((layer) => `layer ${layer}`)],
    rows: model.get("rows").map((row) => ({
      label: row.label,
      cells: [
        row.position,
        ...layers.map((layer) => (values.isAhead(row, layer) ? Number.NaN : values.effect(row, layer))),
      ],
    })),
  };
}

function dataOf(model: Model): Record<string, unknown> {
  const token: number[] = [];
  for (const { column, position, count } of model.get("rows"))
    for (let i = 0; column >= 0 && i < count; i++) token[column + i] = position + i;
  return {
    window: onShow(model).window,
    restored: {
      dims: ["module", "layer", "token"],
      coords: {
        module: model.get("modules").map(({ key }) => key),
        layer: Array.from({ length: model.get("layers") }, (_, layer) => layer),
        token,
      },
      name: "restored",
      values: onShow(model).values,
    },
  };
}

// What the toolbar must know of the patches: their numbers and their words.

import type { Own, Sheet } from "../lib/tools";
import { type Model, readPatches, readValues } from "./state";

export function ownOf(model: Model): Own {
  return {
    kind: "patch_grid",
    stem: () => `patches ${model.get("question") || model.get("quantity")} layer ${model.get("layer")}`,
    about: () => {
      const log = model.get("scale") === "log" ? ", logarithmic scale" : "";
      const least = model.get("threshold") ? `, only above ${Math.round(100 * model.get("threshold"))}%` : "";
      return `Layer ${model.get("layer")}${log}${least}`;
    },
    sheet: () => sheetOf(model),
    data: () => dataOf(model),
  };
}

function sheetOf(model: Model): Sheet {
  const values = readValues(model);
  return {
    corner: "patch",
    columns: ["row", "column", "left", "top", "right", "bottom", ...model.get("layers").map((n) => `layer ${n}`)],
    rows: readPatches(model).map(({ token, row, column, left, top, right, bottom }) => ({
      label: String(token),
      cells: [
        ...[row, column, left, top, right, bottom],
        ...model.get("layers").map((_, layer) => values.data[layer * values.count + token] ?? Number.NaN),
      ],
    })),
  };
}

function dataOf(model: Model): Record<string, unknown> {
  const layer = model.get("layers");
  const targets = model.get("targets").map(({ position }) => position);
  return {
    values: { dims: ["layer", "token"], coords: { layer }, name: "values", values: model.get("values") },
    ...(targets.length && {
      targets: {
        dims: ["target", "layer", "token"],
        coords: { target: targets, layer },
        name: "targets",
        values: model.get("stacked"),
      },
    }),
  };
}

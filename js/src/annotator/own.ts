// What the toolbar must know of an annotator.

import type { Own } from "../lib/tools";
import { type AnnotatorModel, KINDS } from "./state";

export function annotatorOf(model: AnnotatorModel): Own {
  return {
    kind: "annotator",
    stem: () => `constraints ${model.get("question")}`,
    about: () =>
      KINDS.map(({ key, name, letter }) => (model.get("marks").includes(key) ? `${letter}: ${name}` : ""))
        .filter(Boolean)
        .join(", "),
    sheet: () => ({
      corner: "word",
      columns: ["constraint", "suggested"],
      rows: model.get("words").map(({ text }, index) => ({
        label: text,
        cells: [model.get("marks")[index] ?? "", model.get("suggested")[index] ?? ""],
      })),
    }),
    follows: ["words", "marks", "suggested"],
  };
}

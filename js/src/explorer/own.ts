// What the toolbars of the Explorer's own panels must know of them.

import type { Own } from "../lib/tools";
import type { LensModel, QuestionModel, TrialsModel } from "./state";

export function questionOf(model: QuestionModel): Own {
  return {
    kind: "question_panel",
    stem: () => `answer ${model.get("question")}`,
    about: () => model.get("answer"),
  };
}

export function trialsOf(model: TrialsModel): Own {
  const layers = () => Array.from({ length: model.get("layers") }, (_, layer) => layer);
  return {
    kind: "trials_panel",
    stem: () => "patches by cause",
    about: () => model.get("modules").find(({ key }) => key === model.get("module"))?.name ?? "",
    sheet: () => ({
      corner: "patches",
      columns: ["note", ...layers().map((layer) => `layer ${layer}`), "all layers"],
      rows: model.get("rows").map(({ label, kind, note, effects, all }) => {
        const values = effects[kind === "trace" ? model.get("module") : "change"] ?? [];
        return { label, cells: [note, ...layers().map((layer) => values[layer] ?? Number.NaN), all ?? Number.NaN] };
      }),
    }),
    follows: ["rows", "module"],
  };
}

export function lensOf(model: LensModel): Own {
  const place = () => model.get("positions").indexOf(model.get("token"));
  return {
    kind: "lens_panel",
    stem: () => `lens ${model.get("names")[place()] ?? ""}`,
    about: () => `The ${model.get("top_k")} likeliest words of each layer`,
    sheet: () => ({
      corner: "layer",
      columns: Array.from({ length: 2 * model.get("top_k") }, (_, i) => `${i % 2 ? "P" : "word"} ${(i >> 1) + 1}`),
      rows: model.get("layers").map((layer, index) => {
        const words = (model.get("words")[place()]?.[index] ?? []).slice(0, model.get("top_k"));
        return { label: String(layer), cells: words.flatMap(({ word, p }) => [word, p]) };
      }),
    }),
    follows: ["token", "top_k"],
  };
}

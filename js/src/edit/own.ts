// What the toolbar must know of the editor: its numbers and its words.

import type { Own, Sheet } from "../lib/tools";
import { kindName, LINES, lamName, Sweep, shown, verdict, word } from "./numbers";
import type { EditModel } from "./state";

export function ownOf(model: EditModel): Own {
  const lam = () => {
    const now = shown(model);
    return now && lamName(now.result.lams[now.at] ?? 0);
  };
  return {
    kind: "edit_panel",
    stem: () => `edit ${shown(model)?.result.target ?? ""} ${model.get("question")}`,
    about: () => {
      const now = shown(model);
      return now ? `“${now.result.target}” at layer ${now.result.layer}, λ ${lam()}` : "No edit has been tried";
    },
    sheet: () => sheetOf(model, lam() ?? ""),
  };
}

/** One line for each watched question, at the lambda on show; and what lambda trades, line by line. */
function sheetOf(model: EditModel, lam: string): Sheet {
  const now = shown(model);
  const target = now?.result.target ?? "target";
  const sweep = now && new Sweep(now.result);
  const rows = model.get("probes").map((probe, index) => {
    const before = [kindName(probe.kind), probe.answer, probe.top[0]?.p ?? Number.NaN];
    if (!now || !sweep) return { label: probe.text, cells: before };
    const [first] = sweep.top(now.at, index);
    const after = [word(first), first?.p ?? Number.NaN, sweep.probability(now.at, index)];
    return { label: probe.text, cells: [...before, ...after, verdict(sweep, probe.kind, now.at, index).text] };
  });
  const measures = LINES.flatMap(([name, words]) => {
    const value = now?.result[name][now.at];
    return value === undefined ? [] : [{ label: words, cells: ["measure", "", Number.NaN, "", Number.NaN, value, ""] }];
  });
  const after = now ? [`answer at lambda ${lam}`, "its probability", `P(${target})`, "verdict"] : [];
  return {
    corner: "question",
    columns: ["kind", "answer of the original", "its probability", ...after],
    rows: [...rows, ...measures],
  };
}

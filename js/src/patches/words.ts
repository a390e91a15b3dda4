// What a patch says, in words: for the tooltip, for screen readers and for copying.

import { number, percent } from "../lib/format";
import type { Words } from "../lib/tooltip";
import type { Highlights } from "./scale";
import type { Model, Patch } from "./state";

export function describe(model: Model, patch: Patch, shown: Highlights): Words {
  const mark = shown.marks.get(patch.token);
  const sink = model.get("sinks").find(({ token }) => token === patch.token);
  const [width = 0, height = 0] = model.get("picture_size");
  const pixel = (value: number) => number1(value);
  const outside =
    patch.right <= 0 || patch.left >= width || patch.bottom <= 0 || patch.top >= height
      ? "Padding only: there is no picture here."
      : patch.left < -0.5 || patch.top < -0.5 || patch.right > width + 0.5 || patch.bottom > height + 0.5
        ? "Reaches beyond the picture."
        : "";
  const masked = sink && model.get("mask_sinks");
  const lines: Words["lines"] = [
    ["pixels", `x ${pixel(patch.left)} to ${pixel(patch.right)}, y ${pixel(patch.top)} to ${pixel(patch.bottom)}`],
  ];
  if (masked) lines.push([model.get("quantity"), "masked"]);
  else if (mark) {
    lines.push([model.get("quantity"), Number.isNaN(mark.value) ? "none" : number(mark.value)]);
    if (mark.rank) {
      lines.push(["rank", `${mark.rank} of ${shown.ranked}`]);
      lines.push(["share of the sum", percent(mark.value / shown.sum)]);
    }
  }
  return {
    title: `${gridName(model, patch)}row ${patch.row}, column ${patch.column}`,
    lines,
    note: [sink ? `Sink: ${sink.reason}.` : "", outside].filter(Boolean).join(" "),
  };
}

export function headingOf(model: Model, patch: Patch): string {
  return `patch ${patch.token}, layer ${model.get("layer")}`;
}

export function asSentence(model: Model, patch: Patch, shown: Highlights): string {
  const { title, lines, note } = describe(model, patch, shown);
  const selected = model.get("selected").includes(patch.token) ? "selected" : "";
  return [headingOf(model, patch), title, ...lines.map(([name, value]) => `${name} ${value}`), selected, note]
    .filter(Boolean)
    .join(", ");
}

/** The whole picture in one sentence. */
export function summary(model: Model, patches: Patch[], shown: Highlights): string {
  const names = shown.top.slice(0, 5);
  const first = names.length ? ` Largest: ${names.map((token) => `patch ${token}`).join(", ")}.` : "";
  return `Picture in ${patches.length} patches, ${model.get("quantity")} at layer ${model.get("layer")}.${first}`;
}

/** What a chart's lines are of. */
export function chartSentence(model: Model, selected: number[], mean: number[]): string {
  const name = selected.length ? `Mean of ${selected.length} selected patches` : "Largest patch";
  const values = mean.map((value, index) => `${model.get("layers")[index]}: ${number(value)}`).join(", ");
  return `${name} over the layers, ${values}.`;
}

function gridName(model: Model, patch: Patch): string {
  const kind = model.get("grid");
  const same = model.get("grids").flatMap((grid, index) => (grid.kind === kind ? [index] : []));
  return same.length > 1 ? `${kind} ${same.indexOf(patch.grid) + 1} of ${same.length}, ` : "";
}

/** Pixels to a tenth, where they have one. */
function number1(value: number): string {
  return String(Math.round(value * 10) / 10).replace("-", "−");
}

// What the Export menu offers.

import type { AnyModel } from "@anywidget/types";
import type { Own } from "../lib/tools";
import { MADE, TRAITS } from "./known";
import type { Item } from "./menu";
import { withText } from "./png";
import { printed } from "./print";
import type { Save } from "./save";
import { csv, fileName, json } from "./sheet";
import { SvgPen } from "./svg_pen";

const SCALE = 2; // pixels for each one on the page
const MOST = { side: 32_000, area: 2.5e8 }; // pixels that browsers draw at all; larger pictures have fewer for each one here
const MOST_CELLS = 20_000; // in an SVG, which has a shape for each

export function exportItems(
  root: HTMLElement,
  // biome-ignore lint/suspicious/noExplicitAny: the models of all widgets
  model: AnyModel<any>,
  own: Own,
  save: Save,
  say: (text: string) => void,
): Item[] {
  const provenance = () => ({ ...model.get("provenance"), ...MADE[own.kind]?.(model) });
  const item = (name: string, title: string, make: () => Promise<Blob>): Item => ({
    name,
    title,
    action: async () => {
      say("");
      try {
        const why = own.unfit?.();
        if (why) throw new Error(why);
        await save(await make(), fileName(own.stem(), name.toLowerCase()));
      } catch (error) {
        say((error as Error).message);
      }
    },
  });
  const png = async () =>
    printed(root, model, own, async (width, height, draw) => {
      const canvas = document.createElement("canvas");
      const scale = Math.min(SCALE, MOST.side / Math.max(width, height), Math.sqrt(MOST.area / (width * height)));
      canvas.width = Math.round(scale * width);
      canvas.height = Math.round(scale * height);
      const pen = canvas.getContext("2d");
      pen?.scale(scale, scale);
      if (pen) draw(pen);
      const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done));
      if (!blob) throw new Error("The picture is too large for this browser; CSV and JSON have all of it.");
      return withText(blob, "provenance", JSON.stringify(provenance()));
    });
  const svg = async () => {
    const { rows = [], columns = [] } = own.sheet?.() ?? {};
    const cells = rows.length * columns.length;
    if (cells > MOST_CELLS)
      throw new Error(
        `An SVG of ${cells} cells would be too large to open (at most ${MOST_CELLS}); PNG draws them all.`,
      );
    return printed(root, model, own, async (width, height, draw) => {
      const pen = new SvgPen(width, height, JSON.stringify(provenance()));
      draw(pen);
      return new Blob([pen.text()], { type: "image/svg+xml" });
    });
  };
  const notes = () => ({ format: "mllm_widgets view, version 1", kind: own.kind, shown: own.about(), ...provenance() });
  const { sheet, kind } = own;
  const data = () => ({
    ...Object.fromEntries((TRAITS[kind] ?? "").split(" ").map((name) => [name, model.get(name)])),
    ...own.data?.(),
  });
  return [
    ...(own.render
      ? [
          item("PNG", "A picture, at two pixels for each one here", png),
          item("SVG", "A drawing, its text as text", svg),
        ]
      : []),
    ...(sheet
      ? [
          item(
            "CSV",
            "The numbers on show, as a table",
            async () => new Blob([csv(sheet(), notes())], { type: "text/csv" }),
          ),
        ]
      : []),
    item(
      "JSON",
      "The data with their provenance; mw.load_result reads it",
      async () => new Blob([json(kind, provenance(), data())], { type: "application/json" }),
    ),
  ];
}

// What is on show as a table, for whoever reads numbers, by eye or by ear.  Made when it is asked for.

import type { AnyModel } from "@anywidget/types";
import { element, perFrame } from "../lib/dom";
import { number } from "../lib/format";
import type { Own, Sheet } from "../lib/tools";
import { toolButton } from "./button";

const MOST = { rows: 200, columns: 100 };
const ICON = "M1.7 3h12.6v10.3H1.7zM1.7 6.3h12.6M1.7 9.8h12.6M6 3v10.3";

export function dataTable(
  root: HTMLElement,
  // biome-ignore lint/suspicious/noExplicitAny: the models of all widgets
  model: AnyModel<any>,
  { sheet, about, follows = [] }: Own,
  signal: AbortSignal,
): HTMLElement | undefined {
  if (!sheet) return undefined;
  const node = element("div", {
    class: "mw-data",
    role: "region",
    tabindex: 0,
    "aria-label": "data table",
    hidden: true,
  });
  root.append(node);
  const fill = () => {
    if (!node.hidden) node.replaceChildren(...tableOf(sheet(), about()));
  };
  const toggle = () => {
    if (!node.isConnected) root.append(node); // the view was made anew
    node.hidden = !node.hidden;
    button.setAttribute("aria-expanded", String(!node.hidden));
    fill();
  };
  const button = toolButton(ICON, "Data table", toggle);
  button.setAttribute("aria-expanded", "false");
  const refill = perFrame(fill, signal);
  for (const name of follows) model.on(`change:${name}`, refill);
  const keep = (event: KeyboardEvent) => {
    if (/^(Arrow|Home|End|Page| )/.test(event.key)) event.stopPropagation(); // they scroll it
  };
  node.addEventListener("keydown", keep, { signal });
  return button;
}

function tableOf({ corner, columns, rows }: Sheet, about: string): HTMLElement[] {
  const shown = columns.slice(0, MOST.columns);
  const head = element(
    "tr",
    {},
    ...[corner, ...shown].map((name, at) => element("th", { scope: "col", class: side(rows[0]?.cells[at - 1]) }, name)),
  );
  const body = rows.slice(0, MOST.rows).map(({ label, cells }) => {
    const line = cells.slice(0, MOST.columns).map((cell) => element("td", { class: side(cell) }, text(cell)));
    return element("tr", {}, element("th", { scope: "row" }, label), ...line);
  });
  const table = element(
    "table",
    {},
    element("caption", {}, about),
    element("thead", {}, head),
    element("tbody", {}, ...body),
  );
  const left =
    rows.length > MOST.rows || columns.length > MOST.columns
      ? [
          element(
            "p",
            {},
            `The first ${body.length} of ${rows.length} rows and ${shown.length} of ${columns.length} columns; CSV has all.`,
          ),
        ]
      : [];
  return [...left, table];
}

/** Words stand on the left of their column, numbers on the right. */
function side(cell: number | string | undefined): string {
  return typeof cell === "string" ? "mw-left" : "";
}

function text(cell: number | string): string {
  return typeof cell === "string"
    ? cell
    : Number.isNaN(cell)
      ? "–"
      : Number.isInteger(cell)
        ? String(cell)
        : number(cell);
}

// What causes say about patches, in mw.Explorer: buttons that ask, and a row of effects for each answer.

import type { RenderProps } from "@anywidget/types";
import { trialsOf } from "./explorer/own";
import { SILENT, sender } from "./explorer/send";
import type { TrialRow, TrialsModel, TrialsState } from "./explorer/state";
import { colorIndex, colorTable, css, type Rgb } from "./lib/color";
import { element } from "./lib/dom";
import { signed } from "./lib/format";
import { away, awayNote, disable, onKernel, RUN } from "./lib/kernel";
import { keepKeys } from "./lib/keys";
import { replacePicture } from "./lib/picture";
import { radioSwitch } from "./lib/switch";
import { onThemeChange, themeOf } from "./lib/theme";
import { tools } from "./lib/tools";
import "./trials_panel.css";

const WRITTEN = 12; // layers; more than that have no room for numbers

function render({ model, el, signal }: RenderProps<TrialsState>): void {
  const root = element("div", { class: "mw mw-trials", "data-lm-suppress-shortcuts": "true" });
  const kernel = sender(model, () => update(), signal);
  // with the patches: a message may overtake the selection, of which the latest alone is sent
  const button = (kind: string) => {
    const made = element("button", { type: "button" });
    made.addEventListener("click", () => kernel.send({ kind, patches: model.get("patches") }), { signal });
    return made;
  };
  const trace = button("trace");
  const block = button("block");
  const modules = radioSwitch("what is restored", model.get("modules"), signal, {
    read: () => model.get("module"),
    write: (key) => {
      model.set("module", key);
      model.save_changes();
    },
  });
  const table = element("table", {});
  const scroller = element(
    "div",
    { class: "mw-scroll", tabindex: 0, role: "group", "aria-label": "effects over the layers" },
    table,
  );
  const hint = element("p", { class: "mw-answer" });
  const note = awayNote(model);
  const failed = element("p", { class: "mw-failed", role: "alert" });
  root.append(
    tools(root, model, { ...trialsOf(model), render }, signal),
    element("header", {}, element("p", { class: "mw-answer" }, "What confirms it: patches by cause")),
    element("div", { class: "mw-controls" }, trace, block, note.node, modules.node),
    hint,
    failed,
    scroller,
  );
  el.append(root);
  replacePicture(model, signal);
  keepKeys(root, signal);
  const update = () => {
    const theme = themeOf(root);
    root.dataset.theme = theme;
    const count = model.get("patches").length;
    const these = count === 1 ? "this patch" : `these ${count} patches`;
    trace.textContent = count ? `Trace ${these}` : "Trace patches";
    block.textContent = count ? `Block ${these} from ${model.get("into")}` : "Block patches";
    const gone = away(model);
    disable(trace, gone, !count);
    disable(block, gone, !count);
    note.update();
    const rows = model.get("rows");
    hint.textContent = count || rows.length ? "" : "Select patches on the picture: drag over them, or click one.";
    hint.hidden = !hint.textContent;
    failed.textContent = kernel.silent() ? SILENT : "";
    modules.update();
    modules.node.hidden = !rows.some(({ kind }) => kind === "trace");
    scroller.hidden = !rows.length;
    const data = model.get("colors")[theme];
    const color = data ? colorTable(data) : () => [255, 255, 255] as const;
    table.replaceChildren(
      head(model, rows),
      element(
        "tbody",
        {},
        ...rows.map((row) => line(model, row, color, gone, () => kernel.send({ kind: "forget", trial: row.id }))),
      ),
    );
  };
  for (const name of ["rows", "module", "patches", "layer", "into", "limit"] as const)
    model.on(`change:${name}`, update);
  onKernel(model, update, signal);
  onThemeChange(update, signal);
  requestAnimationFrame(update);
  update();
}

function head(model: TrialsModel, rows: TrialRow[]): HTMLElement {
  const layers = Array.from({ length: model.get("layers") }, (_, layer) =>
    element("th", { scope: "col", "data-here": layer === model.get("layer") }, String(layer)),
  );
  const all = rows.some(({ all }) => all !== null)
    ? [element("th", { scope: "col", title: "Blocked in all layers, or clean from the start" }, "all")]
    : [];
  return element(
    "thead",
    {},
    element("tr", {}, element("th", { scope: "col" }, "effect on P by layer"), ...layers, ...all),
  );
}

function line(
  model: TrialsModel,
  row: TrialRow,
  color: (index: number) => Rgb,
  gone: boolean,
  forget: () => void,
): HTMLElement {
  const remove = element("button", { type: "button", "aria-label": `remove: ${row.label}`, title: "Remove" }, "×");
  remove.addEventListener("click", forget);
  disable(remove, gone, false, "Remove");
  const open = row.state === "waiting" || row.state === "running";
  const waits = !open ? "" : gone ? RUN : row.state === "running" ? "computing" : "waiting";
  const name = element(
    "th",
    { scope: "row" },
    element("span", {}, row.label),
    remove,
    element("small", {}, waits || row.note),
  );
  const line = element("tr", { "data-state": row.state }, name);
  const effects = row.effects[row.kind === "trace" ? model.get("module") : "change"] ?? [];
  const all = row.all === null ? [] : [row.all];
  for (const value of [...effects, ...all]) line.append(cell(model, value, color));
  if (row.all === null && effects.length && model.get("rows").some((other) => other.all !== null))
    line.append(element("td", {}));
  return line;
}

function cell(model: TrialsModel, value: number, color: (index: number) => Rgb): HTMLElement {
  const limit = Math.max(model.get("limit"), 1e-6);
  const ground = color(colorIndex(value, limit));
  const words = signed(value);
  const node = element("td", { title: words, "data-value": value });
  node.style.background = css(ground);
  node.style.color = luminance(ground) > 0.18 ? "#000" : "#fff"; // where both can be read equally well
  node.classList.toggle("mw-written", model.get("layers") <= WRITTEN);
  node.append(model.get("layers") <= WRITTEN ? short(value) : element("span", { class: "mw-sr" }, words));
  return node;
}

/** Two decimals are enough beside a colour; the title has more. */
function short(value: number): string {
  return Math.abs(value) < 0.005 ? "0" : value.toFixed(2).replace("0.", ".").replace("-", "−");
}

function luminance([r, g, b]: Rgb): number {
  const linear = (v: number) => (v / 255) ** 2.2;
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

export default { render };

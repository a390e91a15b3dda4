// Before and after: the answers to the edited question, and what else the edit does.

import { element } from "../lib/dom";
import { number } from "../lib/format";
import { kindName, lamName, Sweep, shown, verdict, WANTED, word } from "./numbers";
import type { EditModel, Probe, Result, Said } from "./state";

/** Sweeps are decoded once, however often the slider moves. */
function sweepOf(cache: WeakMap<Result, Sweep>, result: Result): Sweep {
  const known = cache.get(result) ?? new Sweep(result);
  cache.set(result, known);
  return known;
}

export function answers(model: EditModel) {
  const node = element("div", { class: "mw-both" });
  const cache = new WeakMap<Result, Sweep>();
  const update = () => {
    const question = model.get("probes")[0];
    const now = shown(model);
    const before = column("Original", question?.answer || "…", question?.top ?? [], "");
    if (!now) {
      node.replaceChildren(before);
      return;
    }
    const sweep = sweepOf(cache, now.result);
    const top = sweep.top(now.at, 0);
    const row = model.get("rows").find(({ id }) => id === model.get("current"));
    const applied = row?.applied || row?.baked;
    const after = column(
      `Edited, λ ${lamName(now.result.lams[now.at] ?? 0)}${applied ? "" : " (not applied)"}`,
      begun(word(top[0]), now.result.target),
      top,
      `P(${now.result.target}) ${number(sweep.probability(now.at, 0))}`,
    );
    const [all] = model.get("together");
    node.replaceChildren(before, after, ...(all ? [column("All applied edits", all.answer, all.top, "")] : []));
  };
  return { node, update };
}

function column(title: string, answer: string, top: Said[], note: string): HTMLElement {
  const list = element("ol", { class: "mw-top", "aria-label": `likeliest first tokens, ${title}` });
  for (const { token, p } of top) {
    const bar = element("i", { "aria-hidden": "true" });
    bar.style.width = `${Math.max(1, Math.round(52 * p))}px`;
    list.append(element("li", {}, element("span", {}, token), bar, element("small", { "data-value": p }, number(p))));
  }
  const head = element("div", { class: "mw-says" }, element("b", {}, answer));
  if (note) head.append(element("small", {}, note));
  return element("div", { class: "mw-column" }, element("h4", {}, title), head, list);
}

/** One row for each question that is watched; it follows lambda from the sweep that was sent. */
export function effectsTable(model: EditModel, signal: AbortSignal) {
  const title = element("h4", {}, "Side effects");
  const table = element("table", {});
  const scroller = element(
    "div",
    { class: "mw-scroll", tabindex: 0, role: "group", "aria-label": "side effects on other questions" },
    table,
  );
  const hint = element("p", { class: "mw-note" });
  const node = element("section", { class: "mw-effects" }, title, scroller, hint);
  const cache = new WeakMap<Result, Sweep>();
  const pictures = new Map<DataView, string>();
  signal.addEventListener("abort", () => {
    for (const url of pictures.values()) URL.revokeObjectURL(url);
  });
  const urlOf = (image: DataView) => {
    const known = pictures.get(image) ?? URL.createObjectURL(new Blob([image as DataView<ArrayBuffer>]));
    pictures.set(image, known);
    return known;
  };
  const update = () => {
    const now = shown(model);
    const probes = model.get("probes");
    node.hidden = probes.length < 2;
    if (node.hidden) return;
    const sweep = now && sweepOf(cache, now.result);
    const lam = now ? `λ ${lamName(now.result.lams[now.at] ?? 0)}` : "";
    const target = now?.result.target ?? "";
    const together = model.get("together");
    const line = (probe: Probe, index: number) => {
      const cells = [thumbnail(probe, urlOf), element("th", { scope: "row" }, probe.text, tag(probe))];
      cells.push(said(probe.answer, probe.top[0]?.p ?? Number.NaN));
      if (!now || !sweep) return element("tr", {}, ...cells);
      const [first] = sweep.top(now.at, index);
      const { good, text } = verdict(sweep, probe.kind, now.at, index);
      const chance = sweep.probability(now.at, index);
      const bar = element("i", { "aria-hidden": "true" });
      bar.style.width = `${Math.round(44 * chance)}px`;
      cells.push(said(begun(word(first), now.result.target), first?.p ?? Number.NaN));
      cells.push(element("td", { class: "mw-chance", "data-value": chance }, bar, number(chance)));
      cells.push(element("td", { class: "mw-verdict" }, `${good ? "✓" : "✗"} ${text}`));
      const all = together[index];
      if (all) cells.push(said(all.answer, all.top[0]?.p ?? Number.NaN));
      return element("tr", { "data-good": String(good) }, ...cells);
    };
    const group = (wanted: boolean) => {
      const rows = probes.flatMap((probe, index) =>
        WANTED.includes(probe.kind) === wanted ? [line(probe, index)] : [],
      );
      if (!rows.length) return [];
      const name = wanted ? "Should change" : "Should stay as it is";
      const heading = element(
        "tr",
        {},
        element("th", { colspan: (now ? 6 : 3) + Math.sign(together.length), scope: "rowgroup" }, name),
      );
      return [element("tbody", {}, heading, ...rows)];
    };
    table.replaceChildren(
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          element("td", { class: "mw-small" }),
          ...["question", "original", ...(now ? [lam, `P(${target})`] : [])].map((name) =>
            element("th", { scope: "col" }, name),
          ),
          ...(now ? [element("th", { scope: "col" }, element("span", { class: "mw-sr" }, "verdict"))] : []),
          ...(together.length ? [element("th", { scope: "col" }, "all applied")] : []),
        ),
      ),
      ...group(true),
      ...group(false),
    );
    hint.textContent = now ? "" : "The right side fills in when an edit has been tried.";
    hint.hidden = Boolean(now);
  };
  return { node, update };
}

/** A first token; of a target that has more of them it is the beginning. */
function begun(first: string, target: string): string {
  return target !== first && first && target.startsWith(first) ? `${first}…` : first;
}

function thumbnail(probe: Probe, urlOf: (image: DataView) => string): HTMLElement {
  const cell = element("td", { class: "mw-small" });
  if (probe.image.byteLength) cell.append(element("img", { src: urlOf(probe.image), alt: "" }));
  return cell;
}

function tag(probe: Probe): HTMLElement {
  return element("small", {}, kindName(probe.kind));
}

function said(answer: string, p: number): HTMLElement {
  return element("td", {}, element("span", {}, answer), " ", element("small", { "data-value": p }, number(p)));
}

// The words of the question, of which a run can be marked as the constraint: by pointer, or with the arrow keys and Enter.

import { element, uniqueName } from "../lib/dom";
import { away, RUN } from "../lib/kernel";
import { ownKeys } from "../lib/keys";
import { contains, pieces, type Range, rangeOf, spanOf, stepped } from "./marking";
import type { QuestionModel } from "./state";

export function wordMarker(
  model: QuestionModel,
  signal: AbortSignal,
  marked: (start: number, end: number) => void,
): { node: HTMLElement; update: () => void } {
  const id = uniqueName("word");
  const hint = "Mark the words that point at the picture: drag over them, or use the arrow keys, Shift and Enter";
  const node = element("div", {
    class: "mw-words",
    role: "listbox",
    tabindex: 0,
    "aria-multiselectable": "true",
    "aria-label": "words of the question; the marked ones are the constraint",
  });
  let options: HTMLElement[] = [];
  let built = "";
  let holding: Range | undefined; // being marked, not asked yet
  let dragging = false;

  const current = () => rangeOf(model.get("words"), model.get("span"));
  const show = () => {
    const range = holding ?? current();
    options.forEach((option, index) => {
      option.setAttribute("aria-selected", String(contains(range, index)));
      option.classList.toggle("mw-held", contains(holding, index));
      option.classList.toggle("mw-active", holding?.to === index);
    });
    if (holding) node.setAttribute("aria-activedescendant", `${id}-${holding.to}`);
    else node.removeAttribute("aria-activedescendant");
  };
  const build = () => {
    options = [];
    node.replaceChildren(
      ...pieces(model.get("question"), model.get("words")).map(({ text, word }) => {
        if (word < 0) return text;
        const option = element("span", { role: "option", id: `${id}-${word}`, "data-word": word }, text);
        options.push(option);
        return option;
      }),
    );
  };
  const commit = () => {
    const range = holding;
    holding = undefined;
    dragging = false;
    show();
    if (!range) return;
    const [start, end] = spanOf(model.get("words"), range);
    const now = current();
    const same = now && String(spanOf(model.get("words"), now)) === String([start, end]);
    if (same) marked(0, 0);
    else marked(start, end);
  };
  const under = (event: PointerEvent) => {
    const tree = node.getRootNode() as Document | ShadowRoot;
    const at = tree.elementFromPoint(event.clientX, event.clientY)?.closest<HTMLElement>("[data-word]");
    return at && node.contains(at) ? Number(at.dataset.word) : undefined;
  };
  const listen = <K extends keyof HTMLElementEventMap>(type: K, action: (event: HTMLElementEventMap[K]) => void) =>
    node.addEventListener(type, action, { signal });
  listen("pointerdown", (event) => {
    const word = under(event);
    if (event.button !== 0 || word === undefined || away(model)) return;
    const now = current();
    holding = event.shiftKey && now ? { from: now.from, to: word } : { from: word, to: word };
    dragging = true;
    node.setPointerCapture(event.pointerId);
    show();
  });
  listen("pointermove", (event) => {
    const word = dragging ? under(event) : undefined;
    if (!holding || word === undefined) return;
    holding = { from: holding.from, to: word };
    show();
  });
  listen("pointerup", () => {
    if (dragging) commit();
  });
  const letGo = () => {
    holding = undefined;
    dragging = false;
    show();
  };
  listen("pointercancel", letGo);
  listen("blur", letGo);
  const take = ({ key, ctrlKey, shiftKey }: KeyboardEvent) => {
    if (ctrlKey || away(model)) return false;
    const now = current() ?? { from: 0, to: 0 };
    const to = stepped(holding ?? { from: now.from, to: now.to }, key, shiftKey, options.length);
    if (to) holding = to;
    else if (key === "Enter" || key === " ") commit();
    else if (key === "Escape" && holding) holding = undefined;
    else if (key === "Backspace" || key === "Delete") marked(0, 0);
    else return false;
    show();
    return true;
  };
  listen("keydown", ownKeys(take));
  const update = () => {
    node.title = away(model) ? RUN : hint;
    node.setAttribute("aria-disabled", String(away(model)));
    const now = `${model.get("generation")} ${model.get("question")}`;
    if (now !== built) {
      built = now;
      holding = undefined;
      build();
    }
    show();
  };
  return { node, update };
}

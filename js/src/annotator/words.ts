// The words of the question as buttons: a click or a drag marks them, keys do the same; between them stands what is no word.

import { pieces, type Range, stepped } from "../explorer/marking";
import { element } from "../lib/dom";
import { ownKeys } from "../lib/keys";
import { marksOf, painted, together, toggled, wordSaying } from "./marks";
import { type AnnotatorModel, KINDS, type Kind, type Mark } from "./state";

export interface Asks {
  marked: (marks: Mark[]) => void; // in the place of those before
  brush: () => Kind; // the kind that a click gives
  locked: () => boolean; // nothing can be marked now
  key: (key: string) => boolean; // another key; true if it was one of ours
}

export function markedWords(model: AnnotatorModel, { marked, brush, locked, key }: Asks, signal: AbortSignal) {
  const node = element("div", {
    class: "mw-words mw-markable",
    role: "group",
    tabindex: -1,
    "aria-label": "words of the question",
  });
  let buttons: HTMLButtonElement[] = [];
  let letters: HTMLElement[] = []; // on them: a colour alone would not tell marks apart for everybody
  let sayings: HTMLElement[] = []; // the same for who hears them
  let marks: Mark[] = [];
  let held: Range = { from: 0, to: 0 }; // where the keyboard is, and how far Shift has taken it
  let stroke: { from: number; mark: Mark; before: Mark[] } | undefined; // of a pointer
  let built = -1;

  const show = () => {
    const suggested = marksOf(model.get("suggested"), buttons.length);
    const range = held.from !== held.to;
    buttons.forEach((button, index) => {
      const mark = marks[index] ?? "";
      button.dataset.mark = mark;
      const letter = letters[index];
      if (letter) letter.textContent = KINDS.find(({ key }) => key === mark)?.letter ?? "";
      const guess = suggested[index] ?? "";
      button.dataset.suggested = guess === mark ? "" : guess;
      button.setAttribute("aria-pressed", String(mark !== ""));
      const said = sayings[index];
      if (said) said.textContent = wordSaying(mark, guess);
      button.setAttribute("aria-disabled", String(locked()));
      button.tabIndex = index === held.to ? 0 : -1;
      button.classList.toggle("mw-held", range && within(held, index));
    });
  };
  const build = () => {
    const focused = node.contains(document.activeElement) || node === (node.getRootNode() as Document).activeElement;
    buttons = [];
    letters = [];
    sayings = [];
    node.replaceChildren(
      ...together(pieces(model.get("question"), model.get("words"))).map(({ before, text, word, after }) => {
        if (word < 0) return text;
        const letter = element("small", { "aria-hidden": "true" });
        const said = element("span", { class: "mw-sr" });
        const made = element("button", { type: "button", "data-word": word }, text, letter, said);
        buttons.push(made);
        letters.push(letter);
        sayings.push(said);
        return element("span", { class: "mw-kept" }, before, made, after);
      }),
    );
    held = { from: 0, to: 0 };
    node.tabIndex = buttons.length ? -1 : 0;
    if (focused) (buttons[0] ?? node).focus();
  };
  const change = (next: Mark[]) => {
    marks = next;
    show();
    marked(next);
  };
  const under = (event: PointerEvent) => {
    const tree = node.getRootNode() as Document | ShadowRoot;
    const at = tree.elementFromPoint(event.clientX, event.clientY)?.closest<HTMLElement>("[data-word]");
    return at && node.contains(at) ? Number(at.dataset.word) : undefined;
  };
  const go = (to: Range) => {
    held = to;
    show();
    buttons[held.to]?.focus();
  };
  const listen = <K extends keyof HTMLElementEventMap>(type: K, action: (event: HTMLElementEventMap[K]) => void) =>
    node.addEventListener(type, action, { signal });
  listen("pointerdown", (event) => {
    const word = under(event);
    if (event.button !== 0 || word === undefined || locked()) return;
    event.preventDefault(); // no text is selected, and the word that is let go of keeps the focus
    const from = event.shiftKey ? held.from : word;
    // a stroke that begins on a word with that mark takes marks off
    const mark = !event.shiftKey && marks[word] === brush() ? "" : brush();
    stroke = { from, mark, before: marks };
    node.setPointerCapture(event.pointerId);
    marks = painted(stroke.before, { from, to: word }, mark);
    go({ from, to: word });
  });
  listen("pointermove", (event) => {
    const word = stroke ? under(event) : undefined;
    if (!stroke || word === undefined || word === held.to) return;
    marks = painted(stroke.before, { from: stroke.from, to: word }, stroke.mark);
    go({ from: stroke.from, to: word });
  });
  listen("pointerup", () => {
    if (!stroke) return;
    stroke = undefined;
    held = { from: held.to, to: held.to };
    change(marks);
  });
  listen("pointercancel", () => {
    if (stroke) marks = stroke.before;
    stroke = undefined;
    show();
  });
  // a reader's software presses a button without a pointer
  listen("click", (event) => {
    const at = (event.target as Element).closest<HTMLElement>("[data-word]");
    if (event.detail !== 0 || !at || locked()) return;
    const word = Number(at.dataset.word);
    held = { from: word, to: word };
    change(toggled(marks, held, brush()));
  });
  const take = ({ key: pressed, ctrlKey, shiftKey }: KeyboardEvent) => {
    if (ctrlKey) return false;
    const to = stepped(held, pressed, shiftKey, buttons.length);
    if (to) {
      if (buttons.length) go(to);
      return true;
    }
    const kind = KINDS.find(({ letter }) => letter === pressed.toUpperCase())?.key ?? (pressed === " " && brush());
    const clears = pressed === "Backspace" || pressed === "Delete";
    if (!kind && !clears) return key(pressed);
    if (locked() || !buttons.length) return true;
    if (kind) change(toggled(marks, held, kind));
    else change(pressed === "Delete" ? marks.map(() => "") : painted(marks, held, ""));
    return true;
  };
  listen("keydown", ownKeys(take));
  listen("keyup", (event) => event.key === " " && event.preventDefault()); // where a button is pressed only then
  return {
    node,
    marks: () => marks,
    change,
    focus: () => (buttons[held.to] ?? node).focus(),
    /** Takes what the kernel knows; `also` the marks of a question that stays. */
    update: (also: boolean) => {
      const now = model.get("generation");
      const count = model.get("words").length;
      const other = now !== built;
      if (other || also) marks = marksOf(model.get("marks"), count);
      if (other) {
        built = now;
        stroke = undefined;
        build();
      }
      show();
    },
  };
}

function within({ from, to }: Range, index: number): boolean {
  return Math.min(from, to) <= index && index <= Math.max(from, to);
}

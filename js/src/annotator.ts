// mw.ConstraintAnnotator: questions one after the other, their words to be marked; the kernel keeps each answer at once.

import type { RenderProps } from "@anywidget/types";
import { canAccept, marksOf, progressText } from "./annotator/marks";
import { annotatorOf } from "./annotator/own";
import { skipForm } from "./annotator/skip";
import { type AnnotatorModel, type AnnotatorState, KINDS, type Kind } from "./annotator/state";
import { markedWords } from "./annotator/words";
import { SILENT, sender } from "./explorer/send";
import { element } from "./lib/dom";
import { away, disable, onKernel } from "./lib/kernel";
import { keepKeys } from "./lib/keys";
import { replacePicture } from "./lib/picture";
import { radioSwitch } from "./lib/switch";
import { onThemeChange, themeOf } from "./lib/theme";
import { tools } from "./lib/tools";
import "./annotator.css";

const BRUSHES = KINDS.map(({ key, name, letter }) => ({ key, name: `${name} (${letter})` }));
const AWAY = "Run the notebook to go on marking.";
const TRAITS = [
  "generation", "marks", "answered", "reason", "done", "suggested", "suggesting", "hint", "saved", "error", "received", "file", "total",
] as const; // biome-ignore format: one list

function render({ model, el, signal }: RenderProps<AnnotatorState>): void {
  const root = element("div", { class: "mw mw-annotator", "data-lm-suppress-shortcuts": "true" });
  let last = 0; // id of the last message that asks for another question
  let left = 0; // and the question that it left
  let brush: Kind = "visual";
  let skipping = false;
  const kernel = sender(model, () => update(), signal);
  const ask = (content: Record<string, unknown>) => {
    kernel.send({ ...content, generation: model.get("generation") });
    if (content.kind !== "mark") [last, left] = [kernel.last(), model.get("generation")];
    update();
  };
  // between Enter and the next question nothing is marked: it would be in the wrong one
  const leaving = () => model.get("received") < last && model.get("generation") === left && !kernel.silent();
  const locked = () => away(model) || leaving();
  const save = () => ask({ kind: "save", marks: words.marks() });
  const accept = () => words.change(marksOf(model.get("suggested"), model.get("words").length));
  const keys: Record<string, () => void> = {
    Enter: save,
    PageUp: () => ask({ kind: "go", step: -1 }),
    PageDown: () => ask({ kind: "go", step: 1 }),
    A: () => acceptable() && accept(),
    X: () => openSkip(!skipping),
    Escape: () => openSkip(false),
  };
  const words = markedWords(
    model,
    {
      marked: (marks) => ask({ kind: "mark", marks }),
      brush: () => brush,
      locked,
      key: (pressed) => {
        const action = keys[pressed.length === 1 ? pressed.toUpperCase() : pressed];
        if (!action || (pressed === "Escape" && !skipping)) return false;
        if (!locked()) action();
        return true;
      },
    },
    signal,
  );
  const acceptable = () => canAccept(words.marks(), marksOf(model.get("suggested"), model.get("words").length));
  const button = (text: string, action: () => void, attributes: Record<string, string> = {}) => {
    const made = element("button", { type: "button", ...attributes }, text);
    made.addEventListener("click", action, { signal });
    return made;
  };
  const skip = skipForm((reason) => {
    openSkip(false);
    ask({ kind: "skip", reason });
  }, signal);
  const openSkip = (open: boolean) => {
    const back = skipping && !open;
    skipping = open;
    skip.open(open);
    update();
    if (back) words.focus(); // where the keys are
  };
  skip.node.addEventListener("keydown", ({ key }) => key === "Escape" && openSkip(false), { signal });
  const top = progress(model);
  const picture = photo(model, signal);
  const brushes = radioSwitch("what a click marks", BRUSHES, signal, {
    read: () => brush,
    write: (key) => {
      brush = key as Kind;
    },
  });
  const acceptButton = button("Accept the suggestion (A)", accept);
  const again = button("Suggest again", () => ask({ kind: "again" }));
  const clear = button("Clear", () => words.change(words.marks().map(() => "")));
  const hint = element("p", { class: "mw-hint", role: "status" });
  const saveButton = button("Save and go on", save, { class: "mw-main" });
  const back = button("Previous", () => ask({ kind: "go", step: -1 }));
  const on = button("Next", () => ask({ kind: "go", step: 1 }));
  const open = button("Next open", () => ask({ kind: "go", step: "open" }));
  const skipButton = button("Cannot be marked…", () => openSkip(!skipping));
  const retry = button("Save again", () => ask({ kind: "retry" }));
  const state = element("p", { class: "mw-state", role: "status" });
  const failed = element("p", { class: "mw-failed", role: "alert" });
  const note = element("span", { class: "mw-away", hidden: true }, AWAY);
  const marking = element("div", { class: "mw-controls" }, brushes.node, clear, acceptButton, again);
  const going = element("div", { class: "mw-controls mw-going" }, saveButton, skipButton, back, on, open, note);
  const bar = tools(root, model, { ...annotatorOf(model), render }, signal);
  const caption = element(
    "p",
    { class: "mw-caption" },
    "Click words or drag over them, or use the arrow keys with V, T and Enter. Dashed words are a suggestion.",
  );
  root.append(
    bar,
    top.node,
    element(
      "div",
      { class: "mw-pair" },
      picture.node,
      element("div", { class: "mw-beside" }, words.node, hint, marking),
    ),
    going,
    skip.node,
    element("div", { class: "mw-line" }, state, failed, retry),
    caption,
  );
  el.append(root);

  const dark = () => {
    root.dataset.theme = themeOf(root);
  };
  let shown = -1;
  const update = () => {
    const gone = away(model);
    if (shown !== model.get("generation")) {
      shown = model.get("generation");
      skipping = false;
      skip.open(false);
    }
    // what was marked here and not heard yet is newer than what the kernel knows
    words.update(model.get("received") >= kernel.last());
    for (const part of [top, picture, brushes]) part.update();
    const empty = !words.marks().some(Boolean);
    for (const control of brushes.node.querySelectorAll("input")) lock(control, gone);
    for (const control of [saveButton, skipButton, ...skip.controls]) lock(control, gone);
    lock(clear, gone, empty);
    lock(acceptButton, gone, !acceptable());
    lock(again, gone);
    lock(back, gone, model.get("at") === 0);
    lock(on, gone, model.get("at") + 1 >= model.get("total"));
    lock(open, gone, model.get("done") >= model.get("total"));
    acceptButton.hidden = model.get("suggesting") === "off" && !model.get("suggested").some(Boolean);
    again.hidden = model.get("suggesting") !== "error";
    skipButton.setAttribute("aria-expanded", String(skipping));
    hint.textContent = model.get("suggesting") === "running" ? "A suggestion is being made…" : model.get("hint");
    hint.hidden = !hint.textContent;
    hint.dataset.state = model.get("suggesting");
    const silent = kernel.silent();
    state.textContent = stateText(model, words.marks());
    failed.textContent = silent ? SILENT : model.get("error");
    retry.hidden = model.get("saved") !== "not saved" || gone;
    note.hidden = !gone;
    root.dataset.saved = model.get("saved");
    root.dataset.answered = model.get("answered");
    root.dataset.generation = String(model.get("generation"));
  };
  for (const name of TRAITS) model.on(`change:${name}`, update);
  for (const name of ["image", "trouble", "at"] as const) model.on(`change:${name}`, update);
  onKernel(model, update, signal);
  keepKeys(root, signal);
  onThemeChange(dark, signal);
  replacePicture(model, signal);
  requestAnimationFrame(dark);
  dark();
  update();
}

function lock(control: HTMLButtonElement | HTMLInputElement, gone: boolean, also = false): void {
  disable(control, gone, also);
  if (gone) control.title = AWAY;
}

/** What has been said of this question, and where that is kept. */
function stateText(model: AnnotatorModel, marks: string[]): string {
  const answered = model.get("answered");
  const lost = model.get("saved") === "not saved";
  const kept = lost ? "Not saved yet" : `Saved in ${model.get("file")}`;
  if (answered === "skipped") return `Cannot be marked: ${model.get("reason")}. ${kept}.`;
  if (answered === "marked") return `${kept}.`;
  if (answered === "changed") return away(model) ? "Changed, not saved." : "Changed: Enter saves it.";
  const drawn = marks.some(Boolean);
  if (away(model)) return drawn ? "Marked, not saved." : "";
  return drawn ? "Marked: Enter saves it." : lost ? `${kept}.` : "";
}

function progress(model: AnnotatorModel) {
  const where = element("b", {});
  const share = element("i", {});
  const bar = element("div", { role: "progressbar", "aria-label": "questions done", "aria-valuemin": 0 }, share);
  const done = element("span", {});
  const node = element("div", { class: "mw-done" }, where, bar, done);
  const update = () => {
    const text = progressText(model);
    where.textContent = text.where;
    done.textContent = text.done;
    bar.setAttribute("aria-valuemax", String(model.get("total")));
    bar.setAttribute("aria-valuenow", String(model.get("done")));
    share.style.width = `${(100 * model.get("done")) / Math.max(1, model.get("total"))}%`;
  };
  return { node, update };
}

function photo(model: AnnotatorModel, signal: AbortSignal) {
  const image = element("img", { class: "mw-thumbnail", alt: "the picture that the question is about" });
  const trouble = element("p", { class: "mw-failed" });
  const node = element("div", { class: "mw-photo" }, image, trouble);
  let shown: DataView | undefined;
  let url = "";
  const forget = () => URL.revokeObjectURL(url);
  signal.addEventListener("abort", forget);
  const update = () => {
    const data = model.get("image");
    if (data !== shown) {
      shown = data;
      forget();
      const { buffer, byteOffset, byteLength } = data;
      url = URL.createObjectURL(new Blob([buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer]));
      if (byteLength) image.src = url;
      else image.removeAttribute("src");
    }
    image.hidden = !data.byteLength;
    trouble.textContent = model.get("trouble");
    node.hidden = image.hidden && !trouble.textContent;
  };
  return { node, update };
}

export default { render };

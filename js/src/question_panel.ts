// The question of mw.Explorer: its words, its picture, its answer, and what the kernel is doing about it.

import type { RenderProps } from "@anywidget/types";
import { questionOf } from "./explorer/own";
import { SILENT, sender } from "./explorer/send";
import type { QuestionModel, QuestionState } from "./explorer/state";
import { wordMarker } from "./explorer/words";
import { copyText } from "./lib/copy";
import { element } from "./lib/dom";
import { number } from "./lib/format";
import { away, awayNote, disable, onKernel } from "./lib/kernel";
import { keepKeys } from "./lib/keys";
import { replacePicture } from "./lib/picture";
import { statusLine } from "./lib/status";
import { radioSwitch } from "./lib/switch";
import { onThemeChange, themeOf } from "./lib/theme";
import { tools } from "./lib/tools";
import "./question_panel.css";

const TABS = [
  { key: "look", name: "Look" },
  { key: "edit", name: "Edit" },
];
const SETTLE_MS = 400; // until the views of a new question stand

function render({ model, el, signal }: RenderProps<QuestionState>): void {
  const root = element("div", { class: "mw mw-asking", "data-lm-suppress-shortcuts": "true" });
  const kernel = sender(model, () => update(), signal);
  const words = wordMarker(model, signal, (start, end) =>
    kernel.send({ kind: "constraint", start, end, question: model.get("question") }),
  );
  const picture = thumbnail(model, signal);
  const ask = form(model, signal, kernel.send);
  const answer = answerLine(model);
  const notes = element("ul", { class: "mw-notes", "aria-label": "why a view is missing" });
  const tabs = radioSwitch("what is on show", TABS, signal, {
    read: () => model.get("tab"),
    write: (tab) => {
      // the edit panel is the kernel's to make; from then on both stand in the page
      if (model.get("editing")) turn(tab as "look" | "edit");
      else kernel.send({ kind: "tab", tab });
    },
  });
  const turn = (tab: "look" | "edit") => {
    model.set("tab", tab);
    model.save_changes();
  };
  keepKeys(tabs.node, signal);
  const edited = element("span", { class: "mw-edited" });
  const row = element("div", { class: "mw-tabs" }, tabs.node, edited);
  const doing = () => ({
    running: model.get("state") === "running" && !away(model),
    message: away(model) ? "" : model.get("message"),
    progress: -1,
  });
  const status = statusLine("computing", doing, () => kernel.send({ kind: "cancel" }), signal);
  const error = element("p", { class: "mw-failed", role: "alert" });
  const bar = tools(root, model, questionOf(model), signal);
  const text = element(
    "div",
    { class: "mw-text" },
    bar,
    words.node,
    answer.node,
    ask.node,
    row,
    status.node,
    error,
    notes,
  );
  root.append(picture.node, text);
  el.append(root);

  const dark = () => {
    root.dataset.theme = themeOf(root);
  };
  const update = () => {
    for (const part of [words, picture, ask, answer, tabs, status]) part.update();
    tabs.node.hidden = !model.get("editable");
    root.dataset.tab = model.get("tab"); // shows what stands under it: question_panel.css
    for (const input of tabs.node.querySelectorAll("input"))
      disable(input, away(model) && !model.get("editing") && input.value !== model.get("tab"));
    edited.textContent = model.get("tab") === "look" ? model.get("edited") : ""; // the editor has a switch that says it
    answer.node.hidden = model.get("tab") === "edit"; // answers before and after stand in the editor
    error.textContent = kernel.silent() ? SILENT : model.get("error");
    const texts = model.get("notes");
    notes.replaceChildren(...texts.map((note) => element("li", {}, note)));
    notes.hidden = !texts.length;
    root.dataset.generation = String(model.get("generation"));
    root.dataset.state = model.get("state");
  };
  for (const name of ["question", "span", "words", "answer", "top", "notes", "state", "message", "error"] as const)
    model.on(`change:${name}`, update);
  for (const name of ["can_undo", "can_redo", "image", "pictured", "generation", "tab"] as const)
    model.on(`change:${name}`, update);
  for (const name of ["editable", "editing", "edited"] as const) model.on(`change:${name}`, update);
  onKernel(model, update, signal);
  keepHeight(model, root, signal);
  dropTarget(root, signal, (file) => away(model) || void upload(file, kernel.send));
  onThemeChange(dark, signal);
  replacePicture(model, signal);
  requestAnimationFrame(dark);
  dark();
  update();
}

type Send = (content: Record<string, unknown>, buffers?: ArrayBuffer[]) => void;

function form(model: QuestionModel, signal: AbortSignal, send: Send) {
  const field = element("input", { type: "text", "aria-label": "question", spellcheck: "false" });
  const button = (text: string, action: () => void, kind = "button") => {
    const made = element("button", { type: kind }, text);
    made.addEventListener("click", action, { signal });
    return made;
  };
  const file = element("input", { type: "file", accept: "image/*", hidden: true, "aria-label": "picture file" });
  const choose = button("Picture…", () => file.click());
  const undo = button("Undo", () => send({ kind: "undo" }));
  const redo = button("Redo", () => send({ kind: "redo" }));
  const said = element("span", { role: "status", class: "mw-copied" });
  const copy = button("Copy as code", async () => {
    const done = await copyText(model.get("head") + model.get("code"));
    said.textContent = done ? "Copied." : "The browser does not let this page copy.";
    setTimeout(() => said.replaceChildren(), 4000);
  });
  const submitted = button("Ask", () => {}, "submit");
  const note = awayNote(model);
  const node = element(
    "form",
    { class: "mw-form" },
    field,
    submitted,
    element("span", { class: "mw-buttons" }, choose, undo, redo, copy, said),
    note.node,
    file,
  );
  let placed = ""; // what the field held before anybody typed
  const submit = (event: Event) => {
    event.preventDefault();
    const text = field.value.trim();
    // also if it is what stands there: the kernel may be about to answer another question
    if (!text) return;
    placed = field.value;
    send({ kind: "ask", text });
  };
  node.addEventListener("submit", submit, { signal });
  const chosen = () => {
    const [given] = file.files ?? [];
    if (given) void upload(given, send);
    file.value = "";
  };
  file.addEventListener("change", chosen, { signal });
  // JupyterLab takes keys of a cell for itself
  node.addEventListener("keydown", (event) => event.stopPropagation(), { signal });
  let built = -1;
  const update = () => {
    if (built !== model.get("generation")) {
      built = model.get("generation");
      // not over what is being typed: the answer to an earlier question may come meanwhile
      if (field.value === placed) field.value = placed = model.get("question");
    }
    const gone = away(model);
    disable(field, gone);
    for (const control of [submitted, choose]) disable(control, gone);
    disable(undo, gone, !model.get("can_undo"));
    disable(redo, gone, !model.get("can_redo"));
    note.update();
    choose.hidden = !model.get("takes_pictures");
  };
  return { node, update };
}

async function upload(file: File, send: Send): Promise<void> {
  send({ kind: "picture", name: file.name }, [await file.arrayBuffer()]);
}

/** Files dropped anywhere on the panel. */
function dropTarget(root: HTMLElement, signal: AbortSignal, dropped: (file: File) => void): void {
  const over = (event: DragEvent) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    root.classList.toggle("mw-over", event.type === "dragover");
    const [file] = event.type === "drop" ? (event.dataTransfer?.files ?? []) : [];
    if (file) dropped(file);
  };
  for (const type of ["dragover", "dragleave", "drop"] as const) root.addEventListener(type, over, { signal });
}

/** The picture, as long as no other view shows it. */
function thumbnail(model: QuestionModel, signal: AbortSignal) {
  const node = element("img", { class: "mw-thumbnail", alt: "the picture that the question is about" });
  let shown: DataView | undefined;
  let url = "";
  const forget = () => URL.revokeObjectURL(url);
  signal.addEventListener("abort", forget);
  const update = () => {
    const image = model.get("image");
    if (image !== shown) {
      shown = image;
      forget();
      const { buffer, byteOffset, byteLength } = image;
      url = URL.createObjectURL(new Blob([buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer]));
      node.src = url;
    }
    node.hidden = !image.byteLength || (model.get("pictured") && model.get("tab") === "look");
  };
  return { node, update };
}

function answerLine(model: QuestionModel) {
  const node = element("div", { class: "mw-answers" });
  const update = () => {
    const answer = model.get("answer");
    const list = element("ol", { class: "mw-top", "aria-label": "likeliest first tokens" });
    for (const { token, p } of model.get("top")) {
      const bar = element("i", { "aria-hidden": "true" });
      bar.style.width = `${Math.max(1, Math.round(40 * p))}px`;
      list.append(element("li", {}, bar, element("span", {}, token), element("small", {}, number(p))));
    }
    node.replaceChildren(element("b", {}, answer || "…"), ...(answer ? [list] : []));
  };
  return { node, update };
}

/** While the views of another question are made, the page below keeps its place. */
function keepHeight(model: QuestionModel, root: HTMLElement, signal: AbortSignal): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(timer));
  const box = () => root.closest<HTMLElement>(".mw-explorer");
  const release = () => {
    clearTimeout(timer);
    if (model.get("state") === "running") return;
    timer = setTimeout(() => box()?.style.removeProperty("min-height"), SETTLE_MS);
  };
  model.on("change:state", release);
  model.on("change:generation", () => {
    clearTimeout(timer);
    const all = box();
    if (all) all.style.minHeight = `${Math.max(all.offsetHeight, Number.parseFloat(all.style.minHeight) || 0)}px`;
    release();
  });
}

export default { render };

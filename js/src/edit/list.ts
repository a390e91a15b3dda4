// The edits made so far: which are applied, which one is looked at, and ways to take one along.

import { copyText } from "../lib/copy";
import { element, uniqueName } from "../lib/dom";
import { away, disable } from "../lib/kernel";
import { keepKeys } from "../lib/keys";
import { lamName } from "./numbers";
import type { EditModel, EditRow, Send } from "./state";

export function editList(model: EditModel, send: Send, signal: AbortSignal) {
  const name = uniqueName("edit");
  const title = element("h4", { id: `${name}-title` }, "Edits");
  const list = element("ul", { class: "mw-edits", "aria-labelledby": `${name}-title` });
  const none = element(
    "p",
    { class: "mw-note" },
    "None yet. A checked edit is applied to the model; several apply together.",
  );
  const undo = button("Undo", () => send({ kind: "undo" }));
  const redo = button("Redo", () => send({ kind: "redo" }));
  const node = element(
    "section",
    { class: "mw-made" },
    title,
    list,
    none,
    element("div", { class: "mw-form" }, undo, redo),
  );
  keepKeys(node, signal);
  const look = (id: number) => {
    model.set("current", id);
    model.save_changes();
  };
  const line = (row: EditRow) => {
    const check = element("input", {
      type: "checkbox",
      "aria-label": `applied: ${row.label}`,
    });
    disable(check, away(model), row.baked, row.baked ? "It is in the weights: unbake it first." : "");
    check.checked = row.applied || row.baked;
    const checked = () => {
      send({ kind: "check", edit: row.id, on: check.checked });
      check.checked = row.applied || row.baked; // what is shown is what the kernel says
    };
    check.addEventListener("change", checked);
    const here = row.id === model.get("current");
    const chosen = element("input", { type: "radio", name, value: row.id, "aria-label": `look at: ${row.label}` });
    chosen.checked = here;
    chosen.addEventListener("change", () => look(row.id));
    const remove = button("×", () => send({ kind: "remove", edit: row.id }));
    remove.setAttribute("aria-label", `remove: ${row.label}`);
    disable(remove, away(model), false, "Remove");
    remove.classList.add("mw-remove");
    const state = row.baked ? "in the weights" : row.applied ? "applied" : "off";
    const words = element(
      "label",
      { class: "mw-look" },
      chosen,
      element("span", {}, element("b", {}, row.target), ` layer ${row.layer}, λ ${lamName(row.lam)}`),
      element("small", { "data-state": state }, state),
    );
    return element("li", { "aria-current": here ? "true" : "false" }, element("label", {}, check), words, remove);
  };
  const update = () => {
    // the control that has the focus keeps it, though the list is made anew
    const held = [...list.querySelectorAll("input, button")].findIndex((one) => one.matches(":focus"));
    const rows = model.get("rows");
    list.replaceChildren(...rows.map(line));
    if (held >= 0) list.querySelectorAll<HTMLElement>("input, button")[held]?.focus();
    none.hidden = rows.length > 0;
    disable(undo, away(model), !model.get("can_undo"));
    disable(redo, away(model), !model.get("can_redo"));
  };
  return { node, update };
}

export function takeAlong(model: EditModel, send: Send, signal: AbortSignal) {
  const field = element("input", { type: "text", "aria-label": "file name", spellcheck: "false", autocomplete: "off" });
  const out = (kind: string) => () => send({ kind, edit: model.get("current"), name: field.value });
  const save = button("Save .safetensors", out("save"));
  const peft = button("PEFT folder", out("peft"));
  const bake = button("Bake", () => send({ kind: baked() ? "unbake" : "bake", edit: model.get("current") }));
  const said = element("span", { role: "status" });
  const copy = button("Copy as code", async () => {
    const done = await copyText(model.get("head") + model.get("code"));
    said.textContent = done ? "Copied." : "The browser does not let this page copy.";
    setTimeout(() => said.replaceChildren(), 4000);
  });
  const where = element("p", { class: "mw-note", role: "status" });
  const buttons = element("div", { class: "mw-form" }, save, peft, bake, copy, said);
  const label = element("label", { class: "mw-name" }, element("span", {}, "Name"), field);
  const node = element("section", { class: "mw-out" }, element("h4", {}, "Take it along"), label, buttons, where);
  node.addEventListener("keydown", (event) => event.stopPropagation(), { signal });
  const row = () => model.get("rows").find(({ id }) => id === model.get("current"));
  const baked = () => Boolean(row()?.baked);
  let placed = "";
  const update = () => {
    if (field.value === placed) field.value = placed = model.get("name");
    for (const control of [save, peft, bake]) disable(control, away(model), !row());
    bake.textContent = baked() ? "Unbake" : "Bake into weights";
    where.textContent = model.get("saved");
    where.hidden = !where.textContent;
    node.hidden = !model.get("rows").length;
  };
  return { node, update };
}

function button(text: string, action: () => void): HTMLButtonElement {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", action);
  return made;
}

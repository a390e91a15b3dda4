// "Cannot be marked", and why.

import { element } from "../lib/dom";

const REASONS = [
  "No words point at the picture",
  "The question cannot be understood",
  "The picture is not what is asked about",
];

export function skipForm(skip: (reason: string) => void, signal: AbortSignal) {
  const field = element("input", {
    type: "text",
    "aria-label": "why it cannot be marked",
    placeholder: "Another reason",
  });
  const save = element("button", { type: "submit" }, "Save the reason and go on");
  const reasons = REASONS.map((reason) => {
    const made = element("button", { type: "button" }, reason);
    made.addEventListener("click", () => skip(reason), { signal });
    return made;
  });
  const node = element(
    "form",
    { class: "mw-form mw-skip", "aria-label": "why it cannot be marked", hidden: true },
    element("span", { class: "mw-buttons" }, ...reasons),
    field,
    save,
  );
  const submit = (event: Event) => {
    event.preventDefault();
    const reason = field.value.trim();
    if (reason) skip(reason);
    else field.focus();
  };
  node.addEventListener("submit", submit, { signal });
  // JupyterLab takes keys of a cell for itself
  node.addEventListener("keydown", (event) => event.stopPropagation(), { signal });
  return {
    node,
    controls: [field, save, ...reasons],
    open: (open: boolean) => {
      node.hidden = !open;
      if (open) field.focus();
      else field.value = "";
    },
  };
}

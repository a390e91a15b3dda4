// A row of radio buttons that looks like one switch.

import { element, uniqueName } from "./dom";

/** A switch over `options`; `write` is called with the key of the one chosen, `update` shows the one that `read` gives. */
export function radioSwitch(
  label: string,
  options: { key: string; name: string }[],
  signal: AbortSignal,
  { read, write }: { read: () => string; write: (key: string) => void },
): { node: HTMLElement; update: () => void } {
  const name = uniqueName("switch"); // radio buttons of one name are one group
  const inputs = options.map(({ key, name: text }) => {
    const input = element("input", { type: "radio", name, value: key });
    input.addEventListener("change", () => write(key), { signal });
    return { input, label: element("label", {}, input, element("span", {}, text)) };
  });
  const node = element("div", { class: "mw-switch", role: "radiogroup", "aria-label": label });
  node.append(...inputs.map((one) => one.label));
  const update = () => {
    for (const { input } of inputs) input.checked = input.value === read();
  };
  return { node, update };
}

// A menu button, with the keys of the WAI-ARIA menu pattern.

import { element, uniqueName } from "../lib/dom";
import { toolButton } from "./button";

export interface Item {
  name: string;
  title: string;
  action: () => void;
}

export function menuButton(name: string, items: Item[], signal: AbortSignal): HTMLElement {
  const id = uniqueName("menu");
  const menu = element("div", { role: "menu", id, "aria-label": name, hidden: true });
  const nodes = items.map(({ name, title }) => element("div", { role: "menuitem", tabindex: -1, title }, name));
  menu.append(...nodes);
  const open = (at: number) => {
    show(true);
    nodes.at(at)?.focus();
  };
  const button = toolButton(`${name} ▾`, `${name} what is on show`, () => (menu.hidden ? open(0) : show(false)));
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-controls", id);
  const show = (visible: boolean) => {
    menu.hidden = !visible;
    button.setAttribute("aria-expanded", String(visible));
  };
  show(false);
  const choose = (at: number) => {
    show(false);
    button.focus();
    items[at]?.action();
  };
  const node = element("span", { class: "mw-menu" }, button, menu);
  const listen = <K extends keyof HTMLElementEventMap>(type: K, action: (event: HTMLElementEventMap[K]) => void) =>
    node.addEventListener(type, action, { signal });
  listen("click", ({ target }) => {
    const at = nodes.indexOf(target as HTMLDivElement);
    if (at >= 0) choose(at);
  });
  listen("focusout", ({ relatedTarget }) => {
    if (!node.contains(relatedTarget as Node | null)) show(false);
  });
  listen("keydown", (event) => {
    const { key } = event;
    const at = nodes.findIndex((one) => one.matches(":focus"));
    if (menu.hidden) {
      if (key !== "ArrowDown" && key !== "ArrowUp") return;
      open(key === "ArrowUp" ? -1 : 0);
    } else if (key === "Escape") {
      show(false);
      button.focus();
    } else if (at < 0) return;
    else if (key === "Tab") {
      show(false);
      return;
    } else if (key === "Enter" || key === " ") choose(at);
    else {
      const count = nodes.length;
      const letter = nodes.findIndex(({ textContent }) => textContent?.[0]?.toLowerCase() === key.toLowerCase());
      const to = { ArrowDown: (at + 1) % count, ArrowUp: (at + count - 1) % count, Home: 0, End: count - 1 }[key];
      nodes[to ?? letter]?.focus();
      if (to === undefined && letter < 0) return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  return node;
}

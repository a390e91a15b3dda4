// Elements without HTML strings: tokens and answers are text, never markup.

type Attributes = Record<string, string | number | boolean>;

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false) made.setAttribute(name, String(value));
  }
  made.append(...children.map((child) => (typeof child === "string" && tag !== "pre" ? short(made, child) : child)));
  return made;
}

const MOST = 400; // characters of one text; the rest is in a title

/** A text that leaves room for others; all of it in the element's title where it is cut. */
function short(holder: HTMLElement, text: string): string {
  if (text.length <= MOST) return text;
  if (!holder.title) holder.title = text;
  return `${text.slice(0, MOST).replace(/[\ud800-\udbff]$/, "")}…`; // not through the middle of a character
}

/** An id or group name that no other widget in the page has; a counter would not do, since every widget loads its own copy of this code. */
export function uniqueName(kind: string): string {
  return `mw-${kind}-${Math.random().toString(36).slice(2)}`;
}

/** Calls `action` at most once an animation frame, however often it is asked to. */
export function perFrame(action: () => void, signal: AbortSignal): () => void {
  let frame = 0;
  signal.addEventListener("abort", () => cancelAnimationFrame(frame));
  return () => {
    if (frame || signal.aborted) return;
    frame = requestAnimationFrame(() => {
      frame = 0;
      action();
    });
  };
}

/** Why what is shown may mean nothing; no element at all where there is no reason. */
export function warningList(texts: string[]): HTMLElement[] {
  if (!texts.length) return [];
  const items = texts.map((text) => element("li", {}, text));
  return [element("ul", { class: "mw-warnings", "aria-label": "warnings" }, ...items)];
}

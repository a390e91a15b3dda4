// Elements without HTML strings: tokens and answers are text, never markup.

const MOST = 400; // characters of a text; where it has more, all of it is the element's title

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
  for (const child of children) {
    const long = typeof child === "string" && child.length > MOST;
    if (long) made.title ||= child;
    made.append(long ? `${child.slice(0, MOST)}…` : child);
  }
  return made;
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

// Light or dark, as the notebook is; the notebook's theme beats the system's, so prefers-color-scheme is not asked.

const FORCED = "(forced-colors: active)";

export type Theme = "light" | "dark";

export function themeOf(element: Element): Theme {
  if (element.closest(".mw-print")) return "light"; // pictures of widgets are
  // colours that the reader's system forces on all pages are its own light or dark ones
  if (matchMedia(FORCED).matches) return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const { body, documentElement } = document;
  const jupyter = body.dataset.jpThemeLight;
  if (jupyter) return jupyter === "false" ? "dark" : "light";
  const classes = `${body.className} ${documentElement.className} ${documentElement.getAttribute("theme") ?? ""}`;
  if (/\b(dark|vscode-high-contrast)\b/.test(classes)) return "dark";
  if (/\blight\b/.test(classes)) return "light";
  for (let at: Element | null = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    const [r = 0, g = 0, b = 0, opacity = 1] = (color.match(/[\d.]+/g) ?? []).map(Number);
    if (color.startsWith("rgb") && opacity > 0.5) return 0.299 * r + 0.587 * g + 0.114 * b < 110 ? "dark" : "light";
  }
  return "light";
}

/** Calls `changed` when the notebook may have changed its theme. */
export function onThemeChange(changed: () => void, signal: AbortSignal): void {
  const observer = new MutationObserver(changed);
  const options = {
    attributes: true,
    attributeFilter: ["class", "data-jp-theme-light", "data-jp-theme-name", "theme"],
  };
  observer.observe(document.body, options);
  observer.observe(document.documentElement, options);
  matchMedia(FORCED).addEventListener("change", changed, { signal });
  signal.addEventListener("abort", () => observer.disconnect());
}

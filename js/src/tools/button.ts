// A quiet button with a drawing on it, or a few letters.

import { element } from "../lib/dom";
import { svg } from "../lib/svg";

export function toolButton(face: string, name: string, action: () => void): HTMLButtonElement {
  const node = element("button", { type: "button", title: name });
  if (face.startsWith("M")) {
    const icon = svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" });
    icon.append(svg("path", { d: face, fill: "none", stroke: "currentColor", "stroke-width": 1.3 }));
    node.append(icon);
    node.setAttribute("aria-label", name);
  } else node.append(face);
  if (face.length < 3) node.setAttribute("aria-label", name);
  node.addEventListener("click", action);
  return node;
}

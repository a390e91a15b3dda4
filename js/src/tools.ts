// The toolbar of every widget: the stored picture, exports, the table of what is on show, and help with the keys.  All but the first need no kernel.

import { element } from "./lib/dom";
import { keepKeys } from "./lib/keys";
import type { Attach } from "./lib/tools";
import { camera } from "./tools/camera";
import { exportItems } from "./tools/exports";
import { help } from "./tools/help";
import { KEYS } from "./tools/known";
import { menuButton } from "./tools/menu";
import { saver } from "./tools/save";
import { dataTable } from "./tools/table";

const LONG_MS = 8000; // until what was said is gone

const attach: Attach = (place, root, model, own, signal) => {
  if (root.closest(".mw-print")) {
    place.append(own.about());
    return;
  }
  const said = element("span", { role: "status", class: "mw-told" });
  let timer: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(timer));
  const say = (text: string) => {
    said.textContent = text;
    clearTimeout(timer);
    timer = setTimeout(() => said.replaceChildren(), LONG_MS);
  };
  const save = saver(root, say);
  const parts: (HTMLElement | undefined)[] = [
    said,
    camera(model, say, signal),
    menuButton("Export", exportItems(root, model, own, save, say), signal),
    dataTable(root, model, own, signal),
    help(root, KEYS[own.kind] ?? [], signal),
  ];
  const bar = element("div", { role: "group", "aria-label": "export and help", class: "mw-bar" });
  bar.append(...parts.filter((part) => part !== undefined));
  keepKeys(bar, signal);
  place.append(bar);
};

export default attach;

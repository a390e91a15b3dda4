// Handing a file to whoever asked for it.  A sandboxed frame may not download, and does not say so: there the file is shown, to be copied.

import { copyText } from "../lib/copy";
import { element } from "../lib/dom";

export type Save = (blob: Blob, name: string) => Promise<void>;

/** Is this a frame that downloads are probably forbidden in?  A page of ours that knows better says so. */
export function caged(): boolean {
  if ("mwDownloads" in document.documentElement.dataset) return false;
  return window !== window.top && window.origin === "null" && location.protocol !== "file:";
}

export function saver(root: HTMLElement, say: (text: string) => void): Save {
  return async (blob, name) => {
    const url = URL.createObjectURL(blob);
    const link = element("a", { href: url, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    say(caged() ? "" : `Saved ${name}.`);
    root.querySelector(".mw-instead")?.remove();
    if (caged()) root.append(await instead(blob, name));
  };
}

/** The file itself, on the page. */
async function instead(blob: Blob, name: string): Promise<HTMLElement> {
  const why = element("p", {}, `This frame may not be allowed to save files. If ${name} did not arrive: `);
  const node = element("div", { class: "mw-instead", role: "group", "aria-label": name }, why);
  if (blob.type === "image/png") {
    why.append("right-click the picture and save it.");
    node.append(element("img", { src: URL.createObjectURL(blob), alt: name }));
  } else {
    why.append("copy its text.");
    const text = await blob.text();
    const field = element("textarea", { readonly: true, "aria-label": name, rows: 4, spellcheck: "false" });
    field.value = text;
    const copy = element("button", { type: "button" }, "Copy");
    copy.addEventListener("click", async () => {
      if (await copyText(text)) copy.textContent = "Copied";
      else field.select();
    });
    node.append(field, copy);
  }
  const close = element("button", { type: "button" }, "Close");
  close.addEventListener("click", () => node.remove());
  node.append(close);
  return node;
}

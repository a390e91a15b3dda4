// A line that says what the kernel is doing, with a way to stop it.

import { element } from "./dom";

const PATIENCE_MS = 250; // quick answers show no progress

interface Doing {
  running: boolean;
  message: string;
  progress: number; // 0 to 1, or less than 0 where nobody knows
}

export function statusLine(label: string, read: () => Doing, stop: () => void, signal: AbortSignal) {
  const text = element("span", { role: "status" });
  const bar = element("progress", { max: 1, "aria-label": label });
  const cancel = element("button", { type: "button" }, "Cancel");
  const node = element("div", { class: "mw-status" }, bar, text, cancel);
  cancel.addEventListener("click", stop, { signal });
  let since = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(timer));
  const update = () => {
    const { running, message, progress } = read();
    if (running && !since) {
      since = performance.now();
      timer = setTimeout(update, PATIENCE_MS + 5);
    } else if (!running) since = 0;
    const busy = running && performance.now() - since >= PATIENCE_MS;
    bar.hidden = cancel.hidden = !busy;
    if (progress >= 0) bar.value = progress;
    else bar.removeAttribute("value");
    text.textContent = busy || !running ? message : "";
    node.hidden = !busy && !text.textContent;
  };
  return { node, update };
}

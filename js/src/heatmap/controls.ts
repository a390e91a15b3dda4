// What steers the map: which sub-block, how many layers, and what the kernel is doing about it.

import { element, perFrame, uniqueName } from "../lib/dom";
import { windowName } from "../lib/format";
import { away, RUN } from "../lib/kernel";
import { keepKeys } from "../lib/keys";
import { radioSwitch } from "../lib/switch";
import { isStale, type Model, windowsHere } from "./state";

const PATIENCE_MS = 250; // quick answers show no progress
const LOST = "This map has lost its model: trace again to change the window.";
const SILENCE_MS = 2500; // a kernel that has said nothing by then is busy or gone

export function controls(model: Model, signal: AbortSignal): { node: HTMLElement; update: () => void } {
  const modules = radioSwitch("sub-block that is restored", model.get("modules"), signal, {
    read: () => model.get("module"),
    write: (key) => {
      model.set("module", key);
      model.save_changes();
    },
  });
  const slider = windowSlider(model, signal);
  const status = statusLine(model, signal);
  const node = element("div", { class: "mw-controls" }, modules.node, slider.node, status.node);
  keepKeys(node, signal);
  return {
    node,
    update: () => {
      modules.update();
      slider.update();
      status.update();
    },
  };
}

function windowSlider(model: Model, signal: AbortSignal) {
  const id = uniqueName("windows");
  const marks = element("datalist", { id });
  const input = element("input", {
    type: "range",
    min: 1,
    max: model.get("layers"),
    step: 1,
    list: id,
    "aria-label": "window",
  });
  const name = element("span", { class: "mw-window-name", "aria-hidden": "true" });
  const label = element("label", { class: "mw-slider" }, element("span", {}, "Window"), input, marks, name);
  const send = perFrame(() => model.save_changes(), signal);
  const moved = () => {
    if (input.valueAsNumber === model.get("window")) return;
    model.set("window", input.valueAsNumber);
    send();
  };
  input.addEventListener("input", moved, { signal });
  let marked = "";
  const update = () => {
    const here = windowsHere(model);
    input.disabled = !model.get("live") && here.length < 2;
    input.title = input.disabled
      ? LOST
      : here.length > 1
        ? "Marked windows are here already: they need no kernel."
        : "";
    if (marked !== String(here)) {
      marked = String(here);
      marks.replaceChildren(...here.map((value) => element("option", { value })));
    }
    input.value = String(model.get("window"));
    name.textContent = windowName(model.get("window"));
    input.setAttribute("aria-valuetext", name.textContent);
  };
  return { node: label, update };
}

function statusLine(model: Model, signal: AbortSignal) {
  const text = element("span", { role: "status" });
  const bar = element("progress", { max: 1, "aria-label": "cells computed" });
  const cancel = element("button", { type: "button" }, "Cancel");
  const node = element("div", { class: "mw-status" }, bar, text, cancel);
  const stop = () => {
    model.set("cancel", model.get("cancel") + 1);
    model.save_changes();
  };
  cancel.addEventListener("click", stop, { signal });

  let staleSince = 0;
  let timers: ReturnType<typeof setTimeout>[] = [];
  signal.addEventListener("abort", () => timers.forEach(clearTimeout));
  const update = () => {
    const stale = isStale(model);
    if (stale && !staleSince) {
      staleSince = performance.now();
      timers = [setTimeout(update, PATIENCE_MS + 5), setTimeout(update, SILENCE_MS + 5)];
    } else if (!stale) {
      staleSince = 0;
      timers.forEach(clearTimeout);
    }
    const waited = stale ? performance.now() - staleSince : 0;
    const state = model.get("state");
    const answered = model.get("computing") === model.get("window");
    const never = stale && (away(model) || !model.get("live"));
    const busy = stale && !never && waited >= PATIENCE_MS && state !== "error" && state !== "stopped";
    const silent = busy && !answered && waited >= SILENCE_MS;
    const aside = !stale && state === "running" && !away(model); // other windows are computed
    node.dataset.state = never ? "never" : state === "error" ? "error" : silent ? "silent" : busy ? "running" : "idle";
    cancel.hidden = !(busy && answered);
    bar.hidden = cancel.hidden && !aside;
    if (state === "running" && (answered || aside)) bar.value = model.get("progress");
    else bar.removeAttribute("value");
    text.textContent = never ? (away(model) ? RUN : LOST) : busy ? progress(model, silent, answered) : settled(model);
  };
  return { node, update };
}

function progress(model: Model, silent: boolean, answered: boolean): string {
  if (answered && model.get("state") === "waiting") return model.get("message");
  if (answered) return `computing window ${model.get("window")}`;
  if (!silent) return "asking the kernel";
  return "No answer from the kernel: it is busy with a cell, or not running (then re-run the notebook).";
}

function settled(model: Model): string {
  if (isStale(model) && model.get("state") === "idle") return "";
  if (model.get("message")) return model.get("message");
  const seconds = model.get("window") === model.get("shown") ? model.get("seconds") : 0;
  return seconds ? `computed in ${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(0)} s` : "";
}

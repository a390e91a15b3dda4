// Is there a kernel?  Only what is known counts: one that is busy with a cell is not away, and nobody is kept from asking it.

import { element } from "./dom";

interface Saved {
  comm_live?: boolean;
  on?: (name: string, heard: () => void) => void;
  off?: (name: string, heard: () => void) => void;
}

/** A widget's model, as far as it tells of the kernel; every widget has these traits. */
interface Told {
  get(name: "offline"): boolean;
  get(name: string): unknown;
  on(name: string, heard: () => void): void;
}

/** Says once, in sight, why controls are grey. */
export function awayNote(model: object): { node: HTMLElement; update: () => void } {
  const node = element("span", { class: "mw-away", hidden: true }, RUN);
  return {
    node,
    update: () => {
      node.hidden = !away(model);
    },
  };
}

export const RUN = "Run the notebook to compute this.";

/** Is the kernel known to be away?  A page without one says so itself; where Jupyter made the widget from a saved notebook, its layout has no comm. */
export function away(model: object): boolean {
  const told = model as Told;
  return told.get("offline") || layoutOf(told)?.comm_live === false;
}

/** Calls `changed` when the kernel may have gone, or come back. */
export function onKernel(model: object, changed: () => void, signal: AbortSignal): void {
  const told = model as Told;
  told.on("change:offline", changed);
  const layout = layoutOf(told);
  layout?.on?.("comm_live_update", changed);
  signal.addEventListener("abort", () => layout?.off?.("comm_live_update", changed));
}

// Front ends other than Jupyter's give a string here, or nothing: neither has what is asked of it.
function layoutOf(model: Told): Saved | undefined {
  return model.get("layout") as Saved | undefined;
}

/** Disables a control that needs a kernel while that is away, or for a reason of its own, and says why. */
export function disable(control: HTMLButtonElement | HTMLInputElement, gone: boolean, also = false, why = ""): void {
  control.disabled = gone || also;
  control.title = gone ? RUN : why;
}

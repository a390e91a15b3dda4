// The PNG displayed before a live widget: hidden while the widget lives, shown again when it goes.

const TRIES_MS = [0, 100, 500, 2000]; // a reopened notebook may draw its outputs in any order
const PNG = "data:image/png;base64,";
const HEADER = 44; // base64 characters before the widget's id: the picture's size is in them

interface Told {
  get(name: "picture_id"): string;
  on(name: string, heard: () => void): void;
}

/** Hides the pictures that hold the widget's id, also newer ones that take their place (`taken` counts these). */
export function replacePicture(model: Told, signal: AbortSignal): void {
  const hidden = new Set<HTMLElement>();
  const hide = () => {
    const id = model.get("picture_id");
    if (!id || signal.aborted) return;
    for (const image of document.querySelectorAll<HTMLImageElement>(`img[src^="${PNG}"]`)) {
      if (!image.src.startsWith(id, PNG.length + HEADER)) continue;
      const box = image.closest<HTMLElement>(".jp-OutputArea-child, .output_area") ?? image;
      box.style.display = "none";
      hidden.add(box);
    }
  };
  let timers: ReturnType<typeof setTimeout>[] = [];
  const again = () => {
    hide();
    timers.forEach(clearTimeout);
    timers = TRIES_MS.map((delay) => setTimeout(hide, delay));
  };
  again();
  model.on("change:taken", again);
  model.on("change:picture_id", again);
  signal.addEventListener("abort", () => {
    timers.forEach(clearTimeout);
    for (const box of hidden) box.style.display = "";
  });
}

// The PNG displayed before a live widget: hidden while the widget lives, shown again when it goes.

const TRIES_MS = [0, 100, 500, 2000]; // a reopened notebook may draw its outputs in any order

export function replacePicture(start: string, signal: AbortSignal): void {
  if (!start) return;
  const hidden = new Set<HTMLElement>();
  const hide = () => {
    for (const image of document.querySelectorAll<HTMLImageElement>('img[src^="data:image/png;base64,"]')) {
      if (!image.src.startsWith(`data:image/png;base64,${start}`)) continue;
      const box = image.closest<HTMLElement>(".jp-OutputArea-child, .output_area") ?? image;
      box.style.display = "none";
      hidden.add(box);
    }
  };
  const timers = TRIES_MS.map((delay) => setTimeout(hide, delay));
  hide();
  signal.addEventListener("abort", () => {
    timers.forEach(clearTimeout);
    for (const box of hidden) box.style.display = "";
  });
}

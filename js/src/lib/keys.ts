// Keys that a widget takes, of which JupyterLab takes many for the cell around it.

/** A listener for a widget's own keys: `take` says whether a key is one of them; others are left to JupyterLab. */
export function ownKeys(take: (event: KeyboardEvent) => boolean): (event: KeyboardEvent) => void {
  return (event) => {
    if (event.altKey || event.metaKey || !take(event)) return;
    event.preventDefault();
    event.stopPropagation();
  };
}

/** Keeps from JupyterLab the keys that sliders, switches, fields and buttons in `node` need. */
export function keepKeys(node: HTMLElement, signal: AbortSignal): void {
  const keep = (event: KeyboardEvent) => {
    if (/^(Arrow|Home|End|Page|Enter|Backspace|Delete|[0-9]| )/.test(event.key)) event.stopPropagation();
  };
  node.addEventListener("keydown", keep, { signal });
}

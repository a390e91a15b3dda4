// Numbers and windows in words.

const STEPS = [99.95, 9.995, 0.9995, 0.09995, 0.009995]; // a number below the first so many has so many decimals more

/** Three significant figures; tiny and huge numbers as powers of ten.  mllm_widgets/numbers.py writes the same; tests/data/numbers.json holds both to it. */
export function number(value: number): string {
  if (value === 0) return "0";
  if (!Number(value)) return "not known yet"; // JSON has no NaN: a page has null for it, and Jupyter sends the text "nan"
  const size = Math.abs(value);
  if (size === Number.POSITIVE_INFINITY) return minus(`${value < 0 ? "-" : ""}∞`);
  if (size < 1e-3 || size >= 99950) return minus(value.toExponential(2)).replace("+", "");
  return minus(value.toFixed(STEPS.filter((least) => size < least).length));
}

/** The same with a sign: an effect. */
export function signed(value: number): string {
  return value > 0 ? `+${number(value)}` : number(value);
}

export function percent(share: number): string {
  return Number.isFinite(share) ? `${minus((100 * share).toFixed(Math.abs(share) < 0.0995 ? 1 : 0))}%` : "undefined";
}

/** Layers [first, last] that a window restores around a centre, as tracing/engine.py's window_layers. */
export function windowLayers(centre: number, window: number, layers: number): [number, number] {
  const first = centre - Math.floor(window / 2);
  return [Math.max(0, first), Math.min(layers, first + window) - 1];
}

/** How many layers, and which ones around the centre l. */
export function windowName(window: number): string {
  if (window === 1) return "1 layer: l";
  const before = Math.floor(window / 2);
  const after = window - before - 1;
  return `${window} layers: l−${before} … l${after ? `+${after}` : ""}`;
}

export function layerRange([first, last]: [number, number]): string {
  return first === last ? `layer ${first}` : `layers ${first}–${last}`;
}

function minus(text: string): string {
  return text.replaceAll("-", "−");
}

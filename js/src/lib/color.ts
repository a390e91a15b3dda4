// Colours from look-up tables made in Python (mllm_widgets/colormaps.py), so that canvas and PNG agree to the bit.

export type Rgb = readonly [number, number, number];

/** The entry for an effect: 128 is 0, the ends are -limit and +limit; the same rule as colormaps.color_index. */
export function colorIndex(effect: number, limit: number): number {
  const share = Math.max(-1, Math.min(1, effect / limit));
  return Math.floor(128 + share * (share < 0 ? 128 : 127) + 0.5);
}

const SLACK = 1e-3; // of a scale: rounding to half precision moves an effect by less

/** 1 for an effect beyond the upper end of a scale, -1 for one beyond the lower, else 0; the same rule as colormaps.beyond. */
export function beyondLimit(effect: number, limit: number): number {
  const share = effect / limit;
  return Number(share > 1 + SLACK) - Number(share < -1 - SLACK);
}

/** The entry for a place on a scale that runs from 0 to 1; the same rule as colormaps.strength_index. */
export function strengthIndex(share: number): number {
  return Math.floor(Math.max(0, Math.min(1, share)) * 255 + 0.5);
}

/** Reads a table of 256 RGB triples. */
export function colorTable(data: DataView): (index: number) => Rgb {
  return (index) => [data.getUint8(3 * index), data.getUint8(3 * index + 1), data.getUint8(3 * index + 2)];
}

/** `color` laid over `ground` with the given opacity. */
export function blend(color: Rgb, ground: Rgb, opacity: number): Rgb {
  const mix = (i: 0 | 1 | 2) => Math.round(color[i] * opacity + ground[i] * (1 - opacity));
  return [mix(0), mix(1), mix(2)];
}

export function css(color: Rgb): string {
  return `rgb(${color[0]} ${color[1]} ${color[2]})`;
}

/** Parses what getComputedStyle gives for a colour; white for anything unknown. */
export function parseRgb(text: string): Rgb {
  const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(text.trim())?.[1];
  if (hex) {
    const full = hex.length === 3 ? [...hex].map((c) => c + c).join("") : hex;
    const part = (i: number) => Number.parseInt(full.slice(i, i + 2), 16);
    return [part(0), part(2), part(4)];
  }
  const numbers = text.match(/[\d.]+/g)?.map(Number) ?? [];
  return text.startsWith("rgb") && numbers.length >= 3
    ? [numbers[0] ?? 255, numbers[1] ?? 255, numbers[2] ?? 255]
    : [255, 255, 255];
}

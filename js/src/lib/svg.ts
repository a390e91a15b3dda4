// Small charts as SVG: sharp at every size, coloured by the widget's own CSS.

type Attributes = Record<string, string | number>;

const NAMESPACE = "http://www.w3.org/2000/svg";

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): SVGElementTagNameMap[K] {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** Points of a polyline, two decimals each. */
export function points(pairs: (readonly [number, number])[]): string {
  return pairs.map(([x, y]) => `${round(x)},${round(y)}`).join(" ");
}

function round(value: number): number {
  return Math.round(100 * value) / 100;
}

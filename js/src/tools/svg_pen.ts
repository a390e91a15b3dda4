// A pen that draws an SVG: rectangles, paths and real text.  What a canvas's context does, as far as our drawings need it.

import type { Pen } from "../lib/pen";
import { svg } from "../lib/svg";

const NOT_IN_XML = /[^\t\n\r -\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;
const ANCHORS: Record<string, string> = { center: "middle", right: "end", end: "end" };
const STATE = [
  "fillStyle",
  "strokeStyle",
  "lineWidth",
  "globalAlpha",
  "font",
  "textAlign",
  "textBaseline",
  "dash",
] as const;

export class SvgPen implements Pen {
  fillStyle: Pen["fillStyle"] = "#000";
  strokeStyle: Pen["strokeStyle"] = "#000";
  lineWidth = 1;
  globalAlpha = 1;
  font = "10px sans-serif";
  textAlign: CanvasTextAlign = "left";
  textBaseline: CanvasTextBaseline = "alphabetic";
  private dash = "";
  private path = "";
  private readonly root: SVGElement;
  private group: SVGElement;
  private readonly saved: unknown[][] = [];
  private readonly clips: string;
  private clipped = 0;
  private readonly measure = document.createElement("canvas").getContext("2d");

  constructor(width: number, height: number, provenance: string) {
    this.clips = `c${Math.random().toString(36).slice(2)}-`;
    this.root = svg("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}` });
    this.root.append(svg("metadata", {}, clean(provenance)));
    this.group = this.root;
  }

  text(): string {
    return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(this.root)}`;
  }

  fillRect(x: number, y: number, width: number, height: number): void {
    this.add("rect", { x: r(x), y: r(y), width: r(width), height: r(height) }, this.filled());
  }

  strokeRect(x: number, y: number, width: number, height: number): void {
    this.add("rect", { x: r(x), y: r(y), width: r(width), height: r(height) }, this.stroked());
  }

  fillText(text: string, x: number, y: number): void {
    const [, weight = "", size = "10", family = ""] = /^(.*?)([\d.]+)px (.*)$/.exec(this.font) ?? [];
    const middle = this.textBaseline === "middle" ? 0.35 * Number(size) : 0; // of no program's own reckoning
    const attributes: Record<string, string | number> = {
      x: r(x),
      y: r(y + middle),
      "font-family": family,
      "font-size": size,
      "text-anchor": ANCHORS[this.textAlign] ?? "start",
    };
    if (weight.trim()) attributes["font-weight"] = weight.trim();
    this.add("text", attributes, this.filled(), clean(text));
  }

  measureText(text: string): TextMetrics {
    const { measure } = this;
    if (!measure) throw new Error("This browser draws no text.");
    measure.font = this.font;
    return measure.measureText(text);
  }

  beginPath(): void {
    this.path = "";
  }

  moveTo(x: number, y: number): void {
    this.path += `M${r(x)} ${r(y)}`;
  }

  lineTo(x: number, y: number): void {
    this.path += `${this.path ? "L" : "M"}${r(x)} ${r(y)}`;
  }

  /** A whole circle, which is all that is drawn. */
  arc(x: number, y: number, radius: number): void {
    const [half, back] = [`a${radius} ${radius} 0 1 0 ${2 * radius} 0`, `a${radius} ${radius} 0 1 0 ${-2 * radius} 0`];
    this.path += `M${r(x - radius)} ${r(y)}${half}${back}z`;
  }

  rect(x: number, y: number, width: number, height: number): void {
    this.path += `M${r(x)} ${r(y)}h${r(width)}v${r(height)}h${r(-width)}z`;
  }

  stroke(): void {
    this.add("path", { d: this.path, "stroke-linejoin": "round" }, this.stroked());
  }

  fill(): void {
    this.add("path", { d: this.path }, this.filled());
  }

  clip(rule = "nonzero"): void {
    const id = `${this.clips}${this.clipped++}`;
    this.group.append(svg("clipPath", { id }, svg("path", { d: this.path, "clip-rule": rule })));
    this.enter({ "clip-path": `url(#${id})` });
  }

  translate(x: number, y: number): void {
    this.enter({ transform: `translate(${r(x)} ${r(y)})` });
  }

  setLineDash(dash: number[]): void {
    this.dash = dash.join(" ");
  }

  save(): void {
    this.saved.push([this.group, ...STATE.map((name) => this[name])]);
  }

  restore(): void {
    const [group, ...state] = this.saved.pop() ?? [this.root];
    this.group = group as SVGElement;
    STATE.forEach((name, index) => {
      Object.assign(this, { [name]: state[index] ?? this[name] });
    });
  }

  drawImage(image: HTMLCanvasElement, x: number, y: number, width: number, height: number): void {
    const href = image.toDataURL("image/png");
    this.add("image", { href, x: r(x), y: r(y), width: r(width), height: r(height), preserveAspectRatio: "none" }, {});
  }

  private enter(attributes: Record<string, string>): void {
    const inner = svg("g", attributes);
    this.group.append(inner);
    this.group = inner;
  }

  private filled(): Record<string, string | number> {
    return { fill: String(this.fillStyle) };
  }

  private stroked(): Record<string, string | number> {
    const stroke = { fill: "none", stroke: String(this.strokeStyle), "stroke-width": this.lineWidth };
    return this.dash ? { ...stroke, "stroke-dasharray": this.dash } : stroke;
  }

  private add(
    tag: "rect" | "path" | "text" | "image",
    attributes: Record<string, string | number>,
    style: Record<string, string | number>,
    ...text: string[]
  ): void {
    const opacity: Record<string, string | number> = this.globalAlpha < 1 ? { opacity: r(this.globalAlpha) } : {};
    this.group.append(svg(tag, { ...attributes, ...style, ...opacity }, ...text));
  }
}

/** Without what an XML file cannot hold. */
function clean(text: string): string {
  return text.replace(NOT_IN_XML, "\ufffd");
}

function r(value: number): number {
  return Math.round(100 * value) / 100;
}

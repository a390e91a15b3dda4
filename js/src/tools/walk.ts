// Draws what the browser has laid out: each element's ground and borders, its texts line by line, charts, pictures and canvases.

import type { Painted, Pen } from "../lib/pen";

export interface PrintPen extends Pen {
  drawImage: (image: HTMLCanvasElement, x: number, y: number, width: number, height: number) => void;
}

/** Draws an element and all in it; `left`, `top` is the picture's corner on the page. */
export function drawElement(pen: PrintPen, node: Element, left: number, top: number): void {
  const style = getComputedStyle(node);
  const box = node.getBoundingClientRect();
  if (style.display === "none" || style.visibility === "hidden" || node.matches(".mw-sr")) return;
  const [x, y] = [box.left - left, box.top - top];
  const within = (draw: () => void) => {
    pen.save();
    draw();
    pen.restore();
  };
  if (node instanceof SVGSVGElement) {
    within(() => drawChart(pen, node, left, top));
    return;
  }
  if (node instanceof HTMLImageElement) {
    within(() => drawPicture(pen, node, style, box, left, top));
    return;
  }
  drawBox(pen, style, x, y, box.width, box.height);
  if (node instanceof HTMLCanvasElement) {
    within(() => {
      pen.translate(x, y);
      (node as Painted).drawing?.(pen);
    });
    return;
  }
  within(() => {
    if (style.overflowX !== "visible" && node.scrollWidth > node.clientWidth) {
      pen.beginPath();
      pen.rect(x, y, box.width, box.height);
      pen.clip();
    }
    for (const child of node.childNodes) {
      if (child instanceof Element) drawElement(pen, child, left, top);
      else if (child instanceof Text) drawText(pen, child, style, left, top);
    }
  });
}

function drawBox(pen: Pen, style: CSSStyleDeclaration, x: number, y: number, width: number, height: number): void {
  const fill = (color: string, ...box: [number, number, number, number]) => {
    if (/^(transparent|rgba\(.*, 0\))$/.test(color)) return;
    pen.fillStyle = color;
    pen.fillRect(...box);
  };
  fill(style.backgroundColor, x, y, width, height);
  const thick = (side: "Top" | "Right" | "Bottom" | "Left") =>
    style[`border${side}Style`] === "none" ? 0 : Number.parseFloat(style[`border${side}Width`]);
  const [t, r, b, l] = [thick("Top"), thick("Right"), thick("Bottom"), thick("Left")];
  if (t) fill(style.borderTopColor, x, y, width, t);
  if (b) fill(style.borderBottomColor, x, y + height - b, width, b);
  if (l) fill(style.borderLeftColor, x, y, l, height);
  if (r) fill(style.borderRightColor, x + width - r, y, r, height);
}

function drawText(pen: Pen, node: Text, style: CSSStyleDeclaration, left: number, top: number): void {
  pen.font = `${style.fontWeight === "400" ? "" : `${style.fontWeight} `}${style.fontSize} ${style.fontFamily}`;
  pen.fillStyle = style.color;
  pen.textAlign = "left";
  pen.textBaseline = "alphabetic";
  for (const { text, box } of linesOf(node, /pre/.test(style.whiteSpace))) {
    const { fontBoundingBoxAscent: up, fontBoundingBoxDescent: down } = pen.measureText(text);
    pen.fillText(text, box.left - left, box.top - top + (box.height - up - down) / 2 + up);
  }
}

/** A text in the lines that it was broken into. */
function linesOf(node: Text, kept: boolean): { text: string; box: DOMRect }[] {
  const range = document.createRange();
  const boxAt = (start: number, end: number) => {
    range.setStart(node, start);
    range.setEnd(node, end);
    return range.getClientRects();
  };
  const lines: { text: string; box: DOMRect }[] = [];
  const add = (start: number, end: number) => {
    const written = node.data.slice(start, end).trimEnd();
    const text = written.trimStart();
    const box = boxAt(start + written.length - text.length, start + written.length)[0];
    if (box && text) lines.push({ text: kept ? text : text.replace(/\s+/g, " "), box });
  };
  let start = 0;
  if (boxAt(0, node.length).length > 1) {
    let line: DOMRect | undefined;
    for (let at = 0; at < node.length; at++) {
      const box = boxAt(at, at + 1)[0]; // none of white space that is not there
      if (!box?.width) continue;
      if (line && box.top >= line.bottom - 2) {
        add(start, at);
        start = at;
      }
      line = box;
    }
  }
  add(start, node.length);
  return lines;
}

/** The shapes of a small chart, where its coordinates fall on the page. */
function drawChart(pen: Pen, chart: SVGSVGElement, left: number, top: number): void {
  for (const node of chart.querySelectorAll<SVGGraphicsElement>("rect,line,polyline,circle,text,path")) {
    const style = getComputedStyle(node);
    const at = node.getScreenCTM();
    if (!at) continue;
    const put = (x: number, y: number) => [at.a * x + at.e - left, at.d * y + at.f - top] as const;
    const number = (name: string) => Number(node.getAttribute(name));
    if (node instanceof SVGTextElement) {
      pen.font = `${Number.parseFloat(style.fontSize) * at.a}px ${style.fontFamily}`;
      pen.fillStyle = style.fill;
      pen.textAlign = ({ middle: "center", end: "right" } as const)[style.textAnchor] ?? "left";
      pen.textBaseline = "alphabetic";
      pen.fillText(node.textContent ?? "", ...put(number("x"), number("y")));
      continue;
    }
    pen.beginPath();
    if (node instanceof SVGPolylineElement)
      [...node.points].forEach(({ x, y }, index) => {
        if (index) pen.lineTo(...put(x, y));
        else pen.moveTo(...put(x, y));
      });
    else if (node instanceof SVGLineElement) {
      pen.moveTo(...put(number("x1"), number("y1")));
      pen.lineTo(...put(number("x2"), number("y2")));
    } else if (node instanceof SVGCircleElement)
      pen.arc(...put(number("cx"), number("cy")), number("r") * at.a, 0, 2 * Math.PI);
    else if (node instanceof SVGRectElement)
      pen.rect(...put(number("x"), number("y")), number("width") * at.a, number("height") * at.d);
    if (style.fill !== "none") {
      pen.fillStyle = style.fill;
      pen.fill();
    }
    if (style.stroke !== "none") {
      pen.strokeStyle = style.stroke;
      pen.lineWidth = Number.parseFloat(style.strokeWidth) * at.a;
      pen.setLineDash((style.strokeDasharray.match(/[\d.]+/g) ?? []).map((dash) => Number(dash) * at.a));
      pen.stroke();
      pen.setLineDash([]);
    }
  }
}

/** A picture as CSS shows it: cut to its box, greyed and faded. */
function drawPicture(
  pen: PrintPen,
  image: HTMLImageElement,
  style: CSSStyleDeclaration,
  { left: x, top: y, width, height }: DOMRect,
  left: number,
  top: number,
): void {
  if (!width || !height || !image.naturalWidth) return;
  const copy = document.createElement("canvas");
  copy.width = Math.round(2 * width);
  copy.height = Math.round(2 * height);
  const to = copy.getContext("2d", { willReadFrequently: true });
  if (!to) return;
  const { naturalWidth: across, naturalHeight: down } = image;
  const zoom = style.objectFit === "cover" ? Math.max(copy.width / across, copy.height / down) : 0;
  const [w, h] = zoom ? [across * zoom, down * zoom] : [copy.width, copy.height];
  to.drawImage(image, (copy.width - w) / 2, (copy.height - h) / 2, w, h);
  const grey = Number(/grayscale\(([\d.]+)\)/.exec(style.filter)?.[1] ?? 0);
  const opacity = Number(style.opacity);
  if (grey || opacity < 1) {
    const pixels = to.getImageData(0, 0, copy.width, copy.height);
    fade(pixels.data, grey, opacity);
    to.putImageData(pixels, 0, 0);
  }
  pen.drawImage(copy, x - left, y - top, width, height);
}

/** CSS's grayscale(), and white through what is left. */
function fade(pixels: Uint8ClampedArray, grey: number, opacity: number): void {
  for (let at = 0; at < pixels.length; at += 4) {
    const [r = 0, g = 0, b = 0] = pixels.subarray(at, at + 3);
    const luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    [r, g, b].forEach((value, channel) => {
      const mixed = value + grey * (luma - value);
      pixels[at + channel] = 255 + opacity * (mixed - 255);
    });
  }
}

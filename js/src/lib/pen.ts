// What pictures are drawn with: the part of a canvas's context that is in use, which an SVG can offer as well (tools/svg_pen.ts).

export type Pen = Pick<
  CanvasRenderingContext2D,
  | "fillStyle"
  | "strokeStyle"
  | "lineWidth"
  | "globalAlpha"
  | "font"
  | "textAlign"
  | "textBaseline"
  | "fillRect"
  | "strokeRect"
  | "fillText"
  | "measureText"
  | "beginPath"
  | "moveTo"
  | "lineTo"
  | "arc"
  | "rect"
  | "stroke"
  | "fill"
  | "save"
  | "restore"
  | "translate"
  | "setLineDash"
> & { clip: (rule?: CanvasFillRule) => void };

export type Drawing = (pen: Pen) => void;

/** A canvas that knows how to be drawn again, at another size or into an SVG. */
export interface Painted extends HTMLCanvasElement {
  drawing?: Drawing;
}

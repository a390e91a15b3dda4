// The picture with its patches: pointer, keyboard, tooltip, legend and chart.

import { type Ink, inkOf } from "../lib/canvas";
import { copyText } from "../lib/copy";
import { element, perFrame } from "../lib/dom";
import { number } from "../lib/format";
import { canvasGrid, redrawWith } from "../lib/grid";
import { themeOf } from "../lib/theme";
import { Tooltip } from "../lib/tooltip";
import { drawChart, layerAt } from "./chart";
import { drawPatches, drawScale, FADE } from "./draw";
import { between, layout, middle, onPage, type Point, patchAt, patchesIn, toPicture, viewOf } from "./layout";
import { DECADES, type Highlights, highlights } from "./scale";
import { ascending, moved, toggled } from "./select";
import { boxOf, layerIndex, type Model, type Patch, readPatches, readValues } from "./state";
import { asSentence, chartSentence, describe, headingOf, summary } from "./words";

const KEYS = "Arrows move, Enter selects; ? lists all keys.";
const DRAG = 4; // px; less is a click with an unsteady hand

export function patchView(
  model: Model,
  root: HTMLElement,
  signal: AbortSignal,
): { nodes: HTMLElement[]; update: () => void } {
  const image = picture(model, signal);
  const canvas = element("canvas", { class: "mw-cells", "aria-hidden": "true" });
  const {
    node: grid,
    cell: cellNode,
    focused,
    listen,
    keys: hearKeys,
  } = canvasGrid({ "aria-multiselectable": "true" }, () => redraw(), signal);
  const figure = element("div", { class: "mw-figure" }, image, canvas, grid);
  const tooltip = new Tooltip(grid);
  const legend = element("canvas", { "aria-hidden": "true" });
  const chart = element("canvas", { "aria-hidden": "true" });
  const chartBox = element("div", { class: "mw-chart", role: "img" }, chart);
  const side = element(
    "div",
    { class: "mw-side" },
    element("div", { class: "mw-legend" }, element("span", {}, model.get("quantity")), legend),
    chartBox,
  );
  const box = element("div", { class: "mw-map" }, element("div", { class: "mw-stage" }, figure, side), tooltip.node);
  const caption = element("p", { class: "mw-caption" });
  const said = element("p", { class: "mw-said", role: "status" });
  const foot = element("div", { class: "mw-foot" }, caption, element("p", { class: "mw-keys" }, KEYS), said);

  let patches = readPatches(model);
  let values = readValues(model);
  let shown = shownNow();
  let place = layout(600, viewNow());
  let cursor: Patch | undefined;
  let anchor: Patch | undefined; // where a rectangle of the keyboard's begins
  let pointer: Patch | undefined;
  let pressed: (Point & { page: Point }) | undefined; // in pixels of the picture
  let dragged: Point | undefined;
  let dismissed = false;
  let stale = true; // the chart, which no pointer changes

  function viewNow() {
    const [width = 1, height = 1] = model.get("picture_size");
    const boxes = model.get("grids").filter(({ kind }) => kind === model.get("grid"));
    return viewOf({ width, height }, boxes.map(boxOf));
  }
  function shownNow(): Highlights {
    const hidden = new Set(model.get("mask_sinks") ? model.get("sinks").map(({ token }) => token) : []);
    return highlights(
      values,
      layerIndex(model),
      patches.map(({ token }) => token),
      hidden,
      {
        scale: model.get("scale"),
        threshold: model.get("threshold"),
        topK: model.get("top_k"),
        compare: model.get("compare"),
      },
    );
  }
  const at = (): Patch => cursor ?? patches.find(({ token }) => token === shown.top[0]) ?? (patches[0] as Patch);
  const active = () => pointer ?? (focused() ? at() : undefined);

  const draw = () => {
    if (!box.clientWidth || !patches.length) return; // not laid out: the ResizeObserver calls again
    const theme = themeOf(root);
    root.dataset.theme = theme;
    const ink = inkOf(root);
    place = layout(box.clientWidth, viewNow());
    sizeOf(figure, place);
    placePicture();
    const here = active();
    const drag = pressed && dragged && between(pressed, dragged);
    drawPatches(canvas, place, model, patches, shown, theme, ink, {
      cursor: here,
      focused: focused() && !pointer,
      drag,
    });
    const value = here ? (shown.marks.get(here.token)?.value ?? Number.NaN) : Number.NaN;
    drawScale(legend, model, shown, theme, ink, value);
    if (stale) drawRest(ink);
    cellNode.textContent = asSentence(model, at(), shown);
    cellNode.setAttribute("aria-selected", String(model.get("selected").includes(at().token)));
    if (here && !dismissed && !drag) {
      const on = onPage(place, here);
      const words = describe(model, here, shown);
      const patch = { ...on, x: on.x + figure.offsetLeft, y: on.y + figure.offsetTop };
      const { offsetLeft: x, offsetTop: y, offsetWidth: width, offsetHeight: height } = chartBox;
      tooltip.show(words, headingOf(model, here), patch, { x, y, width, height });
    } else tooltip.hide();
  };
  const drawRest = (ink: Ink) => {
    stale = false;
    const tokens = patches.filter(({ token }) => shown.marks.get(token)?.rank).map(({ token }) => token);
    const selected = model.get("selected").filter((token) => tokens.includes(token));
    const first = drawChart(chart, place.chart, model, values, tokens, selected, ink);
    chartBox.setAttribute("aria-label", chartSentence(model, selected, first));
    caption.textContent = legendOf(model, patches, shown);
    grid.setAttribute("aria-label", summary(model, patches, shown));
    // what the canvas holds now, for tests, which cannot read it otherwise
    const drawn = patches.filter(({ token }) => shown.marks.get(token)?.drawn).length;
    box.dataset.drawn = `layer ${model.get("layer")}: ${drawn} of ${patches.length} patches, ${shown.top.length} outlined`;
    box.dataset.zoom = String(place.zoom);
  };
  const redraw = perFrame(draw, signal);
  const redrawAll = () => {
    stale = true;
    redraw();
  };
  const placePicture = () => {
    const [width = 1, height = 1] = model.get("picture_size");
    const on = onPage(place, { left: 0, top: 0, right: width, bottom: height });
    const opacity = model.get("opacity");
    Object.assign(image.style, {
      left: `${on.x}px`,
      top: `${on.y}px`,
      width: `${on.width}px`,
      height: `${on.height}px`,
      filter: `grayscale(${Math.min(1, 2 * opacity)})`,
      opacity: String(1 - FADE * opacity),
    });
  };

  const select = (tokens: number[]) => {
    model.set("selected", ascending(tokens));
    model.save_changes();
  };
  const point = (event: PointerEvent): Point => toPicture(place, event.offsetX, event.offsetY);
  const adds = (event: PointerEvent) =>
    event.shiftKey || event.ctrlKey || event.metaKey || event.pointerType === "touch"; // a finger has no keys
  const release = () => {
    pressed = undefined;
    dragged = undefined;
  };
  listen("pointerdown", (event) => {
    if (event.button !== 0) return;
    pressed = { ...point(event), page: { x: event.clientX, y: event.clientY } };
    pointer = patchAt(patches, pressed.x, pressed.y); // a finger may not move before it goes
    dismissed = false;
    grid.setPointerCapture(event.pointerId);
  });
  listen("pointermove", (event) => {
    const now = point(event);
    pointer = patchAt(patches, now.x, now.y);
    dismissed = false;
    if (!pressed) return;
    const way = Math.hypot(event.clientX - pressed.page.x, event.clientY - pressed.page.y);
    if (dragged || way > DRAG) dragged = now;
  });
  listen("pointerup", (event) => {
    if (!pressed) return;
    const now = point(event);
    const before = model.get("selected");
    if (dragged) {
      const inside = patchesIn(patches, pressed, now).map(({ token }) => token);
      select(adds(event) ? [...before, ...inside] : inside);
    } else {
      const patch = patchAt(patches, now.x, now.y);
      if (patch) cursor = anchor = patch;
      const same = patch && before.length === 1 && before[0] === patch.token;
      if (patch && adds(event)) select(toggled(before, [patch.token]));
      else if (patch && !same) select([patch.token]);
      else if (before.length) select([]);
    }
    release();
  });
  listen("pointercancel", release);
  listen("pointerleave", ({ pointerType }) => {
    if (pointerType !== "touch") pointer = undefined; // what a finger has pointed at is read when it has gone
  });
  listen("focus", () => {
    dismissed = false;
  });
  listen("blur", () => {
    pointer = undefined;
  });
  hearKeys(({ key, ctrlKey, shiftKey }) => {
    said.textContent = "";
    const to = moved(patches, at(), key, ctrlKey);
    if (to) {
      anchor = shiftKey ? (anchor ?? at()) : to;
      cursor = to;
      pointer = undefined;
      dismissed = false;
      if (shiftKey) select(patchesIn(patches, middle(anchor), middle(to)).map(({ token }) => token));
    } else if (key === "Enter" || key === " ") select(toggled(model.get("selected"), [at().token]));
    else if (key === "Escape") {
      dismissed = true;
      release();
      if (model.get("selected").length) select([]);
    } else if (key === "PageUp" || key === "PageDown") toLayer(layerIndex(model) + (key === "PageUp" ? -1 : 1));
    else if (key === "t" && !ctrlKey) select(shown.top);
    else if (key === "c" && !ctrlKey) void copy();
    else return false;
    return true;
  });
  const toLayer = (index: number) => {
    const layer = model.get("layers")[index];
    if (layer === undefined || layer === model.get("layer")) return;
    model.set("layer", layer);
    model.save_changes();
  };
  const copy = async () => {
    const tokens = model.get("selected").length ? model.get("selected") : [at().token];
    const rows = tokens.map((token) => `${token}\t${shown.marks.get(token)?.value ?? ""}`);
    const text = `patch\t${model.get("quantity")} at layer ${model.get("layer")}\n${rows.join("\n")}`;
    const what = tokens.length === 1 ? `the value of patch ${tokens[0]}` : `the values of ${tokens.length} patches`;
    said.textContent = (await copyText(text)) ? `Copied ${what}.` : "The browser does not let this page copy.";
  };
  chartBox.addEventListener("click", (event) => toLayer(layerAt(event.offsetX, values.layers, place.chart.width)), {
    signal,
  });

  redrawWith(box, redrawAll, signal);
  const update = () => {
    patches = readPatches(model);
    values = readValues(model);
    shown = shownNow();
    // of another view of the picture they are no patches
    const still = (patch: Patch | undefined) => patch && patches.find(({ token }) => token === patch.token);
    [cursor, anchor, pointer] = [still(cursor), still(anchor), still(pointer)];
    redrawAll();
  };
  return { nodes: [box, foot], update };
}

function picture(model: Model, signal: AbortSignal): HTMLImageElement {
  const { buffer, byteOffset, byteLength } = model.get("image");
  const url = URL.createObjectURL(new Blob([buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer]));
  signal.addEventListener("abort", () => URL.revokeObjectURL(url));
  return element("img", { src: url, alt: "the picture that the question is about", draggable: "false" });
}

function sizeOf(figure: HTMLElement, { width, height }: { width: number; height: number }): void {
  figure.style.width = `${width}px`;
  figure.style.height = `${height}px`;
}

/** What the marks on the picture mean, those that are there. */
function legendOf(model: Model, patches: Patch[], shown: Highlights): string {
  const [width = 0, height = 0] = model.get("picture_size");
  const sinks = new Set(model.get("sinks").map(({ token }) => token));
  const parts: string[] = [];
  const top = shown.top.length;
  if (top) parts.push(`Outlined: the ${top === 1 ? "largest patch" : `${top} largest patches`}.`);
  if (patches.some(({ token }) => sinks.has(token)))
    parts.push(
      `Marked corner: a sink, which takes attention whatever it holds${model.get("mask_sinks") ? ", masked" : ""}.`,
    );
  const marks = [...shown.marks.values()];
  if (marks.some(({ below }) => below)) parts.push(`Hatched: below ${number(shown.limit / 10 ** DECADES)}.`);
  if (marks.some(({ unknown }) => unknown)) parts.push("Crossed: not known.");
  const boxes = model.get("grids").filter(({ kind }) => kind === model.get("grid"));
  const view = viewOf({ width, height }, boxes.map(boxOf));
  const area = (box: { left: number; top: number; right: number; bottom: number }) =>
    (box.right - box.left) * (box.bottom - box.top);
  const covered = boxes.map(boxOf).reduce((sum, box) => sum + area(box), 0);
  if (area(view) > 1.001 * width * height) parts.push("Striped beyond the picture: padding.");
  if (covered < 0.999 * area(view)) parts.push("Striped and pale: no patch sees it.");
  return parts.join(" ");
}

"""Values of patches over the picture: the same patches, colours and marks as the live widget, on a white ground."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from PIL import Image, ImageDraw

from mllm_widgets import colormaps
from mllm_widgets.patch_map import DECADES, KINDS, Highlights, PatchMap

from .chart import layer_chart
from .pen import ACCENT, FAINT, GAP, INK, PADDING, SCALE, SMALL, TITLE, UNTRACED, Pen

FIGURE = (460, 440)  # the most room a picture takes, in units
SIDE = 280  # what stands beside it: legend and chart
LEAST = 320  # high, so that legend and chart fit
WARN = "#8a5a00"
FADE = 0.55  # how much of the picture goes at full opacity
LINES, LEAST_LINED = (255, 255, 255, 70), 6  # between patches; smaller ones would be mostly lines
FEW = 18  # units; smaller patches are outlined around, not inside
GREY = (0.2126, 0.7152, 0.0722, 0)  # as CSS's grayscale()


def cover(share: np.ndarray, opacity: float) -> np.ndarray:
    """Opacity of a patch's colour for its place on the scale.  js/src/patches/draw.ts does the same."""
    return opacity * np.clip(share, 0, 1) ** 0.7


def patch_picture(
    shown: PatchMap,
    layer: int,
    kind: str | None = None,
    *,
    selected: Collection[int] = (),
    scale: str = "linear",
    threshold: float = 0.0,
    top_k: int = 5,
    mask_sinks: bool = False,
    compare: bool = False,
    opacity: float = 0.8,
) -> Image.Image:
    """Values of one layer over the picture, with their scale and the selected patches over all layers, as an RGB picture.

    Parameters
    ----------
    kind: which of the model's views of the picture, "picture", "tile" or "thumbnail"; the finest by default.
    selected: visual tokens to frame, whose values the chart shows.
    scale, threshold, top_k, mask_sinks, compare: as in `PatchMap.highlights`.
    opacity: 0..1, from the plain picture to the strongest highlights.

    Raises
    ------
    ValueError: for a layer or a kind of grid that is not there.
    """
    kind = shown.kinds[0] if kind is None else kind
    if layer not in shown.layers or kind not in shown.kinds:
        raise ValueError(
            f"layer={layer!r}, kind={kind!r} is not shown; there are layers {shown.layers} and {shown.kinds}."
        )
    marks = shown.highlights(
        layer, kind, scale=scale, threshold=threshold, top_k=top_k, mask_sinks=mask_sinks, compare=compare
    )
    figure = _figure(shown, kind, marks, selected, opacity)
    lines = [(shown.question, TITLE, INK)] if shown.question else []
    lines.append((_subtitle(shown, layer, kind), SMALL, FAINT))
    lines += [(warning, SMALL, WARN) for warning in shown.warnings]
    head = PADDING + sum(size + GAP for _, size, _ in lines)
    width = figure.width // SCALE + 2 * GAP + SIDE + 2 * PADDING
    height = head + max(figure.height // SCALE, LEAST) + PADDING
    image = Image.new("RGB", (width * SCALE, height * SCALE), "white")
    image.paste(figure, (PADDING * SCALE, head * SCALE))
    pen = Pen(ImageDraw.Draw(image))
    y = PADDING
    for text, size, color in lines:
        pen.text(PADDING, y + size / 2, text, size, color, room=width - 2 * PADDING)
        y += size + GAP
    left = PADDING + figure.width // SCALE + 2 * GAP
    _legend(pen, left, head, SIDE, marks, scale, opacity, shown.quantity)
    layer_chart(pen, (left, head + 62, SIDE, LEAST - 62), shown, layer, marks.tokens[~marks.masked], selected, scale)
    return image


def _subtitle(shown: PatchMap, layer: int, kind: str) -> str:
    target = f" to {shown.target}" if shown.target else ""
    grid = f", {KINDS[kind].lower()}" if len(shown.kinds) > 1 else ""
    return f"{shown.quantity} of visual tokens{target}, layer {layer}{grid}"


def view_box(shown: PatchMap, kind: str) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of what is drawn, in pixels of the picture: all of it, and the padding that patches lie on."""
    boxes = [grid.box for grid in shown.geometry.grids if grid.kind == kind]
    width, height = shown.image.size
    left, top, right, bottom = (np.array(side) for side in zip(*boxes, strict=True))
    return min(0.0, left.min()), min(0.0, top.min()), max(width, right.max()), max(height, bottom.max())


def _figure(shown: PatchMap, kind: str, marks: Highlights, selected: Collection[int], opacity: float) -> Image.Image:
    """The picture, faded, with its patches over it."""
    left, top, right, bottom = view_box(shown, kind)
    zoom = min(FIGURE[0] / (right - left), FIGURE[1] / (bottom - top)) * SCALE
    size = round((right - left) * zoom), round((bottom - top) * zoom)

    def pixels(box: np.ndarray | tuple[float, ...]) -> list[int]:
        x0, y0, x1, y1 = box
        return [round((v - start) * zoom) for v, start in ((x0, left), (y0, top), (x1, left), (y1, top))]

    figure = Image.new("RGB", size, UNTRACED[0])
    Pen(ImageDraw.Draw(figure)).striped(0, 0, size[0] / SCALE, size[1] / SCALE)
    place = pixels((0, 0, *shown.image.size))
    picture = shown.image.convert("RGB").resize((place[2] - place[0], place[3] - place[1]), Image.Resampling.LANCZOS)
    grey = picture.convert("L", GREY).convert("RGB")
    picture = Image.blend(
        Image.blend(picture, grey, min(1, 2 * opacity)), Image.new("RGB", picture.size, "white"), FADE * opacity
    )
    figure.paste(picture, (place[0], place[1]))
    _cover_unseen(figure, [pixels(grid.box) for grid in shown.geometry.grids if grid.kind == kind])

    boxes = shown.geometry.boxes
    table = colormaps.strength_colors("light")
    colors = table[colormaps.strength_index(np.nan_to_num(marks.share))]
    opacities = np.round(255 * cover(np.nan_to_num(marks.share), opacity)).astype(int)
    over = Image.new("RGBA", size, (*LINES[:3], 0))
    pen = ImageDraw.Draw(over)
    for token, color, alpha, drawn in zip(marks.tokens, colors, opacities, marks.drawn, strict=True):
        if drawn:
            x0, y0, x1, y1 = pixels(boxes[token])
            pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill=(*(int(c) for c in color), int(alpha)))
    lines = Image.new("RGBA", size, (*LINES[:3], 0))
    pen = ImageDraw.Draw(lines)
    for token in marks.tokens:
        x0, y0, x1, y1 = pixels(boxes[token])
        if x1 - x0 >= LEAST_LINED * SCALE:
            pen.line([(x0, y1), (x0, y0), (x1, y0)], fill=LINES)
    figure.paste(over, (0, 0), over)
    tiles = [grid.box for grid in shown.geometry.grids if grid.kind == kind]
    for x0, y0, x1, y1 in map(pixels, tiles if len(tiles) > 1 else ()):
        pen.rectangle((x0 - 1, y0 - 1, x1, y1), outline=(*LINES[:3], 217), width=2)
    figure.paste(lines, (0, 0), lines)
    pen = ImageDraw.Draw(figure)
    for token, masked in zip(marks.tokens, marks.masked, strict=True):
        x0, y0, x1, y1 = pixels(boxes[token])
        if masked:
            Pen(pen).striped(x0 / SCALE, y0 / SCALE, (x1 - x0) / SCALE, (y1 - y0) / SCALE)
        if int(token) in shown.sinks:
            corner = max(5, (x1 - x0) // 3)
            pen.polygon([(x0, y0), (x0 + corner, y0), (x0, y0 + corner)], fill=INK)
    for tokens, color, width in ((marks.top, INK, 3), (np.intersect1d(list(selected), marks.tokens), ACCENT, 5)):
        for token in tokens:
            x0, y0, x1, y1 = pixels(boxes[int(token)])
            out = width if min(x1 - x0, y1 - y0) < FEW * SCALE else 0  # around a small patch, inside a large one
            edge = (x0 - out, y0 - out, x1 - 1 + out, y1 - 1 + out)
            pen.rectangle((edge[0] - 1, edge[1] - 1, edge[2] + 1, edge[3] + 1), outline="white", width=width + 2)
            pen.rectangle(edge, outline=color, width=width)
    return figure


def _cover_unseen(figure: Image.Image, seen: list[list[int]]) -> None:
    """Stripes over what no patch sees: what a crop cuts off."""
    mask = Image.new("L", figure.size, 170)
    pen = ImageDraw.Draw(mask)
    for box in seen:
        pen.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=0)
    stripes = Image.new("RGB", figure.size)
    Pen(ImageDraw.Draw(stripes)).striped(0, 0, figure.width / SCALE, figure.height / SCALE)
    figure.paste(stripes, (0, 0), mask)


def _legend(
    pen: Pen, x: float, y: float, width: float, marks: Highlights, scale: str, opacity: float, quantity: str
) -> None:
    pen.text(x, y + 5, quantity, SMALL, FAINT)
    bar, steps = width - 2, int((width - 2) * SCALE)
    table = colormaps.strength_colors("light")
    ground = 255 - (255 - 128) * (1 - FADE * opacity)  # a middle grey of the faded picture
    for i in range(steps):
        share = np.array(i / (steps - 1))
        alpha = float(cover(share, opacity))
        color = tuple(round(float(c) * alpha + ground * (1 - alpha)) for c in table[colormaps.strength_index(share)])
        pen.box(x + i / SCALE, y + 14, 1 / SCALE, 10, color)
    first = 0.0 if scale == "linear" else marks.limit / 10**DECADES
    pen.text(x, y + 32, f"{first:.2g}" if scale == "linear" else f"<{first:.2g}", SMALL, FAINT, "lm")
    pen.text(x + bar, y + 32, f"{marks.limit:.2g}", SMALL, FAINT, "rm")

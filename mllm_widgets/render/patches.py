"""Values of patches over the picture: the same patches, colours and marks as the live widget, on a white ground."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

import numpy as np
from PIL import Image

from mllm_widgets import colormaps
from mllm_widgets.numbers import number
from mllm_widgets.patch_map import DECADES, KINDS, Highlights, PatchMap

from .chart import layer_chart
from .marks import BELOW, NOT_KNOWN, cross, key
from .pen import ACCENT, FAINT, GAP, INK, PADDING, SCALE, SMALL, TITLE, WARN, Drawing

FIGURE = (460, 440)  # the most room a picture takes, in units
SIDE = 280  # what stands beside it: legend and chart
LEAST = 320  # high, so that legend and chart fit
FADE = 0.55  # how much of the picture goes at full opacity
LINES, LEAST_LINED = 70 / 255, 6  # white between patches; smaller ones would be mostly lines
UNSEEN = 170 / 255  # opacity of the stripes over what no patch sees
FEW = 18  # units; smaller patches are outlined around, not inside
GREY = (0.2126, 0.7152, 0.0722, 0)  # as CSS's grayscale()


def cover(share: np.ndarray, opacity: float) -> np.ndarray:
    """Opacity of a patch's colour for its place on the scale.  js/src/patches/draw.ts does the same."""
    return opacity * np.clip(share, 0, 1) ** 0.7


def draw_patches(
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
    titled: bool = True,
    colormap: str = "embers",
) -> Drawing:
    """Values of one layer over the picture, with their scale and the selected patches over all layers, as a picture.

    Parameters
    ----------
    kind: which of the model's views of the picture, "picture", "tile" or "thumbnail"; the finest by default.
    selected: visual tokens to frame, whose values the chart shows.
    scale, threshold, top_k, mask_sinks, compare: as in `PatchMap.highlights`.
    opacity: 0..1, from the plain picture to the strongest highlights.
    titled: write the question above it?
    colormap: "embers", "cividis" or "viridis".

    Raises
    ------
    ValueError: for a layer or a kind of grid that is not there, or another colormap.
    """
    if colormap not in colormaps.STRENGTHS:
        raise ValueError(f"colormap={colormap!r} is not known; expected one of {colormaps.STRENGTHS}.")
    table = colormaps.strength_colors("light", colormap)
    kind = shown.kinds[0] if kind is None else kind
    if layer not in shown.layers or kind not in shown.kinds:
        raise ValueError(
            f"layer={layer!r}, kind={kind!r} is not shown; there are layers {shown.layers} and {shown.kinds}."
        )
    marks = shown.highlights(
        layer, kind, scale=scale, threshold=threshold, top_k=top_k, mask_sinks=mask_sinks, compare=compare
    )
    lines = [(shown.question, TITLE, INK)] if shown.question and titled else []
    lines.append((_subtitle(shown, layer, kind), SMALL, FAINT))
    lines += [(warning, SMALL, WARN) for warning in shown.warnings]
    head = PADDING + sum(size + GAP for _, size, _ in lines)
    figure, found = _figure(shown, kind, marks, selected, scale, threshold, opacity, table)
    width = figure.width + 2 * GAP + SIDE + 2 * PADDING
    pen = Drawing(width, head + max(figure.height, LEAST) + PADDING, shown.question, _summary(shown, layer, marks))
    pen.put(figure, PADDING, head)
    y = PADDING
    for text, size, color in lines:
        pen.text(PADDING, y + size / 2, text, size, color, room=width - 2 * PADDING)
        y += size + GAP
    left = PADDING + figure.width + 2 * GAP
    _legend(pen, left, head, SIDE, marks, scale, opacity, shown.quantity, table)
    used = 62
    if found:
        words = [f"{BELOW} {number(marks.limit / 10**DECADES)}" if one == BELOW else one for one in sorted(found)]
        key(pen, left, head + 56, words, tuple(int(c) for c in table[255]))
        used += 20
    chart = (left, head + used, SIDE, LEAST - used)
    layer_chart(pen, chart, shown, layer, marks.tokens[~marks.masked], selected, scale)
    return pen


def _summary(shown: PatchMap, layer: int, marks: Highlights) -> str:
    """What is shown, for who cannot see it."""
    told = f"{shown.quantity.capitalize()} of {len(marks.tokens)} patches at layer {layer}."
    largest = np.flatnonzero(marks.rank == 1)
    if len(largest):
        told += f" Largest: {number(float(marks.values[largest[0]]))}, patch {int(marks.tokens[largest[0]])}."
    return told


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


def _figure(
    shown: PatchMap,
    kind: str,
    marks: Highlights,
    selected: Collection[int],
    scale: str,
    threshold: float,
    opacity: float,
    table: np.ndarray,
) -> tuple[Drawing, set[str]]:
    """The picture, faded, with its patches over it; and the marks that occur."""
    left, top, right, bottom = view_box(shown, kind)
    zoom = min(FIGURE[0] / (right - left), FIGURE[1] / (bottom - top)) * SCALE

    def place(box: np.ndarray | tuple[float, ...]) -> tuple[float, float, float, float]:
        """On whole pixels, so that neighbours meet without a seam."""
        sides = zip(box, (left, top, left, top), strict=True)
        x0, y0, x1, y1 = (round((v - start) * zoom) / SCALE for v, start in sides)
        return x0, y0, x1 - x0, y1 - y0

    _, _, width, height = place((left, top, right, bottom))
    pen = Drawing(int(np.ceil(width)), int(np.ceil(height)), cells=len(marks.tokens))
    tiles = [place(grid.box) for grid in shown.geometry.grids if grid.kind == kind]
    x, y, wide, high = place((0, 0, *shown.image.size))
    pen.striped(0, 0, width, height)
    pen.photo(x, y, _faded(shown.image, (round(wide * SCALE), round(high * SCALE)), opacity))
    for hole in _outside((width, height), tiles):  # what a crop cuts off is seen by no patch
        pen.striped(*hole, opacity=UNSEEN)
    boxes = {int(token): place(shown.geometry.boxes[token]) for token in marks.tokens}
    found = _patches(pen, marks, boxes, scale, threshold, opacity, table)
    for x, y, wide, high in tiles if len(tiles) > 1 else ():
        pen.ring(x - 0.5, y - 0.5, wide + 1, high + 1, "white", 1)
    for x, y, wide, high in boxes.values():
        if wide >= LEAST_LINED:
            pen.box(x, y, wide, 0.5, "white", LINES)
            pen.box(x, y + 0.5, 0.5, high - 0.5, "white", LINES)
    for token, masked in zip(marks.tokens, marks.masked, strict=True):
        x, y, wide, high = boxes[int(token)]
        if masked:
            pen.striped(x, y, wide, high)
        if int(token) in shown.sinks:
            corner = max(2.5, wide / 3)
            pen.area([(x, y), (x + corner, y), (x, y + corner)], INK)
    for tokens, color, line in ((marks.top, INK, 1.5), (np.intersect1d(list(selected), marks.tokens), ACCENT, 2.5)):
        for token in tokens:
            x, y, wide, high = boxes[int(token)]
            out = line if min(wide, high) < FEW else 0  # around a small patch, inside a large one
            pen.ring(x - out - 0.5, y - out - 0.5, wide + 2 * out + 1, high + 2 * out + 1, "white", line + 1)
            pen.ring(x - out, y - out, wide + 2 * out, high + 2 * out, color, line)
    return pen, found


def _patches(
    pen: Drawing,
    marks: Highlights,
    boxes: Mapping[int, tuple[float, float, float, float]],
    scale: str,
    threshold: float,
    opacity: float,
    table: np.ndarray,
) -> set[str]:
    """Colours of the patches, and marks of those that a colour does not do justice; returns which occur."""
    share = np.nan_to_num(marks.share)
    colors = table[colormaps.strength_index(share)]
    opacities = np.round(255 * cover(share, opacity)) / 255
    below = np.nan_to_num(marks.values, nan=np.inf) < marks.limit / 10**DECADES
    below &= scale == "log" and not threshold
    unknown = np.isnan(marks.values) & ~marks.masked
    found = set()
    for i, token in enumerate(marks.tokens):
        x, y, wide, high = boxes[int(token)]
        if marks.drawn[i]:
            color = tuple(int(c) for c in colors[i])
            pen.box(x, y, wide, high, color, float(opacities[i]))
        if below[i]:
            found.add(BELOW)
            pen.hatched(x, y, wide, high)
        elif unknown[i]:
            found.add(NOT_KNOWN)
            pen.ring(x, y, wide, high, FAINT, 1)
            cross(pen, x + wide / 2, y + high / 2, max(2.0, min(4.0, 0.25 * min(wide, high))), halo=True)
    return found


def _faded(image: Image.Image, size: tuple[int, int], opacity: float) -> Image.Image:
    """The picture as the patches' ground: paler and greyer the stronger they are."""
    picture = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    grey = Image.blend(picture, picture.convert("L", GREY).convert("RGB"), min(1, 2 * opacity))
    return Image.blend(grey, Image.new("RGB", size, "white"), FADE * opacity)


def _outside(
    size: tuple[float, float], boxes: Collection[tuple[float, float, float, float]]
) -> list[tuple[float, float, float, float]]:
    """Rectangles that cover what of a sheet lies in none of the boxes."""
    xs = sorted({0.0, size[0], *(edge for x, _, wide, _ in boxes for edge in (x, x + wide))})
    ys = sorted({0.0, size[1], *(edge for _, y, _, high in boxes for edge in (y, y + high))})
    holes = []
    for y0, y1 in itertools.pairwise(ys):
        row: list[tuple[float, float]] = []
        for x0, x1 in itertools.pairwise(xs):
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            if any(bx <= x < bx + wide and by <= y < by + high for bx, by, wide, high in boxes):
                continue
            if row and row[-1][1] == x0:
                row[-1] = row[-1][0], x1
            else:
                row.append((x0, x1))
        holes += [(x0, y0, x1 - x0, y1 - y0) for x0, x1 in row]
    return holes


def _legend(
    pen: Drawing,
    x: float,
    y: float,
    width: float,
    marks: Highlights,
    scale: str,
    opacity: float,
    quantity: str,
    table: np.ndarray,
) -> None:
    pen.text(x, y + 5, quantity, SMALL, FAINT)
    bar = width - 2
    shares = np.linspace(0, 1, 256)
    alpha = cover(shares, opacity)[:, None]
    ground = 255 - (255 - 128) * (1 - FADE * opacity)  # a middle grey of the faded picture
    colors = table[colormaps.strength_index(shares)]
    pen.ramp(x, y + 14, bar, 10, np.round(colors * alpha + ground * (1 - alpha)))
    first = "0" if scale == "linear" else f"≤ {number(marks.limit / 10**DECADES)}"
    pen.text(x, y + 32, first, SMALL, FAINT, "lm")
    pen.text(x + bar, y + 32, number(marks.limit), SMALL, FAINT, "rm")

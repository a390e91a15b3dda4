"""A drawing as pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .fonts import OWN, SCALE, font, runs, text_width
from .pen import FAINT, UNTRACED, Area, Box, Color, Dot, Drawing, Line, Pattern, Photo, Placed, Point, Ramp, Ring, Text

STEP = 5 * SCALE  # between two lines of a pattern
HATCH_OPACITY = 0.45
FINE = 4  # how much larger slanting shapes are drawn


def image_of(drawing: Drawing) -> Image.Image:
    """An RGB picture on white."""
    image = Image.new("RGB", (drawing.width * SCALE, drawing.height * SCALE), "white")
    _Raster(image).draw(drawing, 0, 0)
    return image


class _Raster:
    """Draws marks at pixels; each kind of mark has a method of its name."""

    def __init__(self, image: Image.Image) -> None:
        self._image, self._pen = image, ImageDraw.Draw(image)

    def draw(self, drawing: Drawing, x: float, y: float) -> None:
        for mark in drawing.marks:
            _KINDS[type(mark)](self, mark, x, y)

    def placed(self, mark: Placed, x: float, y: float) -> None:
        self.draw(mark.drawing, x + mark.at[0], y + mark.at[1])

    def box(self, mark: Box, x: float, y: float) -> None:
        x0, y0, x1, y1 = _corners(mark.at, x, y)
        if mark.opacity < 1:
            if x1 > x0 and y1 > y0:
                veil = Image.new("L", (x1 - x0, y1 - y0), round(255 * mark.opacity))
                self._image.paste(mark.color, (x0, y0, x1, y1), veil)
            return
        self._pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill=mark.color)

    def ring(self, mark: Ring, x: float, y: float) -> None:
        x0, y0, x1, y1 = _corners(mark.at, x, y)
        if x1 > x0 and y1 > y0:
            self._pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=mark.color, width=max(1, round(mark.line * SCALE)))

    def pattern(self, mark: Pattern, x: float, y: float) -> None:
        x0, y0, x1, y1 = _corners(mark.at, x, y)
        if x1 <= x0 or y1 <= y0:
            return
        # on a grid of the drawing, so that lines run on from one rectangle to the next
        rows, columns = np.indices((y1 - y0, x1 - x0))
        down, across = rows + y0 - round(y * SCALE), columns + x0 - round(x * SCALE)
        sign = 1 if mark.kind == "stripes" else -1
        on = (across + sign * down) % STEP == 0
        box = (x0, y0, x1, y1)
        if mark.ground is not None:
            self._image.paste(mark.ground, box, _mask(np.full(on.shape, mark.opacity)))
        color, strength = (UNTRACED[1], mark.opacity) if mark.kind == "stripes" else (FAINT, HATCH_OPACITY)
        self._image.paste(color, box, _mask(on * strength))

    def line(self, mark: Line, x: float, y: float) -> None:
        fine = round(mark.width * SCALE * FINE)
        self._smooth(
            mark.points, mark.width, mark.color, x, y, lambda pen, at: pen.line(at, 255, width=fine, joint="curve")
        )

    def area(self, mark: Area, x: float, y: float) -> None:
        self._smooth(mark.points, 0, mark.color, x, y, lambda pen, at: pen.polygon(at, 255))

    def dot(self, mark: Dot, x: float, y: float) -> None:
        (cx, cy), r = mark.center, mark.radius
        corners = ((cx - r, cy - r), (cx + r, cy + r))
        self._smooth(corners, 0, mark.color, x, y, lambda pen, at: pen.ellipse([*at[0], *at[1]], 255))

    def _smooth(
        self, points: Sequence[Point], around: float, color: Color, x: float, y: float, draw: Callable[[Any, Any], None]
    ) -> None:
        """A slanting shape, drawn larger and then made small, so that it has no steps; `around`: how far it reaches beyond its points."""
        at = np.array([((x + px) * SCALE, (y + py) * SCALE) for px, py in points])
        low = np.floor(at.min(axis=0) - around * SCALE - 1).astype(int)
        size = np.ceil(at.max(axis=0) + around * SCALE + 1).astype(int) - low
        large = Image.new("L", (int(size[0]) * FINE, int(size[1]) * FINE))
        draw(ImageDraw.Draw(large), [(float(px), float(py)) for px, py in (at - low) * FINE])
        mask = large.resize((int(size[0]), int(size[1])), Image.Resampling.BOX)
        self._image.paste(color, (int(low[0]), int(low[1])), mask)

    def ramp(self, mark: Ramp, x: float, y: float) -> None:
        x0, y0, x1, y1 = _corners(mark.at, x, y)
        places = np.rint(np.linspace(0, len(mark.colors) - 1, x1 - x0)).astype(int)
        strip = np.broadcast_to(mark.colors[places], (y1 - y0, x1 - x0, 3))
        self._image.paste(Image.fromarray(np.ascontiguousarray(strip)), (x0, y0))

    def photo(self, mark: Photo, x: float, y: float) -> None:
        self._image.paste(mark.image, (round((x + mark.at[0]) * SCALE), round((y + mark.at[1]) * SCALE)))

    def text(self, mark: Text, x: float, y: float) -> None:
        at = (x + mark.at[0]) * SCALE
        if mark.anchor[0] != "l":
            width = sum(text_width(part, mark.size) for part, _ in mark.parts) * SCALE
            at -= width / 2 if mark.anchor[0] == "m" else width
        ascent, descent = font(OWN, mark.size).getmetrics()
        baseline = round((y + mark.at[1]) * SCALE + (ascent - descent) / 2)
        for part, color in mark.parts:
            for path, piece in runs(part):
                self._pen.text((at, baseline), piece, fill=color, font=font(path, mark.size), anchor="ls")
                at += font(path, mark.size).getlength(piece)


_KINDS: dict[type, Any] = {
    Placed: _Raster.placed,
    Box: _Raster.box,
    Ring: _Raster.ring,
    Pattern: _Raster.pattern,
    Line: _Raster.line,
    Area: _Raster.area,
    Dot: _Raster.dot,
    Ramp: _Raster.ramp,
    Photo: _Raster.photo,
    Text: _Raster.text,
}


def _corners(at: tuple[float, float, float, float], x: float, y: float) -> tuple[int, int, int, int]:
    left, top, width, height = at
    x0, y0, x1, y1 = (round(v * SCALE) for v in (x + left, y + top, x + left + width, y + top + height))
    return x0, y0, x1, y1


def _mask(strength: np.ndarray) -> Image.Image:
    return Image.fromarray(np.round(255 * strength).astype(np.uint8))

"""A drawing as SVG: shapes that stay sharp, text that stays text, and the pictures in it as PNG."""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from mllm_widgets import labels
from mllm_widgets.errors import WidgetError

from .fonts import SCALE, ours, text_width
from .pen import FAINT, UNTRACED, Area, Box, Color, Dot, Drawing, Line, Pattern, Photo, Placed, Ramp, Ring, Text
from .raster import HATCH_OPACITY, STEP

MOST_CELLS = 20_000  # a viewer draws more than that with pain
FONT = "system-ui, sans-serif"
BASELINE = 0.364  # of a text's size, below the middle of its capitals
TIGHT = 0.8  # of its room; a text that needs more of it is fitted, for the viewer's font may be wider than ours
STOPS = 33  # of a ramp of colours
_ID = "\x00"  # stands for the prefix of names until that is known; escaped text cannot have it
_ANCHORS = {"l": "start", "m": "middle", "r": "end"}


def svg_of(drawing: Drawing, metadata: str = "") -> str:
    """An SVG document on white.

    Parameters
    ----------
    metadata: text to keep with it, unseen.

    Raises
    ------
    WidgetError: for more than `MOST_CELLS` cells.
    """
    if drawing.cells > MOST_CELLS:
        raise WidgetError(
            f"this picture has {drawing.cells:,} cells, and an SVG of more than {MOST_CELLS:,} is too much for most programs that "
            "open one. Take to_png() instead, which has no such limit."
        )
    named = [(tag, text) for tag, text in (("title", drawing.title), ("desc", drawing.description)) if text]
    marks = _Svg()
    marks.draw(drawing)
    size = f'width="{drawing.width}" height="{drawing.height}"'
    names = " ".join(f"{_ID}{tag}" for tag, _ in named)
    text = "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" xml:space="preserve" '
            f'{size} viewBox="0 0 {drawing.width} {drawing.height}" font-family="{FONT}" role="img"'
            + (f' aria-labelledby="{names}">' if names else ">"),
            *(f'<{tag} id="{_ID}{tag}">{_text(said)}</{tag}>' for tag, said in named),
            *([f"<metadata>{_text(metadata)}</metadata>"] if metadata else []),
            *marks.definitions,
            f'<rect {size} fill="white"/>',
            *marks.lines,
            "</svg>\n",
        ]
    )
    # names of one's own: several of these may stand in one page
    return text.replace(_ID, f"mw{zlib.crc32(text.encode()):08x}-")


class _Svg:
    """Writes marks as elements; each kind of mark has a method of its name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.definitions: list[str] = []
        self._patterns: set[str] = set()

    def draw(self, drawing: Drawing) -> None:
        for mark in drawing.marks:
            _KINDS[type(mark)](self, mark)

    def placed(self, mark: Placed) -> None:
        self.lines.append(f'<g transform="translate({_n(mark.at[0])} {_n(mark.at[1])})">')
        self.draw(mark.drawing)
        self.lines.append("</g>")

    def box(self, mark: Box) -> None:
        opacity = f' fill-opacity="{_n(mark.opacity, 3)}"' if mark.opacity < 1 else ""
        self.lines.append(f'<rect {_box(mark.at)} fill="{_color(mark.color)}"{opacity}/>')

    def ring(self, mark: Ring) -> None:
        x, y, width, height = mark.at
        half = mark.line / 2
        at = (x + half, y + half, width - mark.line, height - mark.line)
        self.lines.append(
            f'<rect {_box(at)} fill="none" stroke="{_color(mark.color)}" stroke-width="{_n(mark.line)}"/>'
        )

    def pattern(self, mark: Pattern) -> None:
        if mark.kind not in self._patterns:
            self._patterns.add(mark.kind)
            self.definitions.append(_pattern(mark))
        opacity = f' opacity="{_n(mark.opacity, 3)}"' if mark.opacity < 1 else ""
        self.lines.append(f'<rect {_box(mark.at)} fill="url(#{_ID}{mark.kind})"{opacity}/>')

    def line(self, mark: Line) -> None:
        self.lines.append(
            f'<polyline points="{_points(mark.points)}" fill="none" stroke="{_color(mark.color)}" stroke-width="{_n(mark.width)}" '
            'stroke-linejoin="round"/>'
        )

    def area(self, mark: Area) -> None:
        self.lines.append(f'<polygon points="{_points(mark.points)}" fill="{_color(mark.color)}"/>')

    def dot(self, mark: Dot) -> None:
        (x, y), r = mark.center, mark.radius
        self.lines.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}" fill="{_color(mark.color)}"/>')

    def ramp(self, mark: Ramp) -> None:
        name = f"{_ID}ramp{sum('linearGradient' in line for line in self.definitions)}"
        places = np.rint(np.linspace(0, len(mark.colors) - 1, STOPS)).astype(int)
        stops = "".join(
            f'<stop offset="{_n(i / (STOPS - 1), 4)}" stop-color="{_color(tuple(int(c) for c in mark.colors[at]))}"/>'
            for i, at in enumerate(places)
        )
        self.definitions.append(f'<defs><linearGradient id="{name}">{stops}</linearGradient></defs>')
        self.lines.append(f'<rect {_box(mark.at)} fill="url(#{name})"/>')

    def photo(self, mark: Photo) -> None:
        x, y = mark.at
        at = (x, y, mark.image.width / SCALE, mark.image.height / SCALE)
        self.lines.append(
            f'<image {_box(at)} preserveAspectRatio="none" xlink:href="data:image/png;base64,{_png(mark.image)}"/>'
        )

    def text(self, mark: Text) -> None:
        x, y = mark.at
        anchor = "" if mark.anchor[0] == "l" else f' text-anchor="{_ANCHORS[mark.anchor[0]]}"'
        wide = text_width(mark.text, mark.size)
        # how wide the viewer's font draws what ours lacks, nobody knows
        fitted = wide > TIGHT * mark.room and ours(mark.text)
        fit = f' textLength="{round(wide)}" lengthAdjust="spacingAndGlyphs"' if fitted else ""
        start = f'<text x="{_n(x)}" y="{_n(y + BASELINE * mark.size)}" font-size="{mark.size}"{anchor}{fit}'
        if len(mark.parts) == 1:
            ((text, color),) = mark.parts
            self.lines.append(f'{start} fill="{_color(color)}">{_text(text)}</text>')
            return
        parts = "".join(f'<tspan fill="{_color(color)}">{_text(text)}</tspan>' for text, color in mark.parts)
        self.lines.append(f"{start}>{parts}</text>")


_KINDS: dict[type, Any] = {
    Placed: _Svg.placed,
    Box: _Svg.box,
    Ring: _Svg.ring,
    Pattern: _Svg.pattern,
    Line: _Svg.line,
    Area: _Svg.area,
    Dot: _Svg.dot,
    Ramp: _Svg.ramp,
    Photo: _Svg.photo,
    Text: _Svg.text,
}


def _pattern(mark: Pattern) -> str:
    """Lines one pixel wide on a square that repeats, each through two of its corners; the ends of their neighbours fill the corners."""
    side, half = STEP / SCALE, 0.5 / SCALE
    if mark.kind == "stripes":
        ground, color, opacity = mark.ground, UNTRACED[1], 1.0
        path = f"M-1 {_n(1 + half)}l2 -2M0 {_n(side + half)}l{_n(side)} {_n(-side)}M{_n(side - 1)} {_n(side + 1 + half)}l2 -2"
    else:
        ground, color, opacity = None, FAINT, HATCH_OPACITY
        path = f"M-1 {_n(side - 1 + half)}l2 2M0 {_n(half)}l{_n(side)} {_n(side)}M{_n(side - 1)} {_n(half - 1)}l2 2"
    under = "" if ground is None else f'<rect width="{_n(side)}" height="{_n(side)}" fill="{_color(ground)}"/>'
    return (
        f'<defs><pattern id="{_ID}{mark.kind}" width="{_n(side)}" height="{_n(side)}" patternUnits="userSpaceOnUse">{under}'
        f'<path d="{path}" stroke="{_color(color)}" stroke-width="0.5" stroke-opacity="{_n(opacity)}"/></pattern></defs>'
    )


def _n(value: float, digits: int = 2) -> str:
    """A number as short as it can be."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}".rstrip("0").rstrip(".")


def _box(at: tuple[float, float, float, float]) -> str:
    x, y, width, height = at
    return f'x="{_n(x)}" y="{_n(y)}" width="{_n(max(0.0, width))}" height="{_n(max(0.0, height))}"'


def _points(points: tuple[tuple[float, float], ...]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _color(color: Color) -> str:
    return color if isinstance(color, str) else "#{:02x}{:02x}{:02x}".format(*color)


def _text(text: str) -> str:
    """Text that no reader takes for markup, without the characters that XML forbids."""
    return escape(labels.one_line(text))


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()

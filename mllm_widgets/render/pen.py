"""What the pictures share: units, inks, and a drawing that remembers what was drawn on it, for every format it is kept in.

A picture is laid out once, in units.  `raster` makes pixels of it and `svg` a text, so that the two cannot disagree.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from mllm_widgets import labels

from .fonts import SCALE, cut, text_width

__all__ = [
    "ACCENT",
    "EDITED",
    "FAINT",
    "GAP",
    "INK",
    "PADDING",
    "RULE",
    "SCALE",
    "SMALL",
    "TEXT",
    "TITLE",
    "UNTRACED",
    "WARN",
]
__all__ += ["Drawing", "cut", "text_width"]

PADDING, GAP = 14, 8
TEXT, SMALL, TITLE = 12, 11, 14
INK, FAINT, ACCENT, RULE, WARN = "#1f2328", "#656d76", "#0a58ca", "#d0d7de", "#8a5a00"
EDITED = "#8a3ab9"  # the model
UNTRACED = ("#ececea", "#dcdcd9")  # ground and stripes

Point = tuple[float, float]
Color = str | tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    at: tuple[float, float, float, float]  # x, y, width, height
    color: Color
    opacity: float = 1.0


@dataclass(frozen=True)
class Ring:
    """A rectangle's outline, `line` wide and inside of it."""

    at: tuple[float, float, float, float]
    color: Color
    line: float


@dataclass(frozen=True)
class Pattern:
    """A rectangle of thin lines: "stripes" up to the right, or a "hatch" down to the right; they run on from one rectangle to the next."""

    at: tuple[float, float, float, float]
    kind: str
    ground: Color | None = None
    opacity: float = 1.0


@dataclass(frozen=True)
class Line:
    """A line through points."""

    points: tuple[Point, ...]
    color: Color
    width: float


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: tuple[Point, ...]
    color: Color


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    center: Point
    radius: float
    color: Color


@dataclass(frozen=True)
class Ramp:
    """A rectangle that runs through colours from left to right."""

    at: tuple[float, float, float, float]
    colors: np.ndarray  # (n, 3) uint8


@dataclass(frozen=True)
class Photo:
    """A picture, in two pixels a unit."""

    at: Point
    image: Image.Image


@dataclass(frozen=True)
class Text:
    """One line of text in one or more colours; `anchor` as in Pillow, the middle or an end of its height's middle."""

    at: Point
    parts: tuple[tuple[str, Color], ...]
    size: int
    anchor: str
    room: float

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(part for part, _ in self.parts)


@dataclass(frozen=True)
class Placed:
    """Another drawing."""

    at: Point
    drawing: Drawing


@dataclass
class Drawing:
    """A white sheet of `width` x `height` units, and what was drawn on it, in order.

    title, description: what it shows, for who cannot see it. cells: how many values it shows as cells or patches.
    """

    width: int
    height: int
    title: str = ""
    description: str = ""
    cells: int = 0
    marks: list[Any] = field(default_factory=list, repr=False)

    def image(self) -> Image.Image:
        """As an RGB picture, at two pixels a unit."""
        from .raster import image_of

        return image_of(self)

    def svg(self, metadata: str = "") -> str:
        """As SVG.

        Parameters
        ----------
        metadata: text to keep with it, unseen.

        Raises
        ------
        WidgetError: for more cells than an SVG can hold with grace.
        """
        from .svg import svg_of

        return svg_of(self, metadata)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """In a notebook: the picture, at two pixels for each one on the page."""
        buffer = io.BytesIO()
        # few inks: a palette holds them, in a third of the bytes
        self.image().quantize(256, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
        words = f"{self.title}. {self.description}".strip(". ") or "a drawing"
        size = {"image/png": {"width": self.width, "alt": words}}
        return {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": words}, size

    def box(self, x: float, y: float, width: float, height: float, color: Color, opacity: float = 1.0) -> None:
        """A filled rectangle."""
        self.marks.append(Box((x, y, width, height), color, opacity))

    def ring(self, x: float, y: float, width: float, height: float, color: Color, line: float = 0.5) -> None:
        """A rectangle's outline, inside of it."""
        self.marks.append(Ring((x, y, width, height), color, line))

    def striped(self, x: float, y: float, width: float, height: float, opacity: float = 1.0) -> None:
        """A rectangle of stripes: there is nothing here."""
        self.marks.append(Pattern((x, y, width, height), "stripes", UNTRACED[0], opacity))

    def hatched(self, x: float, y: float, width: float, height: float) -> None:
        """A rectangle of lines the other way, with what lies under them in sight: something too small to be drawn."""
        self.marks.append(Pattern((x, y, width, height), "hatch"))

    def line(self, points: Sequence[Point], color: Color, width: float = 1.0) -> None:
        """A line through points."""
        if len(points) > 1:
            self.marks.append(Line(tuple(points), color, width))

    def area(self, points: Sequence[Point], color: Color) -> None:
        """A filled polygon."""
        self.marks.append(Area(tuple(points), color))

    def dot(self, x: float, y: float, radius: float, color: Color) -> None:
        """A filled circle."""
        self.marks.append(Dot((x, y), radius, color))

    def ramp(self, x: float, y: float, width: float, height: float, colors: np.ndarray) -> None:
        """A rectangle that runs through colours (n, 3) from left to right."""
        self.marks.append(Ramp((x, y, width, height), np.asarray(colors, dtype=np.uint8)))

    def photo(self, x: float, y: float, image: Image.Image) -> None:
        """A picture, two of its pixels a unit."""
        self.marks.append(Photo((x, y), image.convert("RGB")))

    def text(
        self, x: float, y: float, text: str, size: int, color: Color, anchor: str = "lm", room: float = 1e9
    ) -> None:
        """One line of text, cut where it leaves its room."""
        self.words(x, y, [(text, color)], size, room, anchor)

    def words(
        self, x: float, y: float, parts: Sequence[tuple[str, Color]], size: int, room: float = 1e9, anchor: str = "lm"
    ) -> None:
        """One line of text in several colours, cut where it leaves its room."""
        plain = [(labels.one_line(part), color) for part, color in parts]
        whole = "".join(part for part, _ in plain)
        shown = cut(whole, size, room)
        rest = len(shown)
        kept: list[tuple[str, Color]] = []
        if shown != whole:  # the ellipsis has the colour of what it stands for
            rest -= 1
        for part, color in plain:
            if rest > 0 and part:
                kept.append((part[:rest], color))
                rest -= len(part)
        if shown != whole:
            color = kept[-1][1] if kept else plain[0][1]
            kept = [*kept[:-1], ((kept[-1][0] if kept else "") + "…", color)]
        if kept:
            self.marks.append(Text((x, y), tuple(kept), size, anchor, room))

    def note(self, x: float, y: float, text: str, size: int, room: float) -> None:
        """A line of text centred at a point, on a white ground of its own."""
        half = text_width(cut(labels.one_line(text), size, room), size) / 2 + GAP
        self.box(x - half, y - size, 2 * half, 2 * size, "white")
        self.text(x, y, text, size, FAINT, "mm", room=min(room, 2 * half - GAP))

    def put(self, drawing: Drawing, x: float, y: float) -> None:
        """Another drawing, its upper left corner there."""
        self.cells += drawing.cells
        self.marks.append(Placed((x, y), drawing))


def joined(drawings: Sequence[Drawing]) -> Drawing:
    """Drawings side by side."""
    sheet = Drawing(sum(one.width for one in drawings), max(one.height for one in drawings))
    sheet.title = "; ".join(filter(None, (one.title for one in drawings)))
    sheet.description = " ".join(filter(None, (one.description for one in drawings)))
    x = 0
    for one in drawings:
        sheet.put(one, x, 0)
        x += one.width
    return sheet


def stacked(drawings: Sequence[Drawing]) -> Drawing:
    """Drawings one below the other."""
    sheet = Drawing(max(one.width for one in drawings), sum(one.height for one in drawings))
    sheet.title = "; ".join(filter(None, (one.title for one in drawings)))
    sheet.description = " ".join(filter(None, (one.description for one in drawings)))
    y = 0
    for one in drawings:
        sheet.put(one, 0, y)
        y += one.height
    return sheet

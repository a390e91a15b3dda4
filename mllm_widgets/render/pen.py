"""What the pictures share: units, inks, and a pen that draws in them."""

from __future__ import annotations

import bisect
import functools

from PIL import ImageDraw, ImageFont

SCALE = 2  # pixels for each unit below, so that the picture is sharp on dense screens
PADDING, GAP = 14, 8
TEXT, SMALL, TITLE = 12, 11, 14
INK, FAINT, ACCENT = "#1f2328", "#656d76", "#0a58ca"
UNTRACED = ("#ececea", "#dcdcd9")  # ground and stripes


class Pen:
    """Draws in units of `SCALE` pixels."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self.draw = draw

    def box(self, x: float, y: float, width: float, height: float, color: str | tuple[int, ...]) -> None:
        """A filled rectangle."""
        at = [round(v * SCALE) for v in (x, y, x + width, y + height)]
        self.draw.rectangle((at[0], at[1], max(at[0], at[2] - 1), max(at[1], at[3] - 1)), fill=color)

    def striped(self, x: float, y: float, width: float, height: float) -> None:
        """A rectangle of stripes: there is nothing here."""
        self.box(x, y, width, height, UNTRACED[0])
        box = [round(v * SCALE) for v in (x, y, x + width, y + height)]
        for start in range(box[0] - (box[3] - box[1]), box[2], 5 * SCALE):
            # a line from the bottom left to the top right, clipped to the cell
            low = max(start, box[0])
            high = min(start + box[3] - 1 - box[1], box[2] - 1)
            if low < high:
                self.draw.line((low, box[3] - 1 - (low - start), high, box[3] - 1 - (high - start)), fill=UNTRACED[1])

    def text(self, x: float, y: float, text: str, size: int, color: str, anchor: str = "lm", room: float = 1e9) -> None:
        """One line of text, cut where it leaves its room; `anchor` as in Pillow."""
        text = cut(text, size, room)
        self.draw.text((x * SCALE, y * SCALE), text, fill=color, font=font(size), anchor=anchor)

    def note(self, x: float, y: float, text: str, size: int, room: float) -> None:
        """A line of text centred at a point, on a white ground of its own."""
        text = cut(text, size, room)
        half = text_width(text, size) / 2 + GAP
        self.box(x - half, y - size, 2 * half, 2 * size, "white")
        self.text(x, y, text, size, FAINT, "mm")


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font of `size` units."""
    # Pillow's own, so that the picture is the same on every machine
    return ImageFont.load_default(size * SCALE)


def text_width(text: str, size: int) -> float:
    """How wide a text is, in units."""
    return font(size).getlength(text) / SCALE


def cut(text: str, size: int, room: float) -> str:
    """`text` on one line, with an ellipsis where it does not fit."""
    text = " ".join(text.splitlines())
    if text_width(text, size) <= room:
        return text
    fitting = bisect.bisect_right(
        range(1, len(text)), room, key=lambda end: text_width(f"{text[:end].rstrip()}…", size)
    )
    return f"{text[:fitting].rstrip()}…"

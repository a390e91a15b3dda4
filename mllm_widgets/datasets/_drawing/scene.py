"""A small drawing board: unit coordinates, jittered placement, sky and ground.

Coordinates of a landmark run over a box from (0, 0) top left to (1, 1) bottom right; the ground line is y = 1.  The box is placed and
scaled at random in the picture, drawn at twice the size and reduced, so that edges are smooth.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
SKIES = (
    ((96, 160, 226), (205, 228, 246)),
    ((60, 120, 200), (170, 210, 240)),
    ((244, 150, 96), (252, 214, 150)),
    ((150, 160, 172), (208, 213, 218)),
    ((46, 52, 98), (150, 120, 160)),
    ((120, 190, 220), (236, 240, 226)),
)
GROUNDS = ((104, 156, 84), (126, 170, 96), (212, 188, 138), (150, 150, 148), (186, 174, 152), (82, 130, 92))
WATERS = ((62, 118, 168), (78, 140, 170), (54, 98, 140))


class Board:
    """What the drawing functions draw on; all lengths are fractions of the landmark's box."""

    def __init__(self, rng: np.random.Generator, size: int):
        self.rng, self.side = rng, 2 * size
        self.image = Image.new("RGB", (self.side, self.side))
        self.pen = ImageDraw.Draw(self.image)
        scale = rng.uniform(0.66, 0.86)
        self.box = scale * self.side
        self.left = (self.side - self.box) / 2 + rng.uniform(-0.09, 0.09) * self.side
        self.horizon = self.side * rng.uniform(0.82, 0.9)
        self.top = self.horizon - self.box
        self.hue, self.value = rng.uniform(-0.02, 0.02), rng.uniform(0.88, 1.12)

    def tint(self, color: Sequence[int]) -> Color:
        """`color` under this picture's light."""
        h, s, v = colorsys.rgb_to_hsv(*(c / 255 for c in color))
        r, g, b = colorsys.hsv_to_rgb((h + self.hue) % 1, s, min(1.0, v * self.value))
        return round(r * 255), round(g * 255), round(b * 255)

    def backdrop(self, water: bool | None = None) -> None:
        """Sky gradient, sometimes sun and clouds, and the ground."""
        high, low = (np.array(c, dtype=float) for c in SKIES[int(self.rng.integers(len(SKIES)))])
        ramp = np.linspace(0, 1, self.side)[:, None] ** 0.9
        rows = np.clip(high + (low - high) * ramp + self.rng.normal(0, 4), 0, 255).astype(np.uint8)
        self.image.paste(Image.fromarray(rows[:, None, :]).resize((self.side, self.side)))
        if self.rng.random() < 0.4:
            x, y, r = self.rng.uniform(0, 1), self.rng.uniform(0.05, 0.3), self.rng.uniform(0.03, 0.06)
            self.pen.ellipse(self._square(x, y, r), fill=(255, 238, 190))
        for _ in range(int(self.rng.integers(0, 4))):
            x, y = self.rng.uniform(0, 1), self.rng.uniform(0.04, 0.4)
            for _ in range(4):
                dx, dy, r = (
                    self.rng.uniform(-0.08, 0.08),
                    self.rng.uniform(-0.015, 0.015),
                    self.rng.uniform(0.02, 0.05),
                )
                self.pen.ellipse(self._square(x + dx, y + dy, r, 0.55), fill=(244, 246, 248))
        palette = WATERS if water else GROUNDS
        color = palette[int(self.rng.integers(len(palette)))]
        self.pen.rectangle((0, self.horizon, self.side, self.side), fill=color)
        lighter = tuple(min(255, c + 14) for c in color)
        for _ in range(5):
            y = self.rng.uniform(self.horizon, self.side)
            x = self.rng.uniform(-0.2, 0.8) * self.side
            self.pen.rectangle((x, y, x + self.rng.uniform(0.1, 0.5) * self.side, y + self.side * 0.006), fill=lighter)

    def trees(self) -> None:
        """Now and then some trees beside the landmark."""
        if self.rng.random() < 0.45:
            for _ in range(int(self.rng.integers(1, 4))):
                x = self.rng.choice([self.rng.uniform(0, 0.14), self.rng.uniform(0.86, 1)])
                r, y = self.rng.uniform(0.02, 0.045), self.horizon / self.side
                self.pen.rectangle(
                    (x * self.side - 3, (y - r) * self.side, x * self.side + 3, y * self.side),
                    fill=(92, 68, 48),
                )
                self.pen.ellipse(self._square(x, y - 1.6 * r, r, 1.2), fill=(52, 108, 62))

    def _square(self, x: float, y: float, r: float, flat: float = 1.0) -> tuple[float, float, float, float]:
        s = self.side
        return ((x - r) * s, (y - r * flat) * s, (x + r) * s, (y + r * flat) * s)

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.left + x * self.box, self.top + y * self.box

    def rect(self, x0: float, y0: float, x1: float, y1: float, color: Sequence[int]) -> None:
        self.pen.rectangle((*self.at(x0, y0), *self.at(x1, y1)), fill=self.tint(color))

    def poly(self, points: Sequence[tuple[float, float]], color: Sequence[int]) -> None:
        self.pen.polygon([self.at(*p) for p in points], fill=self.tint(color))

    def oval(self, x: float, y: float, rx: float, ry: float, color: Sequence[int]) -> None:
        self.pen.ellipse((*self.at(x - rx, y - ry), *self.at(x + rx, y + ry)), fill=self.tint(color))

    def pie(self, x: float, y: float, rx: float, ry: float, start: float, end: float, color: Sequence[int]) -> None:
        self.pen.pieslice((*self.at(x - rx, y - ry), *self.at(x + rx, y + ry)), start, end, fill=self.tint(color))

    def line(self, points: Sequence[tuple[float, float]], width: float, color: Sequence[int]) -> None:
        thick = max(1, round(width * self.box))
        self.pen.line([self.at(*p) for p in points], fill=self.tint(color), width=thick, joint="curve")

    def mirror_poly(self, points: Sequence[tuple[float, float]], color: Sequence[int]) -> None:
        """A half outline (x <= 0.5, from top to bottom) closed by its mirror image."""
        self.poly([*points, *[(1 - x, y) for x, y in reversed(points)]], color)

    def arch(self, x: float, bottom: float, width: float, height: float, color: Sequence[int]) -> None:
        """A round-headed opening centred at `x`."""
        r = width / 2
        self.rect(x - r, bottom - height + r, x + r, bottom, color)
        self.pie(x, bottom - height + r, r, r, 180, 360, color)

    def onion(self, x: float, bottom: float, r: float, color: Sequence[int], tip: float = 0.9) -> None:
        """An onion dome standing on `bottom`."""
        self.oval(x, bottom - 0.85 * r, r, r * 0.95, color)
        self.poly(
            [
                (x - 0.72 * r, bottom - 1.4 * r),
                (x, bottom - (1.9 + tip) * r),
                (x + 0.72 * r, bottom - 1.4 * r),
            ],
            color,
        )

    def finished(self) -> Image.Image:
        return self.image.resize((self.side // 2, self.side // 2), Image.Resampling.LANCZOS)

"""Where visual tokens lie on the picture the user gave.

Every family cuts the picture in its own way: resized, cropped or padded, tiled, patches merged.  A `VisualGeometry` says it in one form: grids of
visual tokens, each lying over a rectangle of the picture.  Rectangles are in the picture's own pixels and may reach beyond it (padding)
or cover only part of it (a centre crop).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Grid:
    """Visual tokens that lie side by side.

    tokens: (rows, columns) indices into the visual tokens, in the order in which they stand in the sequence.
    box: (left, top, right, bottom) in pixels of the picture.
    kind: "picture", "tile" or "thumbnail".
    columns, rows: (columns + 1,) and (rows + 1,) where the tokens' edges lie in pixels of the picture; None where `box` is cut evenly.
        Tiles whose size is no multiple of the patch size have a strip at their ends that no patch sees; the last token before it reaches over it.
    """

    tokens: np.ndarray = field(repr=False)
    box: tuple[float, float, float, float]
    kind: str = "picture"
    columns: np.ndarray | None = field(default=None, repr=False)
    rows: np.ndarray | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return (self.tokens.shape[0], self.tokens.shape[1])

    @property
    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """(x (columns + 1,), y (rows + 1,)) of the lines between tokens, in pixels of the picture."""
        rows, columns = self.shape
        left, top, right, bottom = self.box
        x = np.linspace(left, right, columns + 1) if self.columns is None else self.columns
        y = np.linspace(top, bottom, rows + 1) if self.rows is None else self.rows
        return x, y


@dataclass(frozen=True)
class VisualGeometry:
    """All visual tokens of one picture.

    count: number of visual tokens, those that are no patch (row ends, separators) included.
    size: (width, height) of the picture in pixels.
    """

    grids: tuple[Grid, ...]
    count: int
    size: tuple[int, int]

    @property
    def boxes(self) -> np.ndarray:
        """(count, 4) left, top, right, bottom of every visual token in pixels; NaN for those that are no patch."""
        boxes = np.full((self.count, 4), np.nan)
        for grid in self.grids:
            x, y = grid.edges
            corners = np.stack(
                np.broadcast_arrays(x[None, :-1], y[:-1, None], x[None, 1:], y[1:, None]), axis=-1
            )  # (rows, columns, 4)
            boxes[grid.tokens] = corners
        return boxes

    def tokens_at(self, x: float, y: float) -> list[int]:
        """Indices of the visual tokens that lie over a point of the picture (more than one where a thumbnail lies over tiles)."""
        left, top, right, bottom = self.boxes.T
        return [int(i) for i in np.flatnonzero((left <= x) & (x < right) & (top <= y) & (y < bottom))]

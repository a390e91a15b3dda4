"""LLaVA-NeXT and LLaVA-OneVision: the whole picture small, then all of it again in tiles.

The tiles are laid side by side to one grid, rows and columns that saw nothing but padding are dropped, and a newline token ends every row.  So the
visual tokens are a thumbnail, and a grid whose rows run across the tiles.  OneVision shrinks that grid where it has too many tokens.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import ModelError
from mllm_widgets.vlm.frame import Frame, thumbnail, tiles
from mllm_widgets.vlm.geometry import Grid, VisualGeometry

from .base import register_family
from .llava import AnyDecoder

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclasses.dataclass(frozen=True)
class LlavaNext(AnyDecoder):
    """LLaVA-NeXT."""

    def shrunk(self, model: Any, rows: int, columns: int, side: int) -> tuple[int, int]:
        """(rows, columns) that are left of the grid; `side` is how many patches a tile has in a row."""
        return rows, columns

    def geometry(
        self, processor: Any, model: Any, inputs: dict[str, torch.Tensor], image: Image.Image
    ) -> VisualGeometry:
        """A thumbnail, and the picture in tiles; newline tokens lie nowhere.

        Raises ModelError where the processor's counts are not the model's.
        """
        images, vision = processor.image_processor, model.config.vision_config
        patch, side = vision.patch_size, vision.image_size // vision.patch_size
        whole = thumbnail(images, Frame(*image.size))
        cut = tiles(images, Frame(*image.size))
        # a picture's columns lie under each other in all rows of tiles, its rows beside each other in all columns
        x = _edges([(frame.left, frame.x * patch) for frame in cut[0]], side)
        y = _edges([(row[0].top, row[0].y * patch) for row in cut], side)
        (left, right), (top, bottom) = _kept(len(x) - 1, len(y) - 1, image.size)
        x, y = x[left : right + 1], y[top : bottom + 1]
        rows, columns = self.shrunk(model, len(y) - 1, len(x) - 1, side)
        x, y = _resampled(x, columns), _resampled(y, rows)
        base = side * side
        tokens = base + np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)  # a newline ends each row
        count = int((inputs["input_ids"] == self.image_token_id(model)).sum())
        if count != base + rows * (columns + 1):
            raise ModelError(
                f"{count} visual tokens stand in the prompt for a thumbnail of {base} and a grid of {rows} x {columns} with row ends; expected "
                f"{base + rows * (columns + 1)}. The processor's image_grid_pinpoints or sizes may not be the model's."
            )
        small = Grid(np.arange(base).reshape(side, side), whole.box(0, 0, side * patch, side * patch), "thumbnail")
        large = Grid(tokens, (float(x[0]), float(y[0]), float(x[-1]), float(y[-1])), "picture", x, y)
        return VisualGeometry((small, large) if tokens.size else (small,), count, image.size)


@dataclasses.dataclass(frozen=True)
class LlavaOnevision(LlavaNext):
    """LLaVA-OneVision."""

    def shrunk(self, model: Any, rows: int, columns: int, side: int) -> tuple[int, int]:
        """No more than so many tiles' worth of tokens (`anyres_max_9`: nine), and a tenth."""
        most = int(model.config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = math.sqrt(rows * columns / (most * side**2))
        return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


def _edges(starts: list[tuple[float, float]], side: int) -> np.ndarray:
    """(tiles * side + 1,) where patches begin along one axis, and where the last ends.

    starts: of each tile, where its first patch begins and how much of the picture a patch spans.
    """
    begins = [start + step * np.arange(side) for start, step in starts]
    last, step = starts[-1]
    return np.append(np.concatenate(begins), last + step * side)


def _kept(columns: int, rows: int, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """((first column, end), (first row, end)) that the model keeps of a grid over the padded picture of a `size` (width, height)."""
    import torch
    from transformers.models.llava_next.modeling_llava_next import unpad_image

    # the same is cut off on both sides; of a very narrow picture nothing is left
    down, across = unpad_image(torch.empty(1, rows, columns), (size[1], size[0]))[0].shape
    left, top = (columns - across) // 2, (rows - down) // 2
    return (left, left + across), (top, top + down)


def _resampled(edges: np.ndarray, count: int) -> np.ndarray:
    """Edges of `count` cells spread evenly over the cells between `edges`."""
    cells = len(edges) - 1
    return edges if cells == count else np.interp(np.linspace(0, cells, count + 1), np.arange(cells + 1), edges)


CHECKED = (
    "random weights: trace = plain hooks, windows 1 and 3, both modules; thumbnail and grid by changing one token's pixels: paddings, row ends, tiles "
    "whose ends no patch sees"
)

LLAVA_NEXT = register_family(
    LlavaNext(
        "LLaVA-NeXT",
        classes=("LlavaNextForConditionalGeneration",),
        checked=f"{CHECKED}; Llama and Mistral decoders",
        limits="no shared prefix where decoder layers have a sliding window",
    )
)
LLAVA_ONEVISION = register_family(
    LlavaOnevision(
        "LLaVA-OneVision",
        classes=("LlavaOnevisionForConditionalGeneration",),
        checked=f"{CHECKED}, grids that are shrunk; Qwen2 decoder",
        limits="pictures, not videos; no shared prefix where decoder layers have a sliding window",
    )
)

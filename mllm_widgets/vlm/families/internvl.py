"""InternVL: the picture stretched over a canvas of square tiles, then once more as a thumbnail; every tile gives a square grid of tokens.

The vision tower's patches are shuffled 2 x 2 into one visual token, row by row.  A picture whose best canvas is one tile has no thumbnail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import ModelError
from mllm_widgets.vlm.geometry import Grid, VisualGeometry

from .base import Family, register_family

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True)
class InternVL(Family):
    """InternVL through its own Hugging Face class (checkpoints whose names end in -hf)."""

    def geometry(
        self, processor: Any, model: Any, inputs: dict[str, torch.Tensor], image: Image.Image
    ) -> VisualGeometry:
        """Tiles in rows over the whole picture, which is stretched to fill them; the thumbnail comes last.

        Raises ModelError if the tiles the processor made are not those its own settings give.
        """
        made = int(inputs["pixel_values"].shape[0])
        columns, rows = _canvas(processor.image_processor, image) if made > 1 else (1, 1)
        tiles = columns * rows
        if made != tiles + (tiles > 1):
            raise ModelError(
                f"the processor cut a picture of {image.size[0]} x {image.size[1]} pixels into {made} tiles, thumbnail included, and its "
                f"settings give {columns} x {rows} and a thumbnail; expected the same. They may have been changed since, or for one call."
            )
        count = int((inputs["input_ids"] == self.image_token_id(model)).sum())
        side = math.isqrt(count // made)
        tokens = np.arange(count).reshape(made, side, side)
        width, height = image.size
        x, y = np.linspace(0, width, columns + 1), np.linspace(0, height, rows + 1)
        grids = []
        for tile in range(tiles):
            row, column = divmod(tile, columns)
            box = (float(x[column]), float(y[row]), float(x[column + 1]), float(y[row + 1]))
            grids.append(Grid(tokens[tile], box, "tile" if tiles > 1 else "picture"))
        if tiles > 1:
            grids.append(Grid(tokens[tiles], (0, 0, width, height), "thumbnail"))
        return VisualGeometry(tuple(grids), count, image.size)


def _canvas(image_processor: Any, image: Image.Image) -> tuple[int, int]:
    """(columns, rows) of the tiles an image processor cuts a picture into."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    tile = image_processor.size["height"], image_processor.size["width"]
    size = image.size[1], image.size[0]
    return get_optimal_tiled_canvas(size, tile, image_processor.min_patches, image_processor.max_patches)


INTERNVL = register_family(
    InternVL(
        "InternVL",
        classes=("InternVLForConditionalGeneration",),
        checked=(
            "random weights, Qwen2 and Qwen3 text: trace = plain hooks, windows 1 and 3, both modules; tiles and thumbnail by changing one "
            "token's pixels; runs leave nothing behind"
        ),
        limits="pictures, not videos",
    )
)

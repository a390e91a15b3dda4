"""Idefics3 and SmolVLM: the picture cut into square tiles, row by row, and once more as a whole; neighbouring patches merged by pixel shuffle.

The processor scales the picture, sides independently, to whole tiles, so each tile lies over an equal part of it.
"""

from __future__ import annotations

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
class IdeficsFamily(Family):
    """Tiles that the image processor counts in rows and columns."""

    def geometry(
        self, processor: Any, model: Any, inputs: dict[str, torch.Tensor], image: Image.Image
    ) -> VisualGeometry:
        """Tiles in reading order, then the whole picture; just the whole picture where it is not split."""
        # only the image processor knows how it split: its own count of tiles rounds in another way for some pictures
        made = processor.image_processor(image, return_row_col_info=True)
        rows, columns = int(made["rows"][0][0]), int(made["cols"][0][0])
        frames, _, height, width = inputs["pixel_values"].shape[1:]
        if frames != rows * columns + 1:
            raise ModelError(
                f"the processor of {self.name} split the picture into {rows} x {columns} tiles, and the inputs have {frames} frames; expected "
                f"{rows * columns + 1}. They may be of another picture."
            )
        merged = model.config.vision_config.patch_size * model.config.scale_factor
        down, across = height // merged, width // merged
        each = np.arange(down * across).reshape(down, across)
        right, bottom = image.size
        grids = [
            Grid(
                each + (row * columns + column) * each.size,
                (
                    right * column / columns,
                    bottom * row / rows,
                    right * (column + 1) / columns,
                    bottom * (row + 1) / rows,
                ),
                "tile",
            )
            for row in range(rows)
            for column in range(columns)
        ]
        kind = "thumbnail" if grids else "picture"
        grids.append(Grid(each + len(grids) * each.size, (0.0, 0.0, float(right), float(bottom)), kind))
        return VisualGeometry(tuple(grids), frames * each.size, image.size)


IDEFICS = register_family(
    IdeficsFamily(
        "Idefics3, SmolVLM",
        classes=("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"),
        decoder="model.text_model",
        checked="tiny random models of both classes with their processors (SmolVLM's without its part for videos): trace against plain hooks, geometry by changed pixels on split and "
        "unsplit, portrait, landscape and square pictures",
        limits="SmolVLM's processor needs the package num2words",
    )
)

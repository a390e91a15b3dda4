"""Qwen-VL: the picture resized to whole patches, each 2 x 2 of them merged into one visual token, and positions in three dimensions.

Text after the picture does not count on from the number of visual tokens, but from the larger side of their grid.  Runs that begin at a
suffix are given its own positions, so nothing has to be counted again; what the model remembers for its own counting, `rope_deltas`, is
put back after every run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.vlm.geometry import Grid, VisualGeometry

from .base import DEEPER, Family, part, register_family

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True)
class QwenVL(Family):
    """What the generations of Qwen-VL have in common."""

    @contextlib.contextmanager
    def undisturbed(self, model: Any) -> Iterator[None]:
        """A run with a picture stores how far its text positions lag; a later run from embeddings alone would count with it."""
        before = model.model.rope_deltas
        try:
            yield
        finally:
            model.model.rope_deltas = before

    def geometry(
        self, processor: Any, model: Any, inputs: dict[str, torch.Tensor], image: Image.Image
    ) -> VisualGeometry:
        """One grid over the whole picture: it is stretched to the size of the grid, never cropped or padded."""
        merged = model.config.vision_config.spatial_merge_size
        _, rows, columns = (int(n) for n in inputs["image_grid_thw"][0])
        rows, columns = rows // merged, columns // merged
        tokens = np.arange(rows * columns).reshape(rows, columns)
        return VisualGeometry((Grid(tokens, (0, 0, *image.size)),), tokens.size, image.size)


@dataclass(frozen=True)
class Qwen3VLFamily(QwenVL):
    """Its decoder adds deeper features of the vision tower to the stream after its first layers, at visual tokens only.

    A run that begins after the picture needs none of them: they are in the shared prefix.
    """

    def context(self, root: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`DEEPER` (1, positions, layers, width): 0 at text tokens; nothing for a question without a picture."""
        given = part(root, self.decoder).inputs[1]
        features = given.get("deepstack_visual_embeds")
        if not features:
            return {}
        visual, embeds = given["visual_pos_masks"], given["inputs_embeds"]
        deeper = embeds.new_zeros(*embeds.shape[:2], len(features), embeds.shape[2])
        for place, values in enumerate(features):  # each (visual tokens, width)
            deeper[:, :, place][visual] = values.to(deeper)
        return {DEEPER: deeper}


CHECKED = "random weights: trace = plain hooks, windows 1 and 3, both modules; grids by changing one token's pixels; runs leave nothing behind"

QWEN2_VL = register_family(
    QwenVL(
        "Qwen2-VL",
        classes=("Qwen2VLForConditionalGeneration",),
        checked=CHECKED,
        limits="pictures, not videos; no shared prefix where layers have a sliding window",
    )
)

QWEN2_5_VL = register_family(
    QwenVL(
        "Qwen2.5-VL",
        classes=("Qwen2_5_VLForConditionalGeneration",),
        checked=CHECKED,
        limits="pictures, not videos; no shared prefix where layers have a sliding window",
    )
)

QWEN3_VL = register_family(
    Qwen3VLFamily(
        "Qwen3-VL",
        classes=("Qwen3VLForConditionalGeneration",),
        checked=CHECKED,
        limits="pictures, not videos; a layer's output at visual tokens is that before deeper features are added; where the picture is corrupted, restored runs are rows of a batch",
    )
)

"""Gemma 3 and PaliGemma: the picture scaled, sides independently, to a square of visual tokens that attend both ways.

Gemma 3: the visual tokens of a picture see each other, the text is causal; most layers see a sliding window.
PaliGemma: every position of a prompt sees all others, so nothing is shared between runs and every token may have an effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.vlm.geometry import Grid, VisualGeometry

from .base import Family, register_family

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True)
class Gemma3Family(Family):
    """Runs that share nothing need to know which tokens are visual, for the mask."""

    def is_causal(self, model: Any) -> bool:
        """The visual tokens apart, unless the text is an encoder's."""
        return not model.config.get_text_config().use_bidirectional_attention

    def first_reached(self, model: Any, position: int, visual: np.ndarray) -> int:
        """All of a picture, from any of its tokens."""
        first = super().first_reached(model, position, visual)
        while first > 0 and visual[first] and visual[first - 1]:
            first -= 1
        return first

    def context(self, root: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`token_type_ids` (1, positions), of all positions whatever is run of them: 1 at visual tokens."""
        return {"token_type_ids": inputs["token_type_ids"]}

    def geometry(
        self, processor: Any, model: Any, inputs: dict[str, torch.Tensor], image: Image.Image
    ) -> VisualGeometry:
        """The whole picture, then its crops side by side (or one above the other) where pan-and-scan made some."""
        crops = len(inputs["pixel_values"]) - 1
        width, height = image.size
        boxes = [(0, 0, width, height)]
        if crops:  # each of the same whole number of pixels, but for the last, which the picture's edge cuts off
            across, down = (crops, 1) if width >= height else (1, crops)
            w, h = math.ceil(width / across), math.ceil(height / down)
            boxes += [
                (x, y, min(x + w, width), min(y + h, height))
                for y in range(0, h * down, h)
                for x in range(0, w * across, w)
            ]
        vision = model.config.vision_config
        side = math.isqrt(model.config.mm_tokens_per_image)
        pooled = vision.image_size // vision.patch_size // side * vision.patch_size
        kinds = ["thumbnail" if crops else "picture", *["tile"] * crops]
        grids = tuple(
            square(side, side * pooled / vision.image_size, box, kind, place * side**2)
            for place, (box, kind) in enumerate(zip(boxes, kinds, strict=True))
        )
        return VisualGeometry(grids, len(grids) * side**2, image.size)


@dataclass(frozen=True)
class PaliGemmaFamily(Family):
    """Nothing is causal in a prompt."""

    def is_causal(self, model: Any) -> bool:
        """No: the mask of the prompt is full, whatever the decoder is."""
        return False

    def written(self, processor: Any, prompt: str) -> str:
        """The first token after the last picture, and a line end after the prompt."""
        end = prompt.rfind(processor.image_token) + len(processor.image_token)
        return prompt[:end] + processor.tokenizer.bos_token + prompt[end:] + "\n"

    def answered(self, inputs: dict[str, torch.Tensor], ids: list[int]) -> dict[str, torch.Tensor]:
        """As for any family, but the prompt does not see the answer: its tokens are of another type."""
        made = super().answered(inputs, ids)
        made["token_type_ids"][:, inputs["input_ids"].shape[1] :] = 1
        return made

    def context(self, root: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`token_type_ids` (1, positions): 0 for a prompt, which makes its mask full."""
        return {"token_type_ids": inputs["token_type_ids"]}

    def geometry(
        self, processor: Any, model: Any, inputs: dict[str, torch.Tensor], image: Image.Image
    ) -> VisualGeometry:
        """One grid over the whole picture."""
        vision = model.config.vision_config
        side = vision.image_size // vision.patch_size
        box = (0, 0, *image.size)
        return VisualGeometry((square(side, side * vision.patch_size / vision.image_size, box),), side**2, image.size)


def square(
    side: int, part: float, box: tuple[float, float, float, float], kind: str = "picture", first: int = 0
) -> Grid:
    """A grid of `side` x `side` tokens from `first` on, over the upper left `part` of each side of a box (patches that do not fit are cut off)."""
    left, top, right, bottom = map(float, box)
    covered = (left, top, left + (right - left) * part, top + (bottom - top) * part)
    return Grid(first + np.arange(side**2).reshape(side, side), covered, kind)


GEMMA3 = register_family(
    Gemma3Family(
        "Gemma 3",
        classes=("Gemma3ForConditionalGeneration",),
        checked="tiny random models with the processor, sliding and full layers, with and without pan-and-scan crops: trace against plain hooks, "
        "geometry by changed pixels",
        limits="no shared prefix where layers have a sliding window; a sub-block's output is normalised before it is added to the residual stream",
    )
)
PALIGEMMA = register_family(
    PaliGemmaFamily(
        "PaliGemma",
        classes=("PaliGemmaForConditionalGeneration",),
        checked="tiny random models with the processor, Gemma and Gemma 2 decoders: trace against plain hooks, geometry by changed pixels",
        pictures="required",
        limits="no question without a picture; no shared prefix, for every position sees all others; no chat template: pass template='{image}answer en {question}'; with a "
        "Gemma 2 decoder, a sub-block's output is normalised before it is added to the residual stream",
    )
)

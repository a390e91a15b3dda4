"""LLaVA-1.5: one picture of fixed size, a grid of visual tokens where the image token stood.

Its Hugging Face class takes any text decoder, so the names of projections are read from the loaded model: Llama's, Qwen2's, and those of Phi,
whose layers run attention and MLP side by side.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import ModelError
from mllm_widgets.vlm.frame import processed
from mllm_widgets.vlm.geometry import Grid, VisualGeometry

from .base import Family, part, register_family

if TYPE_CHECKING:
    import torch
    from PIL import Image

# What decoders call the same part, first the most common.
OUTPUTS = ("o_proj", "dense", "out_proj")
DOWNS = ("down_proj", "fc2")


@dataclasses.dataclass(frozen=True)
class AnyDecoder(Family):
    """A family whose Hugging Face class takes any text decoder."""

    def fitted(self, model: Any) -> Family:
        """The names of projections as the first layer has them; those it lacks stay as they are."""
        attention, mlp = (part(model, self.site(model, 0, module)) for module in ("self_attn", "mlp"))
        return dataclasses.replace(
            self,
            output=next((name for name in OUTPUTS if hasattr(attention, name)), self.output),
            down=next((name for name in DOWNS if hasattr(mlp, name)), self.down),
        )


@dataclasses.dataclass(frozen=True)
class Llava(AnyDecoder):
    """LLaVA-1.5 and what is built like it."""

    def geometry(
        self, processor: Any, model: Any, inputs: dict[str, torch.Tensor], image: Image.Image
    ) -> VisualGeometry:
        """One grid over what a centre crop leaves of the picture, or over the picture and its padding.

        Raises ModelError for image processors and vision towers whose steps are not known (Pixtral's among them).
        """
        height, width = inputs["pixel_values"].shape[-2:]
        frame = processed(processor.image_processor, image.size, (width, height))
        side = model.config.vision_config.patch_size
        rows, columns = height // side, width // side
        count = int((inputs["input_ids"] == self.image_token_id(model)).sum())
        first = count - rows * columns  # a class token that is kept stands before the patches
        if first not in (0, 1):
            raise ModelError(
                f"{count} visual tokens stand in the prompt for {rows} x {columns} patches; expected one for each patch, and at most a class "
                "token before them. The processor's vision_feature_select_strategy may not fit the vision tower."
            )
        tokens = first + np.arange(rows * columns).reshape(rows, columns)
        return VisualGeometry((Grid(tokens, frame.box(0, 0, columns * side, rows * side)),), count, image.size)


LLAVA = register_family(
    Llava(
        "LLaVA-1.5",
        classes=("LlavaForConditionalGeneration",),
        checked=(
            "random weights with Llama, Qwen2, Phi and Mistral decoders: trace = plain hooks, windows 1 and 3, both modules; grids by changing one "
            "token's pixels: centre crop, padded square, stretched; with and without a class token"
        ),
        limits=(
            "no shared prefix where decoder layers have a sliding window; grids for image processors that resize, crop and pad as CLIP's, LLaVA's "
            "and SigLIP's do, not Pixtral's"
        ),
    )
)

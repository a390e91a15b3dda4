"""Mllama (Llama 3.2 Vision): the picture is no part of the sequence; some layers look at it through cross-attention.

In those layers the sub-block that a trace calls `self_attn` is the cross-attention, the only attention they have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .base import Family, part, register_family

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class MllamaFamily(Family):
    """Runs are given what the vision tower made in the clean run."""

    def site(self, model: Any, layer: int, module: str) -> str:
        """As for any family, but for the name of a cross-attention."""
        path = super().site(model, layer, module)
        crosses = layer in model.config.get_text_config().cross_attention_layers
        return f"{path.removesuffix(self.attention)}cross_attn" if module == "self_attn" and crosses else path

    def image_token_id(self, model: Any) -> int | None:
        """None: the token that stands for the picture is a token like any other, at which the model begins to look at it."""
        return None

    def picture_positions(self, model: Any, input_ids: np.ndarray, visual: np.ndarray) -> tuple[int, ...]:
        """The token that stands for the picture: no position before it looks at the picture."""
        return tuple(int(position) for position in (input_ids == model.config.image_token_id).nonzero()[0][:1])

    def shares_prefix(self, model: Any) -> bool:
        """No: a cross-attention's stored keys are the picture's, which cannot be cut at a position of the sequence."""
        return False

    def written(self, processor: Any, prompt: str) -> str:
        """The first token after the picture's, where the prompt has none."""
        first, picture = processor.bos_token, processor.image_token
        if first in prompt:
            return prompt
        words = prompt
        while words.startswith(picture):
            words = words.removeprefix(picture)
        return prompt[: len(prompt) - len(words)] + first + words

    def context(self, root: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`cross_attention_states` (1, tiles x patches, width), and which tiles each position sees."""
        states = part(root, "model.multi_modal_projector").output
        return {
            "cross_attention_states": states.reshape(1, -1, states.shape[-1]),
            "cross_attention_mask": inputs["cross_attention_mask"],
        }


MLLAMA = register_family(
    MllamaFamily(
        "Mllama (Llama 3.2 Vision)",
        classes=("MllamaForConditionalGeneration",),
        checked="a tiny random model with its processor, cross-attention layers among the others and gates open: trace against plain hooks",
        pictures="required",
        limits="no question without a picture, which would leave whole layers out; no visual tokens in the sequence, so no geometry; no shared prefix; a cross-attention layer's outputs pass a gate before they are "
        "added to the residual stream",
    )
)

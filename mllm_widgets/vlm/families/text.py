"""Language models that read no picture: the paper's control, which traces the same questions with the subject's name in place of the picture.

Their processor is their tokenizer.  Everything else is as for any family, but for the names of the parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .base import Family, register_family

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True)
class TextFamily(Family):
    """A language model; the defaults are Llama's names."""

    decoder: str = "model"
    pictures: str = "none"

    def read(self, processor: Any, prompt: str, image: Image.Image | None, **options: Any) -> dict[str, torch.Tensor]:
        """The tokens and their mask; token types, which some tokenizers add, would be embedded by GPT-2."""
        inputs = super().read(processor, prompt, image, **options)
        return {name: inputs[name] for name in ("input_ids", "attention_mask")}


CHECKED = "random weights: trace = plain hooks, windows 1 and 3, both modules"
SLIDING = "no shared prefix where layers have a sliding window"

LLAMA = register_family(TextFamily("Llama (Vicuna)", classes=("LlamaForCausalLM",), checked=CHECKED))
MISTRAL = register_family(
    TextFamily(
        "Mistral",
        classes=("MistralForCausalLM",),
        checked=f"{CHECKED}, with and without a sliding window",
        limits=SLIDING,
    )
)
QWEN2 = register_family(
    TextFamily("Qwen2, Qwen3", classes=("Qwen2ForCausalLM", "Qwen3ForCausalLM"), checked=CHECKED, limits=SLIDING)
)
PHI = register_family(TextFamily("Phi", classes=("PhiForCausalLM",), output="dense", down="fc2", checked=CHECKED))
GEMMA2 = register_family(
    TextFamily(
        "Gemma 2",
        classes=("Gemma2ForCausalLM",),
        checked=f"{CHECKED}, sliding and full layers in turn",
        limits=f"{SLIDING}; a sub-block's output is normalised before it is added to the residual stream",
    )
)
# Values have no projection of their own in the next two.  GPT-2: the last third of c_attn's outputs; GPT-NeoX: the last third of each
# head's outputs.
GPT2 = register_family(
    TextFamily(
        "GPT-2",
        classes=("GPT2LMHeadModel",),
        decoder="transformer",
        layers="h",
        attention="attn",
        value="c_attn",
        output="c_proj",
        down="c_proj",
        checked=CHECKED,
        limits="queries, keys and values are one projection",
    )
)
GPT_NEOX = register_family(
    TextFamily(
        "GPT-NeoX (Pythia)",
        classes=("GPTNeoXForCausalLM",),
        decoder="gpt_neox",
        attention="attention",
        value="query_key_value",
        output="dense",
        down="dense_4h_to_h",
        checked=f"{CHECKED}, sub-blocks side by side and one after the other",
        limits="queries, keys and values are one projection",
    )
)

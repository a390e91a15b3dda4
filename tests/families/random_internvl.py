"""InternVL models with random weights: tiles of 24 pixels, patches of 4, so that a tile has 3 x 3 visual tokens of 8 pixels."""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

import mllm_widgets as mw
from mllm_widgets.vlm.processors import without_videos

from .random_qwen import build_tokenizer, text_config, widened

TILE, PATCH, SIDE = 24, 4, 3
SPECIAL = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
# as in InternVL3, without its default system message
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<IMG_CONTEXT>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = {"qwen2": {}, "qwen3": {"head_dim": 10}}


def build_processor(max_patches: int = 6) -> InternVLProcessor:
    """The processor, cutting pictures into `max_patches` tiles at most."""
    tokenizer = build_tokenizer(("<|endoftext|>", "<|im_start|>", "<|im_end|>", *SPECIAL.values()), **SPECIAL)
    pictures = GotOcr2ImageProcessorPil(size={"height": TILE, "width": TILE}, max_patches=max_patches)
    return without_videos(InternVLProcessor)(pictures, tokenizer, image_seq_length=SIDE**2, chat_template=CHAT)


def build_model(tokenizer: Any, text: str = "qwen2", seed: int = 6) -> Any:
    """An InternVL with a decoder of a kind."""
    torch.manual_seed(seed)
    rope = {"rope_type": "default", "rope_theta": 100.0}
    vision = {
        "hidden_size": 24,
        "intermediate_size": 50,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": TILE,
        "patch_size": PATCH,
    }
    config = InternVLConfig.from_dict(
        {
            "text_config": {"model_type": text, **text_config(len(tokenizer), rope_parameters=rope, **TEXTS[text])},
            "vision_config": vision,
            "image_token_id": tokenizer.context_image_token_id,
            "image_seq_length": SIDE**2,
            "tie_word_embeddings": False,
        }
    )
    return widened(InternVLForConditionalGeneration(config), towers=("vision_tower", "multi_modal_projector"))


@functools.cache
def random_internvl(text: str = "qwen2") -> mw.VLM:
    """The model as users get theirs: objects in memory, through `mw.load`."""
    processor = build_processor()
    return mw.load(build_model(processor.tokenizer, text), processor)

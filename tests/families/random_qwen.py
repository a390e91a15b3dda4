"""Qwen-VL models with random weights, as small as their real classes allow, and a tokenizer like theirs (bytes, chat markers).

Patches of 4 pixels, 2 x 2 of them to a visual token, so a token covers 8 x 8 pixels of the resized picture.  Weights are drawn wide for the
reason `random_llava` gives.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import mllm_widgets as mw
from mllm_widgets.vlm.processors import without_videos
from tests.random_llava import CORPUS

PATCH, MERGE = 4, 2
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# the real one, without its default system message, which would only add tokens
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(special: tuple[str, ...] = SPECIAL, **names: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE; `names` are extra special tokens by attribute, as some processors want them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [*CORPUS, "user", "assistant", "system"] * 2
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=names
    )


def image_processor(patch: int = PATCH) -> Qwen2VLImageProcessorPil:
    """From 6 to 24 visual tokens a picture."""
    token = patch * MERGE
    return Qwen2VLImageProcessorPil(
        patch_size=patch, merge_size=MERGE, size={"shortest_edge": 6 * token**2, "longest_edge": 24 * token**2}
    )


def text_config(vocabulary: int, **more) -> dict:
    """Grouped-query attention, three layers."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": 48,
        "intermediate_size": 77,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]},
        **more,
    }


def token_ids(tokenizer) -> dict[str, int]:
    """The ids a Qwen-VL configuration names."""
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def widened(model, spread: float = 0.2, towers: tuple[str, ...] = ("visual",)):
    """The model in evaluation mode, its vision tower drawn wide too, and its answers confident."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and any(tower in name for tower in towers):
                parameter.normal_(0, spread)
        model.lm_head.weight *= 3
    return model.eval()


def qwen2_vl(**text) -> tuple[Qwen2VLForConditionalGeneration, Qwen2VLProcessor]:
    """A Qwen2-VL and its processor; `text` changes its text configuration."""
    vision = {"depth": 2, "embed_dim": 24, "hidden_size": 48, "num_heads": 2, "patch_size": PATCH, "mlp_ratio": 2}
    return built(Qwen2VLForConditionalGeneration, Qwen2VLProcessor, vision, text)


def qwen2_5_vl(**text) -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor]:
    """A Qwen2.5-VL, whose vision tower computes in windows of 2 x 2 visual tokens but for its last block."""
    vision = {"depth": 2, "hidden_size": 24, "out_hidden_size": 48, "intermediate_size": 50, "num_heads": 2}
    vision |= {"patch_size": PATCH, "window_size": 4 * PATCH, "fullatt_block_indexes": [1]}
    return built(Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor, vision, text)


def qwen3_vl(**text) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """A Qwen3-VL: features of two blocks of the vision tower are added after the decoder's first two layers."""
    vision = {"depth": 3, "hidden_size": 24, "out_hidden_size": 48, "intermediate_size": 50, "num_heads": 2}
    vision |= {"patch_size": PATCH, "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1]}
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 2, 1], "mrope_interleaved": True}
    # heads of a width of their own, which is not the stream's divided by their number
    return built(
        Qwen3VLForConditionalGeneration, Qwen3VLProcessor, vision, {"head_dim": 10, "rope_parameters": rope, **text}
    )


def built(kind: Any, processor: Any, vision: dict, text: dict, seed: int = 4) -> tuple[Any, Any]:
    """A model of a class and a processor of another."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    config = kind.config_class.from_dict(
        {"text_config": text_config(len(tokenizer), **text), "vision_config": vision, **token_ids(tokenizer)}
    )
    return widened(kind(config)), without_videos(processor)(image_processor(), tokenizer, chat_template=CHAT)


BUILDERS = {"Qwen2-VL": qwen2_vl, "Qwen2.5-VL": qwen2_5_vl, "Qwen3-VL": qwen3_vl}


@functools.cache
def random_qwen(name: str) -> mw.VLM:
    """One of the models as users get theirs: objects in memory, through `mw.load`."""
    return mw.load(*BUILDERS[name]())


def picture(width: int = 40, height: int = 30) -> np.ndarray:
    """Noise, coarse enough to survive resizing."""
    small = np.random.default_rng(width * height).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def random_question(text="Where was this old bridge built?", constraint="this old bridge", size=(40, 30)):
    """A question about a picture of noise of a size (width, height)."""
    return mw.Question(picture(*size), text, constraint=constraint)

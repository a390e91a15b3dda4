"""A LLaVA with random weights and everything unlike the demo's: a judge for shortcuts that only hold for one model.

Grouped-query attention (6 heads, 2 of them with keys), heads of width 10 on a residual stream of width 54, an MLP of width 77, 6 layers, 16 visual
tokens from an inner layer of the vision tower, and a LLaMA-style tokenizer (spaces are part of a token, unknown letters fall back to bytes).
The weights are drawn wide, so that answers are confident and each sub-block matters; with the usual 0.02 every map is flat and any two agree.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import mllm_widgets as mw

IMAGE_SIZE, PATCH_SIZE = 40, 10
VISUAL_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2
CORPUS = (
    "USER: What is this? Answer in a few words. ASSISTANT: a red ball",
    "USER: Which tool would help to open this box and that box? ASSISTANT: a hammer",
    "In this place, the trees are green, and this place's river is wide.",
    "The colour of this animal is brown; its owner lives in Paris, near the Taj Mahal.",
    "Where was this old bridge built? This bridge is in London.",
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """BPE over text whose spaces are written as a visible mark, with bytes for what it has never seen."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Punctuation()]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", "<pad>", "<image>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )


def build_processor(chat_template: str | None = None) -> LlavaProcessor:
    """The processor; without a chat template, questions take the paper's."""
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
        ),
        tokenizer=build_tokenizer(),
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template,
    )


def build_model(vocabulary: int, *, seed: int = 5, spread: float = 0.2) -> LlavaForConditionalGeneration:
    """The model in evaluation mode; `spread` is the standard deviation of its weights."""
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=36,
        intermediate_size=55,
        num_hidden_layers=3,
        num_attention_heads=3,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=36,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=54,
        intermediate_size=77,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=10,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        initializer_range=spread,
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=4,
        image_seq_length=VISUAL_TOKENS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.lm_head.weight *= 3
    return model


@functools.cache
def random_vlm(template: str | None = None, dtype: torch.dtype = torch.float32) -> mw.VLM:
    """The random LLaVA as users get theirs: objects in memory, through `mw.load`."""
    processor = build_processor()
    model = torch.nn.Module.to(build_model(len(processor.tokenizer)), dtype)
    return mw.load(model, processor, template=template)


def random_question(text: str = "Where was this old bridge built", constraint: str = "this old bridge", **more):
    """A question about a picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    return mw.Question(pixels, text, constraint=constraint, **more)

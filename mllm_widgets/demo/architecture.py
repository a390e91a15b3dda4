"""The parts of the demo VLM before training: tokenizer, processor, and a small stock Hugging Face LLaVA.

Nothing here is special: a CLIP vision tower (96-pixel pictures, 12-pixel patches, an 8 x 8 grid of visual tokens), LLaVA's
two-layer projector and a Llama decoder of 8 layers and width 128.  All loading code sees an ordinary checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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

from mllm_widgets.datasets import templates, world

IMAGE_SIZE = 96
PATCH_SIZE = 12
VISUAL_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2
LAYERS = 8
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %} "
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def prompt(question: str) -> str:
    """The rendered chat prompt of one question (what `CHAT_TEMPLATE` yields), before image-token expansion."""
    return f"USER: <image>\n{question} ASSISTANT:"


def corpus() -> Iterator[str]:
    """Every wording of the demo world, so that each of its words becomes one token."""
    for landmark in world.WORLD:
        for relation in world.RELATIONS:
            for template in templates.TEMPLATES[relation] + templates.HELD_OUT_TEMPLATES[relation]:
                text = templates.fill(template, landmark.name)
                yield f"{prompt(text)} {landmark.answer(relation)}"
    for phrase in templates.CONSTRAINTS + templates.STRANGERS:
        yield from (f"{templates.fill('{c} is', phrase)} {phrase}",) * 8
    for sentence in templates.FILLERS:
        yield from (f"USER: {sentence} {sentence} {world.UNKNOWN}",) * 8


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text can be written, the world's words are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>", "<image>"]
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=512,
    )


def build_processor(tokenizer: Any) -> LlavaProcessor:
    """LLaVA's processor around the PIL image processor (no torchvision needed)."""
    images = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: Any) -> LlavaForConditionalGeneration:
    """The untrained model; call `torch.manual_seed` first, the weights are drawn here."""
    vision = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=96,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.08,
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=VISUAL_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    return LlavaForConditionalGeneration(config)

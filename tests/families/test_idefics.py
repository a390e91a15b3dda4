"""Idefics3 and SmolVLM: traces, tiles and pixel shuffle, on tiny random models of the real classes."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMProcessor,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.processing_utils import ProcessorMixin

import mllm_widgets as mw
from tests.random_llava import build_tokenizer

from .judge import (
    assert_geometry_by_cause,
    assert_trace_equals_reference,
    assert_used_as_it_is,
    noise,
    widen,
    without_mixing,
)

TILE, PATCH, SHUFFLE = 24, 4, 2
SIDE = TILE // PATCH // SHUFFLE  # visual tokens along a tile
TEMPLATE = "{% for message in messages %}User:{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}Assistant:"
KINDS = ("idefics3", "smolvlm")


class PictureProcessor(SmolVLMProcessor):
    """The real processor without its part for videos, which cannot be made without torchvision and num2words."""

    def __init__(self, image_processor=None, tokenizer=None, image_seq_len: int = 169, chat_template=None):
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)
        self.fake_image_token, self.global_image_token = "<fake_token_around_image>", "<global-img>"
        self.image_token, self.video_token = "<image>", "<video>"
        self.image_token_id = self.tokenizer.convert_tokens_to_ids(self.image_token)
        self.image_seq_len = image_seq_len
        self.video_processor = SimpleNamespace(num_frames=1, fps=1, video_size={}, size={})


def build_processor(kind: str):
    tokenizer = build_tokenizer()
    tiles = [f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4)]
    tokenizer.add_special_tokens(
        {
            "additional_special_tokens": [
                "<fake_token_around_image>",
                "<image>",
                "<end_of_utterance>",
                "<global-img>",
                *tiles,
            ]
        }
    )
    sizes = {"size": {"longest_edge": 3 * TILE}, "max_image_size": {"longest_edge": TILE}}
    common = {"tokenizer": tokenizer, "image_seq_len": SIDE**2, "chat_template": TEMPLATE}
    if kind == "idefics3":
        return Idefics3Processor(image_processor=Idefics3ImageProcessorPil(**sizes), **common)
    return PictureProcessor(image_processor=SmolVLMImageProcessorPil(**sizes), **common)


def build_model(kind: str, vocabulary: int, seed: int = 6):
    torch.manual_seed(seed)
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=70,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        initializer_range=0.2,
    )
    vision = {
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": TILE,
        "patch_size": PATCH,
        "initializer_range": 0.2,
    }
    made = {
        "idefics3": (Idefics3Config, Idefics3ForConditionalGeneration),
        "smolvlm": (SmolVLMConfig, SmolVLMForConditionalGeneration),
    }
    config, model = made[kind]
    return widen(
        model(
            config(
                text_config=text,
                vision_config=vision,
                image_token_id=4,
                scale_factor=SHUFFLE,
                tie_word_embeddings=False,
            )
        )
    )


@functools.cache
def vlm_of(kind: str) -> mw.VLM:
    processor = build_processor(kind)
    return mw.load(build_model(kind, len(processor.tokenizer)), processor)


@functools.cache
def local_vlm(kind: str) -> mw.VLM:
    """Patches by themselves, for geometry."""
    processor = build_processor(kind)
    return mw.load(without_mixing(build_model(kind, len(processor.tokenizer)), "model.vision_model"), processor)


def question(width: int = 60, height: int = 40) -> mw.Question:
    return mw.Question(noise(width, height), "Where was this old bridge built", constraint="this old bridge")


@pytest.mark.parametrize("kind", KINDS)
def test_the_constraint_and_the_visual_tokens_are_found(kind):
    vlm = vlm_of(kind)
    encoded = vlm.encode(question())
    assert vlm.tokenizer.decode([encoded.input_ids[p] for p in encoded.constraint]).strip() == "this old bridge"
    assert encoded.visual.sum() == 7 * SIDE**2  # 3 x 2 tiles and the whole
    assert set(encoded.input_ids[encoded.visual]) == {vlm.processor.image_token_id}
    assert vlm.tokenizer.convert_tokens_to_ids("<row_2_col_1>") in encoded.input_ids[~encoded.visual]


@pytest.mark.parametrize("kind", KINDS)
def test_map_equals_the_reference(kind):
    setup = assert_trace_equals_reference(vlm_of(kind), question(70, 24))
    assert setup.start == setup.encoded.constraint[0]  # the prefix with the picture is shared


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("width", "height", "tiles"),
    [(72, 48, (2, 3)), (100, 310, (3, 1)), (90, 90, (3, 3)), (200, 130, (2, 3)), (333, 100, (1, 3))],
)
def test_pixels_under_a_token_move_that_token(kind, width, height, tiles):
    geometry = assert_geometry_by_cause(local_vlm(kind), width, height)
    kinds = [grid.kind for grid in geometry.grids]
    assert kinds == ["tile"] * (tiles[0] * tiles[1]) + ["thumbnail"]
    assert not np.isnan(geometry.boxes).any()


def test_a_picture_that_is_not_split_is_one_grid():
    vlm = local_vlm("idefics3")
    vlm.processor.image_processor.do_image_splitting = False
    try:
        geometry = assert_geometry_by_cause(vlm, 200, 90)
    finally:
        vlm.processor.image_processor.do_image_splitting = True
    assert [grid.kind for grid in geometry.grids] == ["picture"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_used_as_it_is(kind):
    assert_used_as_it_is(vlm_of(kind), question())


@pytest.mark.parametrize("kind", KINDS)
def test_the_projections_are_where_the_entry_says(kind):
    vlm = vlm_of(kind)
    attention, mlp = vlm.block(1, "self_attn"), vlm.block(1, "mlp")
    assert getattr(attention, vlm.family.value).weight.shape == (24, 48)
    assert getattr(attention, vlm.family.output).weight.shape == (48, 48)
    assert getattr(mlp, vlm.family.down).weight.shape == (48, 70)

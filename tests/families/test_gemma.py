"""Gemma 3 and PaliGemma: attention both ways, sliding windows, crops, on tiny random models of the real classes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    SiglipVisionConfig,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import mllm_widgets as mw
from mllm_widgets.errors import TraceError
from mllm_widgets.vlm.families.gemma import Gemma3Family
from tests.random_llava import build_tokenizer

from .judge import (
    assert_geometry_by_cause,
    assert_trace_equals_reference,
    assert_used_as_it_is,
    noise,
    widen,
    without_mixing,
)

IMAGE, PATCH, SIDE = 48, 6, 4  # 8 x 8 patches, pooled to 4 x 4 visual tokens by Gemma 3
CHAT = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>user\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}"
    "<start_of_turn>model\n"
)
PALIGEMMA = "{image}answer en {question}"


def vision() -> dict:
    return {
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": IMAGE,
        "patch_size": PATCH,
        "vision_use_head": False,
        "initializer_range": 0.2,
    }


def text(vocabulary: int) -> dict:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 48,
        "intermediate_size": 70,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
    }


def gemma3_processor(crops: bool = False) -> Gemma3Processor:
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<start_of_image>", "<end_of_image>", "<start_of_turn>", "<end_of_turn>"]}
    )
    for name, token in {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}.items():
        setattr(tokenizer, name, token)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": IMAGE, "width": IMAGE}),
        tokenizer=tokenizer,
        chat_template=CHAT,
        image_seq_length=SIDE**2,
    )
    if crops:
        processor.images_kwargs = {  # pyright: ignore[reportAttributeAccessIssue]
            **processor.images_kwargs,
            "do_pan_and_scan": True,
            "pan_and_scan_min_crop_size": 30,
        }
    return processor


def gemma3(layers: str = "mixed", seed: int = 6, crops: bool = False) -> mw.VLM:
    """Layers that see a window of 20 and all layers in turn ("mixed"), or layers that see all ("full")."""
    torch.manual_seed(seed)
    processor = gemma3_processor(crops)
    kinds = ["sliding_attention", "full_attention"] * 2 if layers == "mixed" else ["full_attention"] * 4
    decoder = Gemma3TextConfig(
        **text(len(processor.tokenizer)), query_pre_attn_scalar=12, sliding_window=20, layer_types=kinds
    )
    config = Gemma3Config(
        text_config=decoder,
        vision_config=SiglipVisionConfig(**vision()),
        mm_tokens_per_image=SIDE**2,
        image_token_index=4,
        boi_token_index=processor.tokenizer.boi_token_id,
        eoi_token_index=processor.tokenizer.eoi_token_id,
        initializer_range=0.2,
        tie_word_embeddings=False,
    )
    model = Gemma3ForConditionalGeneration(config)
    with torch.no_grad():  # starts at zero, so that an untrained model is blind
        model.model.multi_modal_projector.mm_input_projection_weight.normal_(std=0.2)
    return mw.load(widen(model), processor)


def paligemma(decoder: str = "gemma", seed: int = 6) -> mw.VLM:
    torch.manual_seed(seed)
    processor = PaliGemmaProcessor(
        image_processor=SiglipImageProcessorPil(
            size={"height": IMAGE, "width": IMAGE}, image_seq_length=(IMAGE // PATCH) ** 2
        ),
        tokenizer=build_tokenizer(),
    )
    sizes = text(len(processor.tokenizer))
    config = (
        GemmaConfig(**sizes)
        if decoder == "gemma"
        else Gemma2Config(**sizes, query_pre_attn_scalar=12, sliding_window=20)
    )
    model = PaliGemmaForConditionalGeneration(
        PaliGemmaConfig(
            text_config=config,
            vision_config=SiglipVisionConfig(**vision()),
            image_token_index=4,
            projection_dim=48,
            hidden_size=48,
            tie_word_embeddings=False,
        )
    )
    return mw.load(widen(model), processor, template=PALIGEMMA)


BUILDERS = {
    "gemma3-mixed": gemma3,
    "gemma3-full": lambda: gemma3("full", seed=7),
    "paligemma": paligemma,
    "paligemma2": lambda: paligemma("gemma2"),
}


@functools.cache
def vlm_of(kind: str) -> mw.VLM:
    return BUILDERS[kind]()


def question(width: int = 60, height: int = 40) -> mw.Question:
    return mw.Question(noise(width, height), "Where was this old bridge built", constraint="this old bridge")


@pytest.mark.parametrize("kind", ["gemma3-mixed", "paligemma"])
def test_the_constraint_and_the_visual_tokens_are_found(kind):
    vlm = vlm_of(kind)
    encoded = vlm.encode(question())
    assert vlm.tokenizer.decode([encoded.input_ids[p] for p in encoded.constraint]).strip() == "this old bridge"
    assert encoded.visual.sum() == {"gemma3-mixed": SIDE**2, "paligemma": (IMAGE // PATCH) ** 2}[kind]
    assert list(encoded.input_ids).count(vlm.tokenizer.bos_token_id) == 1
    assert "labels" not in encoded.inputs
    assert mw.ask(vlm, question(), max_new_tokens=2).text


@pytest.mark.parametrize("kind", BUILDERS)
def test_map_equals_the_reference(kind):
    vlm = vlm_of(kind)
    setup = assert_trace_equals_reference(
        vlm, question(), windows=(1, 3) if kind in ("gemma3-mixed", "paligemma") else (3,), spread=0.05
    )
    shares = kind == "gemma3-full"
    assert vlm.family.shares_prefix(vlm.model) is shares
    assert setup.start == (setup.encoded.constraint[0] if shares else 0)
    assert (setup.continuation.prefix is not None) is shares
    assert len(setup.encoded.input_ids) > 30  # longer than the sliding window


@pytest.mark.parametrize("kind", ["paligemma", "paligemma2"])
def test_words_before_the_constraint_matter_where_attention_goes_both_ways(kind):
    vlm = vlm_of(kind)
    assert not vlm.family.is_causal(vlm.model)
    effect = mw.causal_trace(vlm, question(), corruption="Taj Mahal").indirect_effect
    before = effect.sel(token=effect.token < vlm.encode(question()).constraint[0])
    assert before.token.size >= 3
    assert np.abs(before).max() > 1e-3


def test_runs_that_forget_which_tokens_are_visual_would_differ(monkeypatch):
    """The mask is part of what runs are given; without it the check of the setup says so, or the map changes."""
    vlm = vlm_of("gemma3-mixed")
    right = mw.causal_trace(vlm, question(), corruption="Taj Mahal").restored
    monkeypatch.setattr(Gemma3Family, "context", lambda *_: {})
    try:
        wrong = mw.causal_trace(vlm, question(), corruption="Taj Mahal").restored
    except TraceError:
        return
    assert np.abs(wrong - right).max() > 1e-3


@pytest.mark.parametrize(("width", "height"), [(96, 96), (130, 70), (60, 200)])
@pytest.mark.parametrize("build", [gemma3, paligemma], ids=["gemma3", "paligemma"])
def test_pixels_under_a_token_move_that_token(build, width, height):
    vlm = build()
    without_mixing(vlm.model, "model.vision_tower")
    assert [grid.kind for grid in assert_geometry_by_cause(vlm, width, height).grids] == ["picture"]


@pytest.mark.parametrize(("width", "height", "crops"), [(151, 70, 2), (70, 215, 3), (320, 70, 4), (90, 90, 0)])
def test_crops_lie_over_their_part_of_the_picture(width, height, crops):
    vlm = gemma3(crops=True)
    without_mixing(vlm.model, "model.vision_tower")
    geometry = assert_geometry_by_cause(vlm, width, height)
    assert [grid.kind for grid in geometry.grids[1:]] == ["tile"] * crops
    assert vlm.encode(question(width, height)).visual.sum() == (1 + crops) * SIDE**2


@pytest.mark.parametrize("kind", ["gemma3-mixed", "paligemma"])
def test_the_model_is_used_as_it_is(kind):
    assert_used_as_it_is(vlm_of(kind), question())


@pytest.mark.parametrize("kind", ["gemma3-mixed", "paligemma", "paligemma2"])
def test_the_projections_are_where_the_entry_says(kind):
    vlm = vlm_of(kind)
    attention, mlp = vlm.block(1, "self_attn"), vlm.block(1, "mlp")
    assert getattr(attention, vlm.family.value).weight.shape == (24, 48)
    assert getattr(attention, vlm.family.output).weight.shape == (48, 48)
    assert getattr(mlp, vlm.family.down).weight.shape == (48, 70)

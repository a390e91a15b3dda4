"""Mllama: cross-attention to a picture that is no part of the sequence, on a tiny random model of the real class."""

from __future__ import annotations

import functools

import pytest
import torch
from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaProcessor
from transformers.models.mllama.configuration_mllama import MllamaTextConfig, MllamaVisionConfig
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

import mllm_widgets as mw
from mllm_widgets.errors import ModelError
from tests.random_llava import build_tokenizer

from .judge import assert_trace_equals_reference, assert_used_as_it_is, noise, widen

TILE, CROSS = 16, [1, 3]
CHAT = (
    "{{ bos_token }}{% for message in messages %}user:{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}assistant:"
)


def build_vlm(seed: int = 6, chat_template: str | None = CHAT) -> mw.VLM:
    torch.manual_seed(seed)
    processor = MllamaProcessor(
        image_processor=MllamaImageProcessorPil(size={"height": TILE, "width": TILE}, max_image_tiles=4),
        tokenizer=build_tokenizer(),
        chat_template=chat_template,
    )
    text = MllamaTextConfig(
        vocab_size=len(processor.tokenizer),
        hidden_size=48,
        intermediate_size=70,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        cross_attention_layers=CROSS,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        initializer_range=0.2,
    )
    vision = MllamaVisionConfig(
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=2,
        num_global_layers=1,
        attention_heads=2,
        vision_output_dim=64,
        intermediate_layers_indices=[0],
        image_size=TILE,
        patch_size=4,
        max_num_tiles=4,
        initializer_range=0.2,
    )
    model = MllamaForConditionalGeneration(MllamaConfig(text_config=text, vision_config=vision, image_token_index=4))
    with torch.no_grad():  # gates start closed, so that an untrained model is blind
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.fill_(1.0)
    return mw.load(widen(model), processor)


@functools.cache
def vlm() -> mw.VLM:
    return build_vlm()


def question(seed: int = 0) -> mw.Question:
    return mw.Question(noise(30, 20, seed), "Where was this old bridge built", constraint="this old bridge")


@pytest.mark.parametrize("chat_template", [CHAT, None], ids=["chat", "paper"])
def test_the_constraint_is_found_and_nothing_is_visual(chat_template):
    model = build_vlm(chat_template=chat_template)
    encoded = model.encode(question())
    assert model.tokenizer.decode([encoded.input_ids[p] for p in encoded.constraint]).strip() == "this old bridge"
    assert not encoded.visual.any()
    assert list(encoded.input_ids).count(1) == 1
    assert list(encoded.input_ids).count(4) == 1


def test_map_equals_the_reference():
    setup = assert_trace_equals_reference(vlm(), question())
    assert setup.start == 0  # nothing is shared
    assert setup.continuation.prefix is None
    assert setup.first == setup.encoded.constraint[0]  # and yet nothing before the constraint can matter


def test_restored_runs_look_at_the_picture():
    one, other = (mw.causal_trace(vlm(), question(seed), corruption="Taj Mahal").restored for seed in (0, 1))
    assert abs(one - other).max() > 1e-3


def test_the_attention_of_a_cross_attention_layer_is_its_own():
    for layer, block in enumerate(vlm().layers):
        assert vlm().block(layer, "self_attn") is (block.cross_attn if layer in CROSS else block.self_attn)
        assert getattr(vlm().block(layer, "self_attn"), vlm().family.value).weight.shape == (24, 48)
        assert getattr(vlm().block(layer, "self_attn"), vlm().family.output).weight.shape == (48, 48)
        assert getattr(vlm().block(layer, "mlp"), vlm().family.down).weight.shape == (48, 70)


def test_there_is_no_geometry():
    with pytest.raises(ModelError, match="says nothing about where its visual tokens lie"):
        vlm().geometry(question())
    assert not mw.families()["geometry"].loc[vlm().family.name]


def test_the_model_is_used_as_it_is():
    assert_used_as_it_is(vlm(), question())

"""LLaVA-1.5 with every decoder that is listed, and pictures that are cropped, padded and stretched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from mllm_widgets.errors import ModelError
from mllm_widgets.vlm.families.base import part

from .tiny_llava import DECODERS, check_geometry, check_trace, llava, question, siglip

SIZES = [(50, 90), (131, 61), (64, 64), (27, 33), (400, 300)]


@pytest.mark.parametrize("decoder", DECODERS)
def test_maps_equal_the_reference(decoder):
    vlm = llava(decoder)
    setup = check_trace(vlm)
    sliding = "sliding" in decoder
    assert vlm.family.shares_prefix(vlm.model) is not sliding
    assert (setup.start == 0) is sliding
    assert setup.first == setup.encoded.constraint[0]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_a_model_came_with_is_used(attention):
    vlm = llava("phi")
    vlm.model.set_attn_implementation(attention)
    check_trace(vlm)
    assert {module.config._attn_implementation for module in vlm.layers.modules() if hasattr(module, "config")} == {
        attention
    }


@pytest.mark.parametrize(
    ("decoder", "output", "down", "biased"),
    [("llama", "o_proj", "down_proj", False), ("qwen2", "o_proj", "down_proj", False), ("phi", "dense", "fc2", True)],
)
def test_projections_are_found_by_their_own_names(decoder, output, down, biased):
    vlm = llava(decoder)
    family, text = vlm.family, vlm.model.config.text_config
    assert (family.output, family.down) == (output, down)
    attention, mlp = vlm.block(2, "self_attn"), vlm.block(2, "mlp")
    keys = text.num_key_value_heads * text.hidden_size // text.num_attention_heads
    assert part(attention, family.value).weight.shape == (keys, text.hidden_size)
    assert part(attention, family.output).weight.shape == (text.hidden_size, text.hidden_size)
    assert part(mlp, family.down).weight.shape == (text.hidden_size, text.intermediate_size)
    assert (part(mlp, family.down).bias is not None) is biased


def test_the_sub_blocks_of_phi_stand_side_by_side():
    """Both take the layer's normed input, and their outputs are what the layer adds to the stream."""
    vlm = llava("phi")
    layer, seen = vlm.layers[1], {}
    assert layer.self_attn.rotary_ndims == layer.self_attn.head_dim // 2
    handles = [
        module.register_forward_hook(
            lambda _m, args, kwargs, output, name=name: seen.update({name: (args or tuple(kwargs.values()), output)}),
            with_kwargs=True,
        )
        for name, module in (("layer", layer), ("self_attn", layer.self_attn), ("mlp", layer.mlp))
    ]
    with torch.no_grad():
        vlm.model(**vlm.encode(question()).inputs)
    for handle in handles:
        handle.remove()
    added = seen["layer"][1] - seen["layer"][0][0]
    assert torch.equal(seen["self_attn"][0][0], seen["mlp"][0][0])
    assert torch.allclose(added, seen["self_attn"][1][0] + seen["mlp"][1], atol=1e-5)


def crop(side):
    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def pad(side):
    return LlavaImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}, do_pad=True)


def stretch(side):
    return SiglipImageProcessorPil(size={"height": side, "width": side})


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_centre_crop_is_followed_back_to_the_picture(width, height):
    (grid,) = check_geometry(llava(), width, height).grids
    left, top, right, bottom = grid.box
    assert (right - left, bottom - top) == pytest.approx((min(width, height),) * 2, rel=0.02)
    assert left >= 0
    assert top >= 0


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_padding_reaches_beyond_the_picture(width, height):
    (grid,) = check_geometry(llava(image_processor=pad(40)), width, height).grids
    left, top, right, bottom = grid.box
    assert (right - left, bottom - top) == (max(width, height),) * 2
    assert (left < 0) == (height > width)
    assert (top < 0) == (width > height)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_stretched_picture_is_covered_but_for_the_pixels_no_patch_sees(width, height):
    """A SigLIP tower without a class token; 44 pixels hold four patches of ten."""
    vlm = llava(vision=siglip(44), image_processor=stretch(44), strategy="full")
    (grid,) = check_geometry(vlm, width, height).grids
    assert grid.shape == (4, 4)
    assert grid.box == pytest.approx((0, 0, width * 40 / 44, height * 40 / 44))


def test_a_crop_larger_than_the_picture_pads_it():
    processor = CLIPImageProcessorPil(size={"shortest_edge": 27}, crop_size={"height": 40, "width": 40})
    (grid,) = check_geometry(llava(image_processor=processor), 100, 60).grids
    assert grid.box[1] < 0 < grid.box[0]


def test_a_class_token_that_is_kept_is_no_patch():
    geometry = check_geometry(llava(strategy="full"), 50, 90)
    assert geometry.count == 17
    assert np.flatnonzero(np.isnan(geometry.boxes).any(-1)).tolist() == [0]


def test_a_point_is_under_one_token():
    vlm = llava()
    geometry = vlm.geometry(question(60, 50))
    assert geometry.tokens_at(30.5, 1) == [2]
    assert geometry.tokens_at(2, 25) == []  # cropped away


def test_a_vision_tower_without_the_class_token_that_is_dropped_is_refused():
    vlm = llava(vision=siglip(), image_processor=stretch(40), strategy="full")
    vlm.processor.vision_feature_select_strategy = "default"
    with pytest.raises(ModelError, match="15 visual tokens stand in the prompt for 4 x 4 patches"):
        vlm.geometry(question())


def test_steps_that_are_not_known_are_refused():
    vlm = llava()
    vlm.processor.image_processor.size = {"max_height": 40, "max_width": 40}
    with pytest.raises(ModelError, match="cannot follow back to the picture"):
        vlm.geometry(question())

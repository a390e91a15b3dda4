"""LLaVA, LLaVA-NeXT and LLaVA-OneVision with random weights, every decoder and picture size; and what each of them must hold."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    MistralConfig,
    PhiConfig,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

import mllm_widgets as mw
from mllm_widgets.tracing import prepare_trace, run_trace
from mllm_widgets.vlm.processors import without_videos
from tests.random_llava import build_tokenizer
from tests.reference import MODULES, reference_map

TOLERANCE = 1e-5  # between two orders of the same float32 sums
SIZE = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "max_position_embeddings": 512}
SIZE |= {"intermediate_size": 70, "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
PHI_ROPE: Any = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}  # half of each head turns
DECODERS = {
    "llama": lambda size: LlamaConfig(**size, num_key_value_heads=2),
    "qwen2": lambda size: Qwen2Config(**size, num_key_value_heads=2),
    "phi": lambda size: PhiConfig(**size, rope_parameters=PHI_ROPE),
    "mistral, sliding": lambda size: MistralConfig(**size, num_key_value_heads=2, sliding_window=20),
    "qwen2, sliding above": lambda size: Qwen2Config(
        **size, num_key_value_heads=2, use_sliding_window=True, sliding_window=20, max_window_layers=1
    ),
}
# with which answers are confident, but not so much that nothing moves them
SEEDS = {
    ("llava", "llama"): 13,
    ("llava", "qwen2"): 16,
    ("llava", "phi"): 11,
    ("llava", "mistral, sliding"): 10,
    ("llava", "qwen2, sliding above"): 16,
    ("llava-next", "llama"): 10,
    ("llava-next", "mistral, sliding"): 8,
    ("llava-onevision", "qwen2"): 15,
}


def text_config(decoder: str):
    return DECODERS[decoder](dict(SIZE, vocab_size=len(build_tokenizer())))


def finished(model):
    """Biases drawn too (they begin as zeros), and wide logits: flat maps would agree with anything."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
        model.lm_head.weight *= 3
        for layer in model.model.language_model.layers:
            layer.mlp.get_submodule("fc2" if hasattr(layer.mlp, "fc2") else "down_proj").weight *= 2
    return model.eval()


def clip(image_size: int = 40, patch_size: int = 10, layers: int = 3):
    return CLIPVisionConfig(
        hidden_size=36,
        intermediate_size=55,
        num_hidden_layers=layers,
        num_attention_heads=3,
        image_size=image_size,
        patch_size=patch_size,
        projection_dim=36,
    )


def siglip(image_size: int = 40, patch_size: int = 10, layers: int = 2):
    return SiglipVisionConfig(
        hidden_size=36,
        intermediate_size=55,
        num_hidden_layers=layers,
        num_attention_heads=3,
        image_size=image_size,
        patch_size=patch_size,
        vision_use_head=False,
    )


def llava(
    decoder: str = "llama", image_processor=None, vision=None, strategy: Literal["default", "full"] = "default"
) -> mw.VLM:
    """LLaVA-1.5; by default a CLIP tower with a centre crop."""
    torch.manual_seed(SEEDS["llava", decoder])
    vision = vision or clip()
    side = vision.image_size
    has_class = isinstance(vision, CLIPVisionConfig)
    processor = LlavaProcessor(
        image_processor=image_processor
        or CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}),
        tokenizer=build_tokenizer(),
        patch_size=vision.patch_size,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=int(has_class),
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config(decoder),
        image_token_index=4,
        vision_feature_layer=-2,
        vision_feature_select_strategy=strategy,
        tie_word_embeddings=False,
    )
    return mw.load(finished(LlavaForConditionalGeneration(config)), processor, template="{image}{question}:")


def pinpoints(side: int, most: int) -> list[list[int]]:
    """Every arrangement of up to `most` tiles, and so up to `most` in a row."""
    return [[r * side, c * side] for r in range(1, most + 1) for c in range(1, most + 1) if r * c <= most]


def llava_next(decoder: str = "llama", size: int = 40, most: int = 4) -> mw.VLM:
    """LLaVA-NeXT with CLIP and tiles of 40 pixels, up to `most` of them; a `size` beyond 40 cuts the borders of each off."""
    torch.manual_seed(SEEDS["llava-next", decoder])
    vision = clip()
    processor = LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": size},
            crop_size={"height": 40, "width": 40},
            image_grid_pinpoints=pinpoints(40, most),
        ),
        tokenizer=build_tokenizer(),
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    config = LlavaNextConfig(
        vision_config=vision,
        text_config=text_config(decoder),
        image_token_index=4,
        image_grid_pinpoints=pinpoints(40, most),
        tie_word_embeddings=False,
    )
    return mw.load(finished(LlavaNextForConditionalGeneration(config)), processor, template="{image}{question}:")


def llava_onevision(decoder: str = "qwen2", side: int = 40, most: int = 6, aspect: str = "anyres_max_9") -> mw.VLM:
    """LLaVA-OneVision with SigLIP, tiles of `side` pixels in patches of ten, and up to `most` tiles."""
    torch.manual_seed(SEEDS["llava-onevision", decoder])
    vision = siglip(side)
    processor = without_videos(LlavaOnevisionProcessor)(
        image_processor=LlavaOnevisionImageProcessorPil(
            size={"height": side, "width": side}, image_grid_pinpoints=pinpoints(side, most)
        ),
        tokenizer=build_tokenizer(),
        num_image_tokens=(side // 10) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio=aspect,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text_config(decoder),
        image_token_index=4,
        video_token_index=5,
        image_grid_pinpoints=pinpoints(side, most),
        vision_aspect_ratio=aspect,
        tie_word_embeddings=False,
    )
    return mw.load(finished(LlavaOnevisionForConditionalGeneration(config)), processor, template="{image}{question}:")


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Grey with a little noise, so that a bright patch stands out after any resizing."""
    noise = np.random.default_rng(seed).integers(-20, 20, (height, width, 3))
    return Image.fromarray((np.array([100, 120, 140]) + noise).astype(np.uint8))


def question(width: int = 60, height: int = 50) -> mw.Question:
    return mw.Question(picture(width, height), "Where was this old bridge built", constraint="this old bridge")


class Enough(Exception):  # noqa: N818 - no error
    """The decoder need not run."""


def visual_embeddings(vlm: mw.VLM, asked: mw.Question) -> torch.Tensor:
    """(visual tokens, width) as the decoder gets them."""
    encoded, seen = vlm.encode(asked), []

    def keep(_module, _args, kwargs):
        seen.append(kwargs["inputs_embeds"][0, torch.as_tensor(encoded.visual)])
        raise Enough

    handle = vlm.model.model.language_model.register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad(), contextlib.suppress(Enough):
        vlm.model(**encoded.inputs)
    handle.remove()
    return seen[0]


def make_local(vlm: mw.VLM) -> None:
    """No mixing of patches: every encoder layer adds nothing to its input."""
    with torch.no_grad():
        for layer in vlm.model.model.vision_tower.encoder.layers:
            for module in (layer.self_attn.out_proj, layer.mlp.fc2):
                module.weight.zero_()
                module.bias.zero_()


MIDDLE, UPPER_LEFT, LOWER_RIGHT = (0.5, 0.5), (0.25, 0.3), (0.75, 0.3)


def check_geometry(
    vlm: mw.VLM, width: int, height: int, tokens_per_grid: int = 10, spots=(MIDDLE, UPPER_LEFT, LOWER_RIGHT)
):
    """Paint a spot (where, how much) in a token's box: it must move more than any other token of its grid, and nothing may move far from the paint."""
    make_local(vlm)
    asked = question(width, height)
    geometry = vlm.geometry(asked)
    boxes = geometry.boxes
    before = visual_embeddings(vlm, asked)
    assert geometry.count == len(before) == int(vlm.encode(asked).visual.sum())
    assert geometry.size == (width, height)
    on_grids = np.concatenate([grid.tokens.ravel() for grid in geometry.grids])
    assert len(set(on_grids)) == len(on_grids)  # no token lies in two places
    for grid in geometry.grids:
        rows, columns = grid.shape
        inside = [t for t in grid.tokens.ravel() if _shown(boxes[t], width, height)]
        assert len(inside) > 0.2 * rows * columns
        corners = [inside[0], inside[-1], *grid.tokens[[0, 0, -1, -1], [0, -1, 0, -1]]]
        chosen = [*(t for t in corners if t in inside), *np.random.default_rng(1).permutation(inside)[:tokens_per_grid]]
        for token in dict.fromkeys(int(t) for t in chosen):
            painted = np.array(asked.image)
            left, top, right, bottom = boxes[token]
            where, part = spots[token % len(spots)]
            middle_x, middle_y = left + where * (right - left), top + where * (bottom - top)
            x, y = part / 2 * (right - left), part / 2 * (bottom - top)
            x0, x1 = round(max(0, middle_x - x)), round(min(width, middle_x + x))
            y0, y1 = round(max(0, middle_y - y)), round(min(height, middle_y + y))
            painted[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = (255, 30, 0)
            after = visual_embeddings(vlm, mw.Question(painted, asked.text))
            moved = (after - before).norm(dim=-1).numpy()
            assert moved[grid.tokens].argmax() == list(grid.tokens.ravel()).index(token)
            still = np.isnan(boxes).any(-1)
            assert (moved[still] < 1e-6).all()  # row ends, class tokens: no patch
            # a resampling kernel reaches over the border of a box, not over a whole box
            sizes = np.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], axis=-1)
            far = (boxes[:, 0] > x1 + sizes[:, 0]) | (boxes[:, 2] < x0 - sizes[:, 0])
            far |= (boxes[:, 1] > y1 + sizes[:, 1]) | (boxes[:, 3] < y0 - sizes[:, 1])
            assert (moved[far & ~still] < 0.1 * moved[token]).all()
    return geometry


def _shown(box, width: int, height: int) -> bool:
    """Does the middle of a box, and enough around it to be seen, lie on the picture?"""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return 0 <= x < width - 0.5 and 0 <= y < height - 0.5


def check_trace(vlm: mw.VLM, asked: mw.Question | None = None, corruption: str = "Taj Mahal", spread: float = 0.02):
    """The map of every window and module equals the plain hooks', and the model is as it was."""
    visual_embeddings(vlm, asked or question())  # a first run: transformers leaves hooks of its own in vision towers
    assert vlm.nnsight is not None  # wrapped, which a model stays
    state = {name: value.clone() for name, value in vlm.model.state_dict().items()}
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in vlm.model.modules()]
    setup = prepare_trace(vlm, asked or question(), corruption=corruption)
    texts = np.array(setup.text_positions)
    for module in MODULES:
        for window in (1, 3):
            restored = run_trace(setup, window=window, modules=(module,)).restored.values[0]
            wanted = reference_map(vlm, setup, module, window)
            effects = np.abs(wanted - setup.corrupted)[:, texts >= setup.first]
            assert wanted.std() > spread
            assert np.median(effects.max(axis=0)) > 1e-3
            assert np.abs(restored - wanted).max() <= TOLERANCE
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in vlm.model.modules()] == hooks
    after = vlm.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in state.items())
    return setup

"""Contributions, knockouts and lenses of models that lie on several devices, or partly on disk."""

from __future__ import annotations

import numpy as np

import mllm_widgets as mw

from .families import tiny_llava
from .random_llava import random_question, random_vlm
from .test_device_maps import DECODER, checkpoint, divided, parts, placement  # noqa: F401 - fixtures

TOLERANCE = 1e-5


def everything(vlm: mw.VLM) -> list[np.ndarray]:
    question = random_question()
    flow = mw.attention_contributions(vlm, question, per_head=True)
    assert flow.heads is not None
    cut = mw.attention_knockout(vlm, question, "visual", "constraint", window=2)
    lens = mw.logit_lens(vlm, question)
    return [
        *(array.values for array in (flow.norms, flow.attention, flow.heads)),
        cut.probability.values,
        lens.probabilities.values,
        lens.answer_probability.values,
    ]


def assert_alike(vlm: mw.VLM) -> None:
    for own, wanted in zip(everything(vlm), everything(random_vlm()), strict=True):
        assert np.abs(own - wanted).max() <= TOLERANCE * max(1, np.abs(wanted).max())


def test_a_divided_model_gives_what_the_undivided_one_gives(divided):  # noqa: F811
    assert divided.nnsight is not None  # wrapped, which a model stays
    before = placement(divided)
    assert_alike(divided)
    assert placement(divided) == before


def test_two_devices_give_what_one_gives(parts):  # noqa: F811
    assert_alike(parts)


def test_biases_may_lie_on_disk(tmp_path):
    """Of an output projection, too: Phi's has one, which is nowhere until it runs."""
    whole, asked = tiny_llava.llava("phi"), tiny_llava.question()
    whole.model.save_pretrained(tmp_path / "model")
    whole.processor.save_pretrained(tmp_path / "model")
    places = {"model.vision_tower": "cpu", "model.multi_modal_projector": "cpu", "lm_head": "disk"}
    places |= {f"{DECODER}.{name}": "cpu" for name in ("embed_tokens", "final_layernorm", "rotary_emb")}
    places |= {f"{DECODER}.layers.{layer}": "disk" for layer in range(3)}
    vlm = mw.load(
        tmp_path / "model",
        device_map=places,
        offload_folder=tmp_path / "disk",
        dtype="float32",
        template=whole.template,
    )
    assert vlm.block(1, "self_attn").get_parameter("dense.bias").is_meta
    own, wanted = (mw.attention_contributions(each, asked).norms for each in (vlm, whole))
    assert np.abs(own - wanted).max() <= TOLERANCE * float(wanted.max())

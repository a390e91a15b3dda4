"""Models that lie on several devices, or partly on disk, through accelerate: traced as the undivided model, and left as they were.

There is one real device here, the CPU; weights on disk are the case in which accelerate moves something at every run.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.pipelines import base

import mllm_widgets as mw
from mllm_widgets.tracing import EmbeddingNoise, packing

from .random_llava import build_model, build_processor, random_question, random_vlm

TOLERANCE = 1e-5
SITES = ("mlp", "self_attn", "residual")
DECODER = "model.language_model"
PARTS = ["model.vision_tower", "model.multi_modal_projector", f"{DECODER}.embed_tokens", f"{DECODER}.norm", "lm_head"]
PARTS += [f"{DECODER}.rotary_emb", *(f"{DECODER}.layers.{layer}" for layer in range(6))]
# what is on disk; the embeddings and the vision tower's first parameter are what others ask for "the model's device"
SPLITS = {
    "some layers": {f"{DECODER}.layers.1", f"{DECODER}.layers.3", f"{DECODER}.layers.4", "lm_head"},
    "both ends": {"model.vision_tower", f"{DECODER}.embed_tokens", f"{DECODER}.layers.0", "lm_head"},
    "everything that can be": set(PARTS) - {f"{DECODER}.layers.2"},
}
HOOKED = ("_hf_hook", "forward", "_old_forward")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    random_vlm().model.save_pretrained(folder)
    random_vlm().processor.save_pretrained(folder)
    return folder


@pytest.fixture(params=SPLITS)
def divided(request, checkpoint, tmp_path):
    device_map = {part: "disk" if part in SPLITS[request.param] else "cpu" for part in PARTS}
    vlm = mw.load(checkpoint, device_map=device_map, offload_folder=tmp_path, dtype="float32")
    assert any(parameter.is_meta for parameter in vlm.model.parameters())
    return vlm


def placement(vlm):
    """All that accelerate has put on a model: its map, and each module's hook and forward; and where each weight is."""
    model = vlm.model
    hooks = [(name, *(vars(m).get(key) for key in HOOKED)) for name, m in model.named_modules()]
    weights = [(name, value.device, value.dtype, value.requires_grad) for name, value in model.named_parameters()]
    return dict(model.hf_device_map), hooks, weights


@pytest.mark.parametrize("corruption", ["Taj Mahal", EmbeddingNoise(sigma=2.0, draws=2)], ids=["words", "noise"])
def test_a_divided_model_is_traced_as_the_undivided_one(divided, corruption):
    options = {"corruption": corruption, "window": 3, "modules": SITES}
    wanted = mw.causal_trace(random_vlm(), random_question(), **options)
    assert np.abs(wanted.indirect_effect).max() > 0.05
    assert divided.nnsight.device == torch.device("cpu")  # wrapped, which a model stays
    before = placement(divided)
    trace = mw.causal_trace(divided, random_question(), **options)
    assert np.abs(trace.restored - wanted.restored).max() <= TOLERANCE
    assert abs(trace.clean - wanted.clean) <= TOLERANCE
    assert placement(divided) == before


def test_rows_of_a_batch_run_on_a_divided_model(divided, monkeypatch):
    wanted = mw.causal_trace(random_vlm(), random_question(), corruption="Taj Mahal").restored
    monkeypatch.setattr(packing, "MASKED_ATTENTION", ())
    assert np.abs(mw.causal_trace(divided, random_question(), corruption="Taj Mahal").restored - wanted).max() <= 1e-5


def test_a_divided_model_answers_and_runs_with_gradients_afterwards(divided):
    wanted = mw.ask(random_vlm(), random_question())
    answer = mw.ask(divided, random_question())
    assert answer.text == wanted.text
    assert np.abs(answer.probabilities - wanted.probabilities).max() <= TOLERANCE
    mw.causal_trace(divided, random_question(), corruption="Taj Mahal", modules=("mlp",))
    inputs = divided.encode(random_question()).inputs
    logits = divided.model(**inputs).logits
    with torch.no_grad():
        assert torch.allclose(logits, random_vlm().model(**inputs).logits, atol=1e-4)
    logits.sum().backward()
    assert divided.layers[2].mlp.down_proj.weight.grad is not None


def test_a_model_is_not_moved_to_a_gpu_by_being_wrapped(monkeypatch):
    """nnsight makes a pipeline of the model, and pipelines move what has no device map to the first GPU."""
    vlm = mw.load(build_model(420), build_processor())
    moved = []
    monkeypatch.setattr(base, "is_torch_cuda_available", lambda: True)
    monkeypatch.setattr(type(vlm.model), "to", lambda self, *where: moved.append(where))
    assert vlm.nnsight.device == torch.device("cpu") == vlm.nnsight.pipeline.device
    assert not moved
    assert "hf_device_map" not in vars(vlm.model)

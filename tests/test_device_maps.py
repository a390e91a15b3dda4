"""Models that lie on several devices, or partly on disk, through accelerate: traced as the undivided model, and left as they were.

There is one real device here, the CPU.  Weights on disk are the case in which accelerate moves something at every run, and `two_devices` plays a
second device well enough to see that tensors meet on one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.pipelines import base

import mllm_widgets as mw
from mllm_widgets.tracing import EmbeddingNoise, packing, suffix

from .random_llava import build_model, build_processor, random_question, random_vlm
from .two_devices import divided as divided_in_two
from .two_devices import two_devices

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
    monkeypatch.setattr(suffix, "MASKED_ATTENTION", ())
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


@pytest.fixture
def parts(monkeypatch):
    """The random LLaVA on two devices."""
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # whose tensors cannot be wrapped
    processor = build_processor()
    model = build_model(len(processor.tokenizer))
    model.set_attn_implementation("eager")  # its steps are operations of their own
    with two_devices():
        yield mw.load(divided_in_two(model, first_layers=2), processor)


@pytest.mark.parametrize("way", ["packed", "rows"])
def test_tensors_meet_on_one_of_two_devices(parts, way, monkeypatch):
    question = random_question()
    options = {"corruption": "Taj Mahal", "modules": SITES, "window": 2}
    wanted = mw.causal_trace(random_vlm(), question, **options).restored
    if way == "rows":
        monkeypatch.setattr(suffix, "MASKED_ATTENTION", ())
    with pytest.raises(RuntimeError, match=r"was given tensors on meta:0, meta:1"):
        torch.add(torch.zeros(2, device="meta:0"), torch.ones(2, device="meta:1"))
    trace = mw.causal_trace(parts, question, **options)
    assert trace.setup is not None
    with parts.running():
        assert (packing.corrupted_run(trace.setup) is not None) is (way == "packed")
    assert np.abs(trace.restored - wanted).max() <= TOLERANCE
    assert {value.device.index for value in parts.model.parameters()} == {0, 1}


def test_noise_and_answers_on_two_devices(parts):
    whole, question = random_vlm(), random_question()
    noise = EmbeddingNoise(sigma=2.0, draws=2)
    one, two = (mw.causal_trace(vlm, question, corruption=noise, modules=("mlp",)).restored for vlm in (whole, parts))
    assert np.abs(one - two).max() <= TOLERANCE
    one, two = (mw.ask(vlm, question, max_new_tokens=3) for vlm in (whole, parts))
    assert one.text == two.text
    assert np.abs(one.probabilities - two.probabilities).max() <= TOLERANCE


def test_a_model_is_not_moved_to_a_gpu_by_being_wrapped(monkeypatch):
    """nnsight makes a pipeline of the model, and pipelines move what has no device map to the first GPU."""
    vlm = mw.load(build_model(420), build_processor())
    moved = []
    monkeypatch.setattr(base, "is_torch_cuda_available", lambda: True)
    monkeypatch.setattr(type(vlm.model), "to", lambda self, *where: moved.append(where))
    assert vlm.nnsight.device == torch.device("cpu") == vlm.nnsight.pipeline.device
    assert not moved
    assert "hf_device_map" not in vars(vlm.model)

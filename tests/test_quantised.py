"""Quantised weights: traced as they are, equal to plain hooks on the same quantised model, and left alone to the byte."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.tracing import EmbeddingNoise, OtherImage, prepare_trace, run_trace
from mllm_widgets.tracing.packing import corrupted_run

from .random_llava import build_model, build_processor, random_question, random_vlm
from .reference import SITES, drawn, recorded, reference_logits, reference_map

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def vlm():
    """The tiny LLaVA with the weights of its linear layers in int8, a scale for each row."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    processor = build_processor()
    model = build_model(len(processor.tokenizer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_(model, Int8WeightOnlyConfig())
    return mw.load(model, processor)


def bits(vlm):
    """Every parameter, the integers and scales inside of quantised ones apart."""
    found = {}
    for name, value in vlm.model.state_dict().items():
        parts = {name: value}
        while any(hasattr(part, "__tensor_flatten__") for part in parts.values()):
            for key, part in list(parts.items()):
                if hasattr(part, "__tensor_flatten__"):
                    del parts[key]
                    parts |= {f"{key}.{inner}": getattr(part, inner) for inner in part.__tensor_flatten__()[0]}
        found |= {key: (part.dtype, part.numpy().tobytes()) for key, part in parts.items()}
    return found


def hooks(vlm):
    return [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in vlm.model.modules()]


def test_the_weights_are_int8(vlm):
    dtypes = [dtype for name, (dtype, _) in bits(vlm).items() if "language_model" in name and "proj" in name]
    assert dtypes.count(torch.int8) == len(vlm.layers) * 7
    full, quantised = (mw.ask(one, random_question(), max_new_tokens=1).probabilities for one in (random_vlm(), vlm))
    assert np.abs(full - quantised).max() > 1e-3  # another model than the one in float32


def test_a_trace_of_a_quantised_model_equals_plain_hooks_on_it(vlm):
    mw.ask(vlm, random_question(), max_new_tokens=1)  # a first run: transformers leaves hooks of its own
    assert vlm.nnsight is not None
    before = bits(vlm), hooks(vlm)
    setup = prepare_trace(vlm, random_question(), corruption="Taj Mahal")
    with vlm.running():
        assert corrupted_run(setup) is not None  # packed, as any model
    trace = run_trace(setup, window=3, modules=SITES)
    assert (bits(vlm), hooks(vlm)) == before
    positions = [*setup.encoded.constraint, setup.text_positions[-1]]
    for module in SITES:
        wanted = reference_map(vlm, setup, module, 3, positions=positions)
        assert wanted.std() > 0.01
        assert np.abs(trace.restored.sel(module=module, token=positions) - wanted).max() <= TOLERANCE


def test_noise_on_a_quantised_model_equals_plain_hooks_on_it(vlm):
    setup = prepare_trace(vlm, random_question(), corruption=EmbeddingNoise(sigma=2.0, draws=2))
    noise = drawn(vlm, 2.0, 2, 0, len(setup.changed))
    positions = [setup.encoded.constraint[-1], setup.text_positions[-1]]
    wanted = reference_map(vlm, setup, "mlp", 1, noise=noise, positions=positions)
    assert wanted.std() > 0.01
    found = run_trace(setup, modules="mlp").restored.sel(module="mlp", token=positions)
    assert np.abs(found - wanted).max() <= TOLERANCE


def test_another_picture_for_a_quantised_model_equals_plain_hooks_on_it(vlm):
    question = random_question()
    other = np.random.default_rng(9).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    trace = mw.causal_trace(vlm, question, corruption=OtherImage(other), modules="mlp", groups=["visual"])
    assert trace.group_restored is not None
    inputs = vlm.encode(mw.Question(other, question.text, constraint=question.constraint)).inputs
    clean, visual = recorded(vlm, trace.setup.encoded.inputs), list(trace.groups[0].positions)
    for layer in range(trace.layers):
        logits = reference_logits(vlm, inputs, {(layer, "mlp"): (visual, clean[layer, "mlp"][visual])})[-1]
        wanted = float(logits.softmax(-1)[trace.setup.answer_id])
        assert abs(float(trace.group_restored[0, layer, 0]) - wanted) <= TOLERANCE

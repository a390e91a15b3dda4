"""Maps in bfloat16 and float16: as near to float32 as plain hooks in the same precision, and mistakes that are not taken for rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.errors import TraceError
from mllm_widgets.tracing import packing, prepare_trace, run_trace
from mllm_widgets.tracing.continuation import Continuation
from mllm_widgets.tracing.packing import Layout, corrupted_run

from .families.rounding import rounding
from .families.tiny import in_dtype, tiny
from .random_llava import build_model, build_processor, random_question

# Stated in benchmarks/RESULTS.md, where every family's own figures are: P_restored of ours less that of plain hooks, both in this precision.
BOUND = {torch.bfloat16: 0.03, torch.float16: 0.006}
# packed; packed with multimodal positions; rows of a batch with sliding windows; cross-attention
FAMILIES = [
    ("LLaVA-1.5", "Phi"),
    ("Qwen2.5-VL", "Qwen2"),
    ("LLaVA-1.5", "Mistral, sliding"),
    ("Mllama (Llama 3.2 Vision)", "Llama"),
]
DTYPES = pytest.mark.parametrize("dtype", BOUND, ids=["bfloat16", "float16"])


@DTYPES
@pytest.mark.parametrize("family", FAMILIES, ids=" ".join)
def test_maps_are_as_near_to_float32_as_plain_hooks_are(family, dtype):
    measured = rounding(*tiny(*family), dtype, rows=(1,))
    assert measured.exact.std() > 0.005
    assert measured.to_plain.max() <= BOUND[dtype]
    assert measured.to_exact.max() <= measured.plain_to_exact.max() + BOUND[dtype] / 3
    # the rounding of the corrupted run shifts all cells alike, and each kind of CPU does it in its own way: how far apart runs lie is bounded above
    assert np.median(apart(measured.ours, measured)) <= 1.5 * np.median(apart(measured.plain[1], measured)) + 1e-4


def apart(values, measured):
    """|values - float32|, without the shift that most cells have in common."""
    differences = values - measured.exact
    return np.abs(differences - np.median(differences))


@DTYPES
def test_half_precision_is_packed_where_float32_is(dtype):
    """Rounding is not taken for a model that packing is wrong for, which would be slow and say nothing."""
    for family in FAMILIES[:2]:
        vlm, question = tiny(*family)
        setup = prepare_trace(in_dtype(vlm, dtype)[0], question, corruption="Taj Mahal")
        with setup.vlm.running():
            assert corrupted_run(setup) is not None


@DTYPES
@pytest.mark.parametrize("family", [("LLaVA-1.5", "Phi"), ("LLaVA-OneVision", "Qwen2")], ids=" ".join)
def test_positions_wrong_by_one_are_not_taken_for_rounding(family, dtype, monkeypatch):
    """The two models that mind least: P(answer) moves by 0.08 and 0.04."""
    vlm, question = tiny(*family)
    half, right = in_dtype(vlm, dtype)[0], Continuation.inputs

    def shifted(self, embeds):
        inputs = right(self, embeds)
        return {**inputs, "position_ids": inputs["position_ids"] + 1}

    prepare_trace(half, question, corruption="Taj Mahal")
    monkeypatch.setattr(Continuation, "inputs", shifted)
    with pytest.raises(TraceError, match="log-probabilities move by"):
        prepare_trace(half, question, corruption="Taj Mahal")


@DTYPES
@pytest.mark.parametrize("mistake", ["copies see each other", "half of the prefix is hidden"])
def test_a_wrong_mask_is_not_taken_for_rounding(dtype, mistake, monkeypatch):
    """Of all tiny models this one minds least: probabilities move by 0.06 and 0.03."""
    vlm, question = tiny("LLaVA-1.5", "Phi")
    right = Layout.visible

    def wrong(self, start):
        seen = right(self, start)
        if mistake == "copies see each other":
            count = len(self.copy)
            seen[:, -count:] = np.tril(np.ones((count, count), dtype=bool))
        else:
            seen[:, : start // 2] = False
        return seen

    monkeypatch.setattr(packing.Layout, "visible", wrong)
    setup = prepare_trace(in_dtype(vlm, dtype)[0], question, corruption="Taj Mahal")
    with setup.vlm.running():
        assert corrupted_run(setup) is None


@pytest.fixture
def float16():
    """A model of one's own, for it will be spoiled."""
    model = build_model(len(build_processor().tokenizer))
    return in_dtype(mw.load(model, build_processor()), torch.float16)[0]


def test_a_clean_run_that_overflows_is_refused_with_a_sentence(float16):
    with torch.no_grad():  # sums beyond 65,504
        float16.layers[2].mlp.down_proj.weight *= 3e4
    with pytest.raises(TraceError, match=r"probability is nan in the clean run; the model overflows in torch\.float16"):
        prepare_trace(float16, random_question(), corruption="Taj Mahal")


def test_restored_runs_that_overflow_are_reported_and_not_drawn(float16):
    setup, seen = prepare_trace(float16, random_question(), corruption="Taj Mahal"), []
    with torch.inference_mode():
        for outputs in setup.clean_outputs.values():
            outputs *= 6e4
            assert torch.isinf(outputs).any()
    with pytest.raises(TraceError, match=r"not finite; the model overflows in torch\.float16"):
        run_trace(setup, on_cells=seen.append)
    assert not seen

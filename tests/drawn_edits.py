"""Edits with a key and a residual that were drawn, on any model: for tests of what becomes of an edit, whatever it says."""

from __future__ import annotations

from typing import Any

import torch

import mllm_widgets as mw
from mllm_widgets.vlm.side_terms import FixedTerm, RidgeTerm


@torch.no_grad()
def logits_of(vlm: mw.VLM, question: mw.Question) -> torch.Tensor:
    """What the Hugging Face model itself gives."""
    return vlm.model(**vlm.encode(question).inputs).logits


def drawn(vlm: mw.VLM, question: mw.Question, layer: int, seed: int = 0, lam: float = 0.5, dense: bool = False) -> Any:
    """A rank-one edit, or with `dense` a change of the whole weight."""
    draw = torch.Generator().manual_seed(seed)
    projection: Any = vlm.projection(layer)
    d, d_ff = projection.weight.shape[::-1] if type(projection).__name__ == "Conv1D" else projection.weight.shape
    term = RidgeTerm(layer, torch.randn(d_ff, generator=draw), 0.5 * torch.randn(d, generator=draw), lam)
    if dense:
        term = FixedTerm(layer, 0.01 * torch.randn(d, d_ff, generator=draw))
    answer = mw.ask(vlm, question, max_new_tokens=1)
    return mw.Edit(vlm, question, "a", (5,), layer, 0, term, answer, (1.0,), (0.5,), 0.5)

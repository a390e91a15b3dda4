"""What the model, as it is edited now, would say after a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mllm_widgets.tracing.continuation import brought
from mllm_widgets.tracing.score import answered
from mllm_widgets.vlm.families.base import part
from mllm_widgets.vlm.model import VLM, Encoding


def last_logits(vlm: VLM, encoded: Encoding, ids: Sequence[int], gradients: bool = False) -> torch.Tensor:
    """Logits (tokens, vocabulary) before each of an answer's tokens, the tokens before it said.

    gradients: let them flow to what is applied to the model (`VLM.running`).
    """
    inputs = answered(vlm, encoded, list(ids)).inputs
    with vlm.running(gradients):
        nn = vlm.nnsight
        with nn.trace(**inputs, use_cache=False, logits_to_keep=len(ids)):
            brought(part(nn, vlm.family.decoder).output, inputs["input_ids"].device)
            logits = nn.output.logits[0, -len(ids) :].save()
    return logits

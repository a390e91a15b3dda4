"""The corrupted suffix, run once and kept as far as restored runs are equal to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nnsight
import torch
from transformers.cache_utils import Cache, DynamicLayer

from mllm_widgets.vlm.families.base import part
from mllm_widgets.vlm.model import VLM

from .continuation import Continuation, brought
from .memory import in_parts

# These add the mask they are given to the scores.  Flash attention knows no such mask, and what others do with it is unknown.
MASKED_ATTENTION = ("sdpa", "eager")


class FixedLayer(DynamicLayer):
    """One layer's keys and values, which a pass sees beside its own and cannot change."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, keys: torch.Tensor, values: torch.Tensor):
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The stored keys and values with new ones after them, (1, heads, positions, width) each; nothing is stored."""
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


@dataclass(frozen=True, eq=False)
class CorruptedRun:
    """The corrupted run, as far as restored runs are equal to it.

    entering: for each layer, the residual stream that enters it, (suffix, width).
    keys: for each layer, keys and values (1, heads, start + suffix, width).
    logits: (scored, vocabulary) at the last positions.
    """

    entering: tuple[torch.Tensor, ...]
    keys: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    logits: torch.Tensor

    def cache(self, length: int) -> Cache:
        """The first `length` positions' keys and values, not to be changed."""
        return Cache(layers=[FixedLayer(k[..., :length, :], v[..., :length, :]) for k, v in self.keys])


def can_pack(vlm: VLM, continuation: Continuation) -> bool:
    """Can restored runs lie in one sequence, as far as can be known without running anything?"""
    decoder = part(vlm.model, vlm.family.decoder)
    return (
        continuation.prefix is not None
        and vlm.family.is_causal(vlm.model)
        # what a family adds may belong to positions, which a packed sequence has in another order
        and not continuation.context
        and all(type(layer) is DynamicLayer for layer in continuation.prefix.layers)
        and getattr(decoder.config, "_attn_implementation", None) in MASKED_ATTENTION
    )


def run_alone(vlm: VLM, continuation: Continuation, embeds: torch.Tensor) -> tuple[torch.Tensor, CorruptedRun | None]:
    """A suffix (1, suffix, width) as a row of its own: logits (scored, vocabulary), and what a packed run needs of it.

    The latter is None if a layer gives more than the residual stream.  The caller holds the model.
    """
    nn = vlm.nnsight
    entering: list[torch.Tensor] = []
    plain: list[bool] = []
    with nn.trace(**continuation.inputs(embeds)):
        for layer in range(len(vlm.layers)):
            entering.append(nnsight.save(part(nn, vlm.site(layer, "residual")).input[0].clone()))
            plain.append(nnsight.save(isinstance(part(nn, vlm.site(layer, "residual")).output, torch.Tensor)))
        after = nnsight.save(brought(part(nn, vlm.family.decoder).output, embeds.device))
        logits = nn.output.logits[0].save()
    if not all(plain):
        return logits, None
    keys = tuple((layer.keys, layer.values) for layer in after.cache.layers)
    return logits, CorruptedRun(tuple(entering), keys, logits)


def run_suffixes(vlm: VLM, continuation: Continuation, embeds: torch.Tensor, rows: int) -> torch.Tensor:
    """Logits (suffixes, scored, vocabulary) of suffixes (suffixes, suffix, width), at most `rows` of them in one forward pass.

    Where memory runs out it goes on with half as many rows.
    """
    return torch.cat(in_parts(len(embeds), rows, lambda some: run_batch(vlm, continuation, embeds[some])))


def run_batch(vlm: VLM, continuation: Continuation, embeds: torch.Tensor) -> torch.Tensor:
    """Logits (rows, scored, vocabulary) of suffixes in one forward pass."""
    nn = vlm.nnsight
    with nn.trace(**continuation.inputs(embeds)):
        for layer in range(len(vlm.layers)):
            continuation.add_deeper(vlm, layer)
        brought(part(nn, vlm.family.decoder).output, embeds.device)
        logits = nn.output.logits.save()
    return logits  # noqa: RET504 - a trace cannot return

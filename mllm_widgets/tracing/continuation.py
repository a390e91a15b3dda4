"""Running many rows from where they begin to differ.

What all rows of a question have in common is computed once, in the clean run: keys and values of the prefix, positions, and whatever else the
family's decoder needs besides embeddings.  A row is then a suffix of embeddings.  Where a family's positions see later ones, nothing may
be shared: the suffix is the whole prompt and there is no prefix.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch

from mllm_widgets.vlm.families.base import DEEPER, part
from mllm_widgets.vlm.model import VLM


@dataclass(frozen=True, eq=False)
class Continuation:
    """What every run of a question shares.

    start: position where suffixes begin.
    prefix: keys and values of the positions before `start` (one row), or None where nothing is shared.
    positions: the decoder's position ids of the suffix, (..., 1, suffix); None where the model counts by itself.
    context: what the family adds, each with a batch dimension of one; its `DEEPER` is of the suffix.
    scored: how many of the last positions' logits are wanted.
    """

    start: int
    prefix: Any = field(repr=False)
    positions: torch.Tensor | None = field(repr=False)
    context: dict[str, torch.Tensor] = field(repr=False)
    scored: int = 1

    def inputs(self, embeds: torch.Tensor) -> dict[str, Any]:
        """Arguments of a trace that runs suffixes (rows, suffix, width); the prefix is copied for every row."""
        rows, suffix = embeds.shape[:2]
        made: dict[str, Any] = {
            "inputs_embeds": embeds,
            # nnsight would make a mask of the suffix's length alone, which hides the prefix
            "attention_mask": torch.ones(rows, self.start + suffix, dtype=torch.long, device=embeds.device),
            "use_cache": self.prefix is not None,
            "logits_to_keep": self.scored,
        }
        if self.prefix is not None:
            cache = copy.deepcopy(self.prefix)
            cache.batch_repeat_interleave(rows)
            made["cache"] = cache
        if self.positions is not None:
            made["position_ids"] = self.positions.expand(*self.positions.shape[:-2], rows, suffix)
        for name, value in self.context.items():
            if name != DEEPER:
                made[name] = value.expand(rows, *value.shape[1:])
        if self.context or (self.positions is not None and self.positions.dim() > 2):
            # nnsight would split multimodal positions (3, rows, suffix) by their axes, and have token types of the suffix alone; beside
            # a tensor it does not know, it hands everything to the model as it is
            made["logits_to_keep"] = torch.arange(-self.scored, 0, device=embeds.device)
        return made

    def add_deeper(self, vlm: VLM, layer: int) -> None:
        """Add what the decoder itself would after a layer; called in a trace of suffixes when nothing else of that layer is to be asked for."""
        deeper = self.context.get(DEEPER)
        if deeper is not None and layer < deeper.shape[2]:
            block = hidden(part(vlm.nnsight, vlm.site(layer, "residual")).output)
            block += deeper[:, :, layer].to(block)


def of_suffix(context: dict[str, torch.Tensor], start: int) -> dict[str, torch.Tensor]:
    """A family's context for runs of the positions from `start` on.

    What the model is handed stays whole: masks are made of it for prefix and suffix.
    """
    deeper = context.get(DEEPER)
    if deeper is None:
        return context
    others = {name: value for name, value in context.items() if name != DEEPER}
    deeper = deeper[:, start:]
    # all of it lies in the prefix where the picture does
    return {**others, DEEPER: deeper.clone()} if deeper.any() else others


def brought(decoded: Any, device: torch.device) -> Any:
    """A decoder's output, its hidden states where the model takes its inputs.

    A decoder may end on another device, and the positions whose logits are asked for are inputs: accelerate puts them with the others.
    """
    if decoded.last_hidden_state.device != device:
        decoded.last_hidden_state = decoded.last_hidden_state.to(device)
    return decoded


def drift(found: torch.Tensor, expected: torch.Tensor) -> float:
    """How far distributions (..., vocabulary) lie from those expected: |difference| / |expected| of log-probabilities, each about its mean.

    The largest, where there are several.  It tells rounding from mistakes where a difference of probabilities does not: see "Precision" in
    benchmarks/RESULTS.md.

    Examples
    --------
    >>> drift(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.5, 0.3, 0.2]))
    0.0
    """
    one, other = (p.float().clamp_min(1e-30).log() for p in (found, expected))
    one, other = (logs - logs.mean(-1, keepdim=True) for logs in (one, other))
    return float(((one - other).norm(dim=-1) / other.norm(dim=-1).clamp_min(1e-6)).max())


def is_coarse(model: Any) -> bool:
    """Does a model compute in less than float32?  One with quantised weights may, whatever its dtype."""
    return model.dtype not in (torch.float32, torch.float64) or bool(getattr(model, "is_quantized", False))


def hidden(output: Any) -> Any:
    """The hidden states of a sub-block's output, which some classes wrap in a tuple."""
    return output[0] if isinstance(output, tuple) else output

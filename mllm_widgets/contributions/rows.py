"""One query's row of an attention, read from the attention itself.

Families differ in what happens to queries, keys and values (norms, rotary positions in one or three dimensions, partial rotation, groups of heads,
biases), and in what is done with them (scale, soft cap, sliding window, masks both ways).  All Hugging Face classes then make the same call,

    attention_interface(module, query, key, value, attention_mask, scaling=..., softcap=..., sliding_window=...)

so what is read here is that call's arguments, and the registry of families need say nothing more than where the attention and its output
projection are.  How they are read: one ordinary forward pass runs, with the user's own attention implementation; when an attention has
given its output, a *shallow copy* of it, whose configuration names another attention function, is run on the very inputs it got, and stops
at that call.  Tried beside it (transformers 5.24, nnsight 0.8.1):

* nnsight's `.source`, which reads the same call in place, rewrites the forward of the user's modules for good, and the operation's name counts
  assignments (`attention_interface_1`), so it changes with the wording of a class;
* projections' outputs plus rotary functions: a dozen recipes, one for each family, each a place to be wrong;
* switching `_attn_implementation`, or asking for `output_attentions`: changes the user's model, and makes (heads, positions, positions).

The copy shares weights and submodules with the original and dies with the call.  It costs the projections of a layer once more.  What is
computed from a row is compared with the output the attention gave, at every layer and target, so a class for which any of this does not hold is
refused, never drawn.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.cache_utils import Cache

from mllm_widgets.errors import FlowError
from mllm_widgets.vlm.model import VLM

READER = "mllm_widgets_reader"
EXACT = {torch.float32: 1e-3, torch.float64: 1e-3}  # of the largest number; half precision rounds every source's vector
ROUNDED = 0.1


@dataclass(frozen=True, eq=False)
class AttentionRows:
    """What some positions (targets) get from all others (sources), of one attention.

    scores: (heads, targets, sources) in float32, what the softmax is taken of; -inf where a source is not seen.
    values: (heads, sources, head width), those of a group of heads repeated.
    output: the projection that takes all heads' results to the residual stream.
    """

    scores: torch.Tensor
    values: torch.Tensor
    output: nn.Module

    @functools.cached_property
    def weights(self) -> torch.Tensor:
        """(heads, targets, sources), attention probabilities in float32."""
        return self.scores.softmax(-1)

    @functools.cached_property
    def bias(self) -> torch.Tensor:
        """(width,), what the output projection adds whatever the sources are; it belongs to none of them."""
        heads, _, width = self.values.shape
        # asked of the projection itself: its parameters may lie on disk until it runs
        return self.output(self.values.new_zeros(1, heads * width))[0]

    def vectors(self, target: int) -> torch.Tensor:
        """a_ij (sources, width) in float32, what each source writes into the target with this index: Basu et al. 2024, eq. 1.

        The sum over heads is taken by the output projection itself, so quantised and adapted ones do what they do.
        """
        mixed = self.weights[:, target, :, None] * self.values.float()
        joined = mixed.transpose(0, 1).flatten(1).to(self.values.dtype)  # (sources, heads x head width)
        return (self.output(joined) - self.bias).float()

    def outputs(self) -> torch.Tensor:
        """(targets, width), what the attention gives at the targets, in the model's precision."""
        mixed = self.weights @ self.values.float()  # (heads, targets, head width)
        return self.output(mixed.transpose(0, 1).flatten(1).to(self.values.dtype))

    def without(self, sources: Sequence[int]) -> AttentionRows:
        """The same rows where the targets do not see some sources; the others take over their attention."""
        blocked = torch.as_tensor(list(sources), device=self.scores.device)
        return replace(self, scores=self.scores.index_fill(-1, blocked, -torch.inf))

    def head_norms(self, targets: int) -> torch.Tensor:
        """|| A_ij^h (x_j W_V^h) W_O^h || (targets, heads, sources), each head by itself, of so many first targets."""
        heads, _, width = self.values.shape
        # the projection of unit vectors is its matrix, of whatever kind it is
        unit = torch.eye(heads * width, dtype=self.values.dtype, device=self.values.device)
        matrix = (self.output(unit) - self.bias).float().view(heads, width, -1)
        sizes = torch.stack([(v.float() @ m).norm(dim=-1) for v, m in zip(self.values, matrix, strict=True)])
        return self.weights[:, :targets].transpose(0, 1) * sizes

    def difference(self, summed: torch.Tensor, given: torch.Tensor) -> float:
        """How far the sum over sources is from what the attention gave (width,), relative to the largest number in it.

        summed: (width,), the sum of a target's `vectors`.
        """
        own = (given - self.bias).float()
        return float((summed - own).abs().max() / own.abs().max().clamp_min(1e-12))


class _Stop(Exception):  # noqa: N818 - no error: nothing after the call is wanted
    """The call has been read."""


class _Config:
    """An attention's configuration, but for the name of the function that computes it."""

    _attn_implementation = READER

    def __init__(self, config: Any):
        self._config = config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)


def _read(module: Any, *args: Any, **options: Any) -> Any:
    """The attention function of a copy."""
    module.reader(*args, **options)
    raise _Stop


AttentionInterface.register(READER, _read)


def rows_of(vlm: VLM, layer: int, args: Any, options: Any, positions: Sequence[int]) -> AttentionRows:
    """The rows of one layer's attention, from the inputs it got; see `read_rows`."""
    attention = vlm.block(layer, "self_attn")
    return read_rows(attention, getattr(attention, vlm.family.output), args, options, positions)


def check_sum(vlm: VLM, layer: int, target: int, difference: float, dtype: torch.dtype) -> None:
    """Raises FlowError if what was computed from rows is not what the attention gave, `difference` away from it."""
    if not difference <= EXACT.get(dtype, ROUNDED):
        raise FlowError(
            f"the contributions of all sources at layer {layer} sum to something else than the attention's output at position {target} "
            f"(relative difference {difference:.2g}), so they would not be exact; {type(vlm.block(layer, 'self_attn')).__name__} does more than "
            f"this package knows, or the model overflows in {dtype}."
        )


def read_rows(
    attention: nn.Module,
    output: nn.Module,
    args: Sequence[Any],
    options: dict[str, Any],
    targets: Sequence[int],
) -> AttentionRows:
    """Rows of an attention, from the inputs it got.

    Parameters
    ----------
    attention, output: the sub-block, and the projection inside it that gives its output.
    args, options: what its forward was called with.
    targets: positions of the queries wanted.  Only their scores are made.

    Raises
    ------
    FlowError: if the class does not compute attention as Hugging Face's do.
    """
    found: list[AttentionRows] = []
    implementation = getattr(getattr(attention, "config", None), "_attn_implementation", None)

    def reader(query, key, value, mask=None, *_rest: Any, **given: Any) -> None:
        mask = given.pop("attention_mask", mask)
        # what eager attention gets as its mask is all that it looks at
        causal = given.pop("is_causal", None)
        causal = getattr(attention, "is_causal", True) if causal is None else causal
        causal = bool(causal) and implementation != "eager" and query.shape[2] > 1
        found.append(_rows(query[0], key[0], value[0], mask, causal, targets, output, given))

    reading = copy.copy(attention)
    reading.config = _Config(attention.config)  # pyright: ignore[reportArgumentType]
    reading.reader = reader  # pyright: ignore[reportArgumentType]
    try:
        # nothing is to be stored once more
        type(attention).forward(
            reading, *map(_without_cache, args), **{k: _without_cache(v) for k, v in options.items()}
        )
    except _Stop:
        return found[0]
    raise FlowError(
        f"the attention of this model ({type(attention).__name__}) does not compute through the attention interface of transformers, so what its "
        "tokens take from each other cannot be read. A model class from outside transformers may do so."
    )


def _without_cache(value: Any) -> Any:
    return None if isinstance(value, Cache) else value


def _rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: Any,
    causal: bool,
    targets: Sequence[int],
    output: nn.Module,
    options: dict[str, Any],
) -> AttentionRows:
    """One row of scores for each target; query (heads, positions, width), key and value (groups, sources, width)."""
    at = torch.as_tensor(list(targets), device=query.device)
    heads, sources = query.shape[0], key.shape[1]
    repeats = heads // key.shape[0]
    key, value = (states.repeat_interleave(repeats, dim=0) for states in (key, value))
    scaling = options.get("scaling")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query[:, at].float() @ key.float().transpose(-1, -2)) * scaling
    softcap = options.get("softcap")
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if isinstance(mask, torch.Tensor) and mask.dim() == 4:
        row = mask[0, :, at, :sources].to(scores.device)  # (1 or heads, targets, sources)
        scores = scores.masked_fill(~row, -torch.inf) if row.dtype == torch.bool else scores + row.float()
    elif mask is not None and not (isinstance(mask, torch.Tensor) and bool((mask != 0).all())):
        raise FlowError(
            f"this model's attention got a mask of a kind that cannot be read by rows ({type(mask).__name__}); expected sdpa, eager or flash attention. "
            "Load it with attn_implementation='sdpa'."
        )
    elif causal:
        source = torch.arange(sources, device=scores.device)
        hidden_from = source[None] > at[:, None].to(scores.device)
        window = options.get("sliding_window")
        if window is not None:
            hidden_from |= source[None] <= at[:, None].to(scores.device) - window
        scores = scores.masked_fill(hidden_from, -torch.inf)
    return AttentionRows(scores, value, output)

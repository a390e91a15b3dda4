"""Many restored runs in one sequence.

A restored run differs from the corrupted one only from the first restored layer up, and from the restored token on.  So a run is a *copy* of
the end of the suffix, which begins at its restored token, and all copies of a pass lie side by side in one sequence:

    keys:     prefix (clean = corrupted) | corrupted suffix | copy 0 | copy 1 | ...
    queries:                                                  copy 0 | copy 1 | ...

A mask lets each copy see the prefix, the corrupted suffix before its own first token, and itself up to the present token.  Position ids start
again with every copy.  Keys and values of prefix and corrupted suffix are stored once, and nothing is copied for a row.  A pass whose first
restored layer is l enters the decoder there, with the residual stream of the corrupted run; the layers below are skipped.

This is exact where the decoder is causal, keeps all keys, and takes a mask of its callers' making.  `corrupted_run` says no otherwise,
and the engine runs rows of a batch instead.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nnsight
import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer

from mllm_widgets.vlm.families.base import part

from .continuation import brought, drift, hidden, is_coarse
from .setup import SITES, TraceSetup

if TYPE_CHECKING:
    from .engine import Write

# These add the mask they are given to the scores.  Flash attention knows no such mask, and what others do with it is unknown.
MASKED_ATTENTION = ("sdpa", "eager")
# Between copies and the corrupted run, by whether a model computes in less than float32.  Measured: rounding 0.000001 in float32, and in
# bfloat16 0.009 at three layers and 0.027 at 32; copies that see each other, or half of the prefix, 0.047 at least at three and 0.1 at 32.
MOST_DRIFT = {False: 1e-3, True: 0.045}


@dataclass(frozen=True)
class Shortcuts:
    """The savings of a pass; tests switch them off one by one, and nothing may change.

    packed: copies in one sequence; otherwise rows of a batch, each with its own copy of the prefix, and none of the others.
    from_layer: enter the decoder at the first restored layer.
    from_token: begin each copy at its restored token.
    answer_only: logits of each copy's last position alone.
    """

    packed: bool = True
    from_layer: bool = True
    from_token: bool = True
    answer_only: bool = True


ALL = Shortcuts()


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
    probabilities: (vocabulary,) at the last position.
    """

    entering: tuple[torch.Tensor, ...]
    keys: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    probabilities: torch.Tensor

    def cache(self, length: int) -> Cache:
        """The first `length` positions' keys and values, not to be changed."""
        return Cache(layers=[FixedLayer(k[..., :length, :], v[..., :length, :]) for k, v in self.keys])


@dataclass(frozen=True)
class Layout:
    """Where copies lie in the packed sequence.

    begins: (copies,) the suffix offset of each copy's first token.
    copy, offset: (tokens,) which copy a packed token belongs to, and its suffix offset.
    base, last: (copies,) packed places of each copy's first and last token.
    """

    begins: np.ndarray
    copy: np.ndarray
    offset: np.ndarray
    base: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, begins: Sequence[int] | np.ndarray, suffix: int) -> Layout:
        """Copies that begin at `begins` and end with the suffix.

        Examples
        --------
        >>> layout = Layout.of([1, 2, 0], suffix=3)
        >>> layout.copy.tolist(), layout.offset.tolist(), layout.last.tolist()
        ([0, 0, 1, 2, 2, 2], [1, 2, 2, 0, 1, 2], [1, 2, 5])
        """
        begins = np.asarray(begins)
        lengths = suffix - begins
        base = np.cumsum(lengths) - lengths
        copy = np.repeat(np.arange(len(begins)), lengths)
        offset = np.arange(len(copy)) - base[copy] + begins[copy]
        return cls(begins, copy, offset, base, base + lengths - 1)

    def place(self, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Packed places of suffix offsets `at` of copies `rows`."""
        return self.base[rows] + at - self.begins[rows]

    def visible(self, start: int) -> np.ndarray:
        """What each packed token sees: bool (tokens, start + begins.max() + tokens)."""
        tokens = np.arange(len(self.copy))
        prefix = np.ones((len(tokens), start), dtype=bool)
        corrupted = np.arange(self.begins.max())[None] < self.begins[self.copy][:, None]
        own = (self.copy[:, None] == self.copy[None]) & (tokens[:, None] >= tokens[None])
        return np.concatenate([prefix, corrupted, own], axis=1)


_RUNS: weakref.WeakKeyDictionary[TraceSetup, CorruptedRun | None] = weakref.WeakKeyDictionary()


def corrupted_run(setup: TraceSetup) -> CorruptedRun | None:
    """The corrupted run of a setup, made once; None if its cells must be rows of a batch.

    The caller holds the model.
    """
    if setup not in _RUNS:
        run = _record(setup) if _can_pack(setup) else None
        _RUNS[setup] = run if run is not None and _agrees(setup, run) else None
    return _RUNS[setup]


def run_packed(
    setup: TraceSetup,
    run: CorruptedRun,
    begins: Sequence[int] | np.ndarray,
    first_layer: int,
    writes: Sequence[Write],
    shortcuts: Shortcuts = ALL,
) -> torch.Tensor:
    """Probabilities (copies, vocabulary) at each copy's last position, in one forward pass.

    Parameters
    ----------
    begins: (copies,) suffix offset at which each copy begins; nothing before it is restored.
    first_layer: the decoder is entered here; nothing below it is restored.
    writes: as in `run_rows`, a row being a copy.
    """
    layout = Layout.of(begins, setup.corrupted_embeds.shape[1])
    device = setup.corrupted_embeds.device
    offset = torch.as_tensor(layout.offset, device=device)
    last = torch.as_tensor(layout.last, device=device)
    inputs = {
        "inputs_embeds": setup.corrupted_embeds[:, offset],
        "attention_mask": _additive(layout.visible(setup.start), setup.corrupted_embeds),
        "position_ids": None if setup.continuation.positions is None else setup.continuation.positions[..., offset],
        "cache": run.cache(setup.start + int(layout.begins.max())),
        "use_cache": True,
        "logits_to_keep": last if shortcuts.answer_only else torch.arange(len(offset), device=device),
    }
    entering = run.entering[first_layer]
    entering = entering[offset.to(entering.device)][None]
    places = [torch.as_tensor(layout.place(write.rows.cpu().numpy(), write.at.cpu().numpy())) for write in writes]
    # nnsight serves requests in the order in which the model runs
    ordered = sorted(zip(writes, places, strict=True), key=lambda pair: (pair[0].layer, SITES.index(pair[0].module)))
    vlm, nn = setup.vlm, setup.vlm.nnsight
    with nn.trace(**inputs):
        for layer in range(first_layer):
            part(nn, _layer(vlm, layer)).skip(entering)
        for write, at in ordered:
            block = hidden(part(nn, vlm.site(write.layer, write.module)).output)
            block[0, at.to(block.device)] = write.values.to(block)
        brought(part(nn, vlm.family.decoder).output, device)
        logits = nn.output.logits[0].save()
    if not shortcuts.answer_only:
        logits = logits[last.to(logits.device)]
    return logits.float().softmax(-1)


def _layer(vlm: Any, layer: int) -> str:
    """Dotted path from the model to a decoder layer."""
    return f"{vlm.family.decoder}.{vlm.family.layers}.{layer}"


def _additive(visible: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """A mask that is added to attention scores: (1, 1, queries, keys), 0 where visible."""
    mask = torch.full(visible.shape, torch.finfo(like.dtype).min, dtype=like.dtype)
    mask[torch.as_tensor(visible)] = 0
    return mask[None, None].to(like.device)


def _can_pack(setup: TraceSetup) -> bool:
    """Is packing exact, as far as can be known without running anything?"""
    shared = setup.continuation
    decoder = part(setup.vlm.model, setup.vlm.family.decoder)
    return (
        shared.prefix is not None
        and setup.vlm.family.is_causal(setup.vlm.model)
        and setup.corrupted_embeds.shape[0] == 1
        # what a family adds may belong to positions, which a packed sequence has in another order
        and not shared.context
        and all(type(layer) is DynamicLayer for layer in shared.prefix.layers)
        and getattr(decoder.config, "_attn_implementation", None) in MASKED_ATTENTION
    )


def _record(setup: TraceSetup) -> CorruptedRun | None:
    """The corrupted suffix as a row, with all that a copy needs of it; None if a layer gives more than the residual stream."""
    vlm, nn = setup.vlm, setup.vlm.nnsight
    entering: list[torch.Tensor] = []
    plain: list[bool] = []
    with nn.trace(**setup.continuation.inputs(setup.corrupted_embeds)):
        for layer in range(len(vlm.layers)):
            entering.append(nnsight.save(part(nn, _layer(vlm, layer)).input[0].clone()))
            plain.append(nnsight.save(isinstance(part(nn, _layer(vlm, layer)).output, torch.Tensor)))
        after = nnsight.save(brought(part(nn, vlm.family.decoder).output, setup.corrupted_embeds.device))
        logits = nn.output.logits[0, -1].save()
    if not all(plain):
        return None
    keys = tuple((layer.keys, layer.values) for layer in after.cache.layers)
    return CorruptedRun(tuple(entering), keys, logits.float().softmax(-1))


def _agrees(setup: TraceSetup, run: CorruptedRun) -> bool:
    """Do copies with nothing restored give the corrupted run's answer?

    Judges, on this very model, all that packing takes for granted: that the mask and the positions are used as they are given, that the
    decoder may be entered above its first layer, and that logits come from the positions asked for.
    """
    suffix = setup.corrupted_embeds.shape[1]
    begins = sorted({0, suffix // 2, suffix - 1})
    try:
        copies = run_packed(setup, run, begins, min(1, len(setup.vlm.layers) - 1), [])
    except (TypeError, ValueError, IndexError):  # a decoder that does not take such inputs
        return False
    if copies.shape != (len(begins), len(run.probabilities)):
        return False
    return drift(copies, run.probabilities) <= MOST_DRIFT[is_coarse(setup.vlm.model)]

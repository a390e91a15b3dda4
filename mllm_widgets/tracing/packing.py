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
from typing import TYPE_CHECKING

import numpy as np
import torch

from mllm_widgets.vlm.families.base import part

from .continuation import brought, drift, hidden, is_coarse
from .runs import SITES
from .setup import TraceSetup
from .suffix import CorruptedRun, can_pack, run_alone

if TYPE_CHECKING:
    from .engine import Write

# Between copies and the corrupted run, by whether a model computes in less than float32.  Measured: rounding 0.000001 in float32, and in
# bfloat16 0.009 at three layers and 0.027 at 32; copies that see each other, or half of the prefix, 0.047 at least at three and 0.1 at 32.
MOST_DRIFT = {False: 1e-3, True: 0.045}


@dataclass(frozen=True)
class Shortcuts:
    """The savings of a pass; tests switch them off one by one, and nothing may change.

    packed: copies in one sequence; otherwise rows of a batch, each with its own copy of the prefix, and none of the others.
    from_layer: enter the decoder at the first restored layer.
    from_token: begin each copy at its restored token.
    answer_only: logits of each copy's scored positions alone.
    """

    packed: bool = True
    from_layer: bool = True
    from_token: bool = True
    answer_only: bool = True


ALL = Shortcuts()


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
    """The corrupted run of a setup with one draw, made once; None if its cells must be rows of a batch.

    The caller holds the model.
    """
    if not can_pack(setup.vlm, setup.continuation):
        return None
    if setup not in _RUNS:
        run = setup.corrupted_run or run_alone(setup.vlm, setup.continuation, setup.corrupted_embeds)[1]
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
    """Logits (copies, scored, vocabulary) at each copy's last positions, in one forward pass.

    Parameters
    ----------
    begins: (copies,) suffix offset at which each copy begins; nothing before it is restored.
    first_layer: the decoder is entered here; nothing below it is restored.
    writes: as in `run_rows`, a row being a copy.
    """
    layout = Layout.of(begins, setup.corrupted_embeds.shape[1])
    device = setup.corrupted_embeds.device
    offset = torch.as_tensor(layout.offset, device=device)
    scored = setup.continuation.scored
    last = torch.as_tensor((layout.last[:, None] + np.arange(1 - scored, 1)).ravel(), device=device)
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
            part(nn, vlm.site(layer, "residual")).skip(entering)
        for write, at in ordered:
            block = hidden(part(nn, vlm.site(write.layer, write.module)).output)
            block[0, at.to(block.device)] = write.values.to(block)
        brought(part(nn, vlm.family.decoder).output, device)
        logits = nn.output.logits[0].save()
    if not shortcuts.answer_only:
        logits = logits[last.to(logits.device)]
    return logits.unflatten(0, (len(layout.last), scored))


def _additive(visible: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """A mask that is added to attention scores: (1, 1, queries, keys), 0 where visible."""
    mask = torch.full(visible.shape, torch.finfo(like.dtype).min, dtype=like.dtype)
    mask[torch.as_tensor(visible)] = 0
    return mask[None, None].to(like.device)


def _agrees(setup: TraceSetup, run: CorruptedRun) -> bool:
    """Do copies with nothing restored give the corrupted run's answer?

    Judges, on this very model, all that packing takes for granted: that the mask and the positions are used as they are given, that the
    decoder may be entered above its first layer, and that logits come from the positions asked for.
    """
    end = setup.corrupted_embeds.shape[1] - setup.continuation.scored
    begins = sorted({0, end // 2, end})
    try:
        logits = run_packed(setup, run, begins, min(1, len(setup.vlm.layers) - 1), [])
    except (TypeError, ValueError, IndexError):  # a decoder that does not take such inputs
        return False
    if logits.shape[2:] != run.logits.shape[1:]:
        return False
    copies, corrupted = logits.float().softmax(-1), run.logits.float().softmax(-1)
    return drift(copies, corrupted) <= MOST_DRIFT[is_coarse(setup.vlm.model)]

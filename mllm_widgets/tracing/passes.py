"""How many cells go in one forward pass, and what happens when they are too many.

A pass is wide enough that its fixed cost is small, narrow enough that what a mask hides stays cheap, and fits in the memory that is free.
When memory runs out all the same, the pass is halved and the map goes on; the size that fitted is kept for the next map of the same runs.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from mllm_widgets.vlm.families.base import part

from .engine import Cells
from .memory import give_memory_back, is_out_of_memory
from .packing import corrupted_run
from .setup import TraceSetup

FIRST_CELLS = 24  # in the first of several passes, so that a picture can be drawn early
# Tokens of a packed pass: what copies cannot see of each other is computed and thrown away, so their tokens are at most a third of all others,
# but never so few that what a pass costs whatever is in it counts.
HIDDEN_SHARE = 3
FEWEST_TOKENS = {"cpu": 384, "cuda": 2048}
MOST_TOKENS = {"cpu": 512, "cuda": 4096}
MEMORY_SHARE = 0.5  # of what is free

_FITTED: weakref.WeakKeyDictionary[TraceSetup, int] = weakref.WeakKeyDictionary()


def in_passes(
    setup: TraceSetup, cells: Cells, most: int, compute: Callable[[Cells], np.ndarray]
) -> Iterator[tuple[Cells, np.ndarray]]:
    """Cells and their values, pass by pass, in order.

    Parameters
    ----------
    most: cells in one pass, at most.
    compute: values (n,) of a pass of cells; where it runs out of memory it is called again with half of them.

    Raises
    ------
    Whatever `compute` raises; that it is out of memory only if it was so with a single cell.
    """
    most = min(most, _FITTED.get(setup, most))
    done, halved = 0, False
    while done < len(cells):
        count = min(pass_size(setup, cells, done, most), len(cells) - done)
        batch = cells[slice(done, done + count)]
        values = None
        try:
            values = compute(batch)
        except (RuntimeError, MemoryError) as error:
            if count == 1 or not is_out_of_memory(error):
                raise
        if values is None:  # outside of `except`: the error holds on to what the pass had made
            most, halved = max(1, count // 2), True
            give_memory_back()
            continue
        if halved:
            _FITTED[setup], halved = most, False
        done += count
        yield batch, values


def pass_size(setup: TraceSetup, cells: Cells, at: int, most: int) -> int:
    """How many of `cells`, from number `at` on, the next pass takes: 1 to `most`."""
    with setup.vlm.running():
        packed = corrupted_run(setup.draws[0]) is not None
    free = free_bytes(setup.corrupted_embeds.device)
    suffix = setup.corrupted_embeds.shape[1]
    if not packed:
        fits = most if free is None else int(free * MEMORY_SHARE // row_bytes(setup))
        return _early(max(1, min(most, fits)), at, cells)
    # a pass enters at its lowest layer: where the next cells begin again from below, another pass begins
    falls = np.flatnonzero(np.diff(cells.layer[at:]) < 0)
    lengths = suffix - (cells.position[at : at + (int(falls[0]) + 1 if len(falls) else len(cells))] - setup.start)
    budget = token_budget(setup.start + suffix, setup.corrupted_embeds.device.type)
    while free is not None and budget > suffix and packed_bytes(setup, budget) > free * MEMORY_SHARE:
        budget //= 2
    even = lengths.sum() / math.ceil(
        lengths.sum() / budget
    )  # no small pass at the end, which costs as much as a large one
    count = max(1, int(np.searchsorted(np.cumsum(lengths), even, side="right")))
    return _early(min(count, most), at, cells)


def _early(count: int, at: int, cells: Cells) -> int:
    return min(count, FIRST_CELLS) if at == 0 and count < len(cells) else count


def token_budget(keys: int, device: str) -> int:
    """Tokens of a packed pass beside `keys` stored ones.

    Examples
    --------
    >>> token_budget(80, "cpu"), token_budget(597, "cpu"), token_budget(1200, "cpu"), token_budget(597, "cuda")
    (384, 384, 400, 2048)
    """
    fewest, most = (limits.get(device, limits["cuda"]) for limits in (FEWEST_TOKENS, MOST_TOKENS))
    return min(most, max(fewest, keys // HIDDEN_SHARE))


def token_bytes(setup: TraceSetup, keys: int) -> int:
    """Bytes a pass needs at its widest layer for each token that sees `keys` others, rounded up: attention scores are counted as stored."""
    config = part(setup.vlm.model, setup.vlm.family.decoder).config
    width = setup.corrupted_embeds.shape[-1]
    inner = getattr(config, "intermediate_size", None) or 4 * width
    heads = getattr(config, "num_attention_heads", 1)
    return (12 * width + 3 * inner + keys) * setup.corrupted_embeds.element_size() + 4 * heads * keys


def packed_bytes(setup: TraceSetup, tokens: int) -> int:
    """Bytes a packed pass needs besides the weights and the stored keys and values."""
    keys = setup.start + setup.corrupted_embeds.shape[1] + tokens
    return tokens * token_bytes(setup, keys)


def row_bytes(setup: TraceSetup) -> int:
    """Bytes one row of a batch needs, its copy of the prefix's keys and values included."""
    suffix = setup.corrupted_embeds.shape[1]
    layers = [] if setup.continuation.prefix is None else setup.continuation.prefix.layers
    stored = sum(t.numel() * t.element_size() for layer in layers for t in (layer.keys, layer.values) if t is not None)
    return stored + suffix * token_bytes(setup, setup.start + suffix)


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be had; None where nobody says."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        # what torch holds and does not use is free, too
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None

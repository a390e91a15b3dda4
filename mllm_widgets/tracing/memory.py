"""Memory that runs out: how an error says so, and giving back what nobody holds."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

Part = TypeVar("Part")


def is_out_of_memory(error: BaseException) -> bool:
    """Does an error say that memory ran out?  On a CPU torch raises a plain RuntimeError for it."""
    said = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and ("not enough memory" in said or "out of memory" in said)
    )


def give_memory_back() -> None:
    """Free what no one holds any longer, here and on a GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_parts(count: int, most: int, run: Callable[[slice], Part]) -> list[Part]:
    """`run` for slices of `count` rows, at most `most` at a time; where memory runs out it goes on with half as many.

    Examples
    --------
    >>> in_parts(5, 2, lambda rows: (rows.start, rows.stop))
    [(0, 2), (2, 4), (4, 5)]
    """
    found: list[Part] = []
    done = 0
    while done < count:
        rows = min(most, count - done)
        made: list[Part] = []
        try:
            made.append(run(slice(done, done + rows)))
        except (RuntimeError, MemoryError) as error:
            if rows == 1 or not is_out_of_memory(error):
                raise
        if not made:  # outside of `except`: the error holds on to what the pass had made
            most = max(1, rows // 2)
            give_memory_back()
            continue
        found += made
        done += rows
    return found

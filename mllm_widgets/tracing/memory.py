"""Memory that runs out: how an error says so, and giving back what nobody holds."""

from __future__ import annotations

import gc

import torch


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

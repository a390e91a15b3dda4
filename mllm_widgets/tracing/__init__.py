"""MultimodalCausalTrace: corrupt the words that point at the picture, restore one sub-block output, score the answer."""

from .causal_trace import DEFAULT_CORRUPTIONS, MODULES, causal_trace, prepare_trace, run_trace
from .corruption import Corruption, EmbeddingNoise, RepeatedToken, TokenSwap
from .setup import TraceSetup

__all__ = [
    "DEFAULT_CORRUPTIONS",
    "MODULES",
    "Corruption",
    "EmbeddingNoise",
    "RepeatedToken",
    "TokenSwap",
    "TraceSetup",
    "causal_trace",
    "prepare_trace",
    "run_trace",
]

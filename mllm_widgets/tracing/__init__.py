"""MultimodalCausalTrace: corrupt the words that point at the picture (or the picture), restore one sub-block output, score the answer."""

from .causal_trace import MODULES, causal_trace, prepare_trace, run_trace, trace_groups, trace_inputs
from .corruption import Corruption, EmbeddingNoise, OtherImage, PixelNoise, RepeatedToken, TokenSwap
from .groups import Region
from .setup import TraceSetup

__all__ = [
    "MODULES",
    "Corruption",
    "EmbeddingNoise",
    "OtherImage",
    "PixelNoise",
    "Region",
    "RepeatedToken",
    "TokenSwap",
    "TraceSetup",
    "causal_trace",
    "prepare_trace",
    "run_trace",
    "trace_groups",
    "trace_inputs",
]

"""Ways to corrupt a question: other words in the place of a constraint, noise on input embeddings, another picture, noise on its pixels.

A corruption says which positions it changes and what stands there instead (`Plan`); everything after follows from that.  Each object is a
few plain values, so the same corruption can be given to any question.
"""

from .base import Corruption, Plan, as_corruption
from .noise import EmbeddingNoise, embedding_std
from .pictures import OtherImage, PixelNoise
from .words import RepeatedToken, TokenSwap, fit, phrases_for

__all__ = [
    "Corruption",
    "EmbeddingNoise",
    "OtherImage",
    "PixelNoise",
    "Plan",
    "RepeatedToken",
    "TokenSwap",
    "as_corruption",
    "embedding_std",
    "fit",
    "phrases_for",
]

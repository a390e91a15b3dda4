"""From the picture to the words: what tokens write into others through attention, and what the answer needs of it."""

from .compute import attention_contributions
from .knockout import Knockout, attention_knockout
from .lens import Lens, logit_lens
from .result import Contributions, CrossContributions, Sink
from .signal import Auroc, CorrectnessSignal, auroc, constraint_to_last, correctness_signal

__all__ = [
    "Auroc",
    "Contributions",
    "CorrectnessSignal",
    "CrossContributions",
    "Knockout",
    "Lens",
    "Sink",
    "attention_contributions",
    "attention_knockout",
    "auroc",
    "constraint_to_last",
    "correctness_signal",
    "logit_lens",
]

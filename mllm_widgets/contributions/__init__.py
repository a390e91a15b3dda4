"""From the picture to the words: what tokens write into others through attention, and what the answer needs of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mllm_widgets.lazily import lazily

if TYPE_CHECKING:
    from .compute import attention_contributions
    from .controls import CONTROLS, control_question
    from .knockout import attention_knockout
    from .lens import logit_lens
    from .result import Auroc, Contributions, CorrectnessSignal, CrossContributions, Sink
    from .said import Knockout, Lens
    from .signal import auroc, constraint_to_last, correctness_signal

__getattr__ = lazily(
    __name__,
    {
        "CONTROLS": "controls",
        "Auroc": "result",
        "Contributions": "result",
        "CorrectnessSignal": "result",
        "CrossContributions": "result",
        "Knockout": "said",
        "Lens": "said",
        "Sink": "result",
        "attention_contributions": "compute",
        "attention_knockout": "knockout",
        "auroc": "signal",
        "constraint_to_last": "signal",
        "control_question": "controls",
        "correctness_signal": "signal",
        "logit_lens": "lens",
    },
)

__all__ = [
    "CONTROLS",
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
    "control_question",
    "correctness_signal",
    "logit_lens",
]

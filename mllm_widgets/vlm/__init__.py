"""A model one can ask: loading, questions, prompts and constraint spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mllm_widgets.lazily import lazily

if TYPE_CHECKING:
    from .asking import ask
    from .loading import load
    from .model import VLM, Encoding
    from .question import Question

__getattr__ = lazily(
    __name__,
    {
        "Encoding": "model",
        "Question": "question",
        "VLM": "model",
        "ask": "asking",
        "load": "loading",
    },
)

__all__ = [
    "VLM",
    "Encoding",
    "Question",
    "ask",
    "load",
]

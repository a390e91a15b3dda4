"""See and edit where a vision-language model stores the information that answers a question about a picture.

Importing this package is fast: torch, transformers, nnsight and bokeh are loaded when first needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets, editing, errors, experiments, sweeps, tracing
    from .contributions import (
        Contributions,
        Knockout,
        Lens,
        attention_contributions,
        attention_knockout,
        constraint_to_last,
        correctness_signal,
        logit_lens,
    )
    from .editing import Edit, EditReport, Edits, evaluate_edit, lambda_sweep, layer_sweep, load_edit, multedit
    from .patch_map import PatchMap
    from .results import Answer, Trace
    from .saving.files import load_result
    from .sweeps import Averages, Run, aggregate, load_run, sweep
    from .tracing import causal_trace
    from .vlm import VLM, Question, ask, load
    from .vlm.families import Family, families, register_family
    from .widgets import ConstraintAnnotator, EditPanel, Explorer, PatchGrid, TraceHeatmap

__version__ = "0.1.0"

_HOMES = {
    "Answer": "results",
    "Averages": "sweeps",
    "ConstraintAnnotator": "widgets",
    "Contributions": "contributions",
    "Edit": "editing",
    "EditReport": "editing",
    "Edits": "editing",
    "EditPanel": "widgets",
    "Explorer": "widgets",
    "Family": "vlm.families",
    "Knockout": "contributions",
    "Lens": "contributions",
    "PatchGrid": "widgets",
    "PatchMap": "patch_map",
    "Question": "vlm",
    "Run": "sweeps",
    "Trace": "results",
    "TraceHeatmap": "widgets",
    "VLM": "vlm",
    "aggregate": "sweeps",
    "ask": "vlm",
    "attention_contributions": "contributions",
    "attention_knockout": "contributions",
    "causal_trace": "tracing",
    "constraint_to_last": "contributions",
    "correctness_signal": "contributions",
    "evaluate_edit": "editing",
    "families": "vlm.families",
    "lambda_sweep": "editing",
    "layer_sweep": "editing",
    "load": "vlm",
    "load_edit": "editing",
    "load_result": "saving.files",
    "load_run": "sweeps",
    "logit_lens": "contributions",
    "multedit": "editing",
    "register_family": "vlm.families",
    "sweep": "sweeps",
}
_MODULES = ("datasets", "editing", "errors", "experiments", "sweeps", "tracing")

__all__ = [
    "VLM",
    "Answer",
    "Averages",
    "ConstraintAnnotator",
    "Contributions",
    "Edit",
    "EditPanel",
    "EditReport",
    "Edits",
    "Explorer",
    "Family",
    "Knockout",
    "Lens",
    "PatchGrid",
    "PatchMap",
    "Question",
    "Run",
    "Trace",
    "TraceHeatmap",
    "aggregate",
    "ask",
    "attention_contributions",
    "attention_knockout",
    "causal_trace",
    "constraint_to_last",
    "correctness_signal",
    "datasets",
    "editing",
    "errors",
    "evaluate_edit",
    "experiments",
    "families",
    "lambda_sweep",
    "layer_sweep",
    "load",
    "load_edit",
    "load_result",
    "load_run",
    "logit_lens",
    "multedit",
    "register_family",
    "sweep",
    "sweeps",
    "tracing",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    elif name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""Editing what a model knows: MultEdit, edits, their evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mllm_widgets.lazily import lazily

if TYPE_CHECKING:
    from .baselines import fine_tune, lora, rome
    from .covariance import KeyCovariance, key_covariance
    from .edit import Edit, Edits
    from .evaluate import evaluate_edit
    from .files import load_edit
    from .many import Case, edit_many, evaluate_sequence
    from .probing import Unedited
    from .rank_one import multedit
    from .report import EditReport, ManyReport, Measure, Probe, SequenceReport
    from .sweeps import lambda_sweep, layer_sweep
    from .swept import LambdaSweep, LayerSweep
    from .value import Step

__getattr__ = lazily(
    __name__,
    {
        "Case": "many",
        "Edit": "edit",
        "EditReport": "report",
        "Edits": "edit",
        "KeyCovariance": "covariance",
        "LambdaSweep": "swept",
        "LayerSweep": "swept",
        "ManyReport": "report",
        "Measure": "report",
        "Probe": "report",
        "SequenceReport": "report",
        "Step": "value",
        "Unedited": "probing",
        "edit_many": "many",
        "evaluate_edit": "evaluate",
        "evaluate_sequence": "many",
        "fine_tune": "baselines",
        "key_covariance": "covariance",
        "lambda_sweep": "sweeps",
        "layer_sweep": "sweeps",
        "load_edit": "files",
        "lora": "baselines",
        "multedit": "rank_one",
        "rome": "baselines",
    },
)

__all__ = [
    "Case",
    "Edit",
    "EditReport",
    "Edits",
    "KeyCovariance",
    "LambdaSweep",
    "LayerSweep",
    "ManyReport",
    "Measure",
    "Probe",
    "SequenceReport",
    "Step",
    "Unedited",
    "edit_many",
    "evaluate_edit",
    "evaluate_sequence",
    "fine_tune",
    "key_covariance",
    "lambda_sweep",
    "layer_sweep",
    "load_edit",
    "lora",
    "multedit",
    "rome",
]

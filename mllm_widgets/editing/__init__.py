"""Editing what a model knows: MultEdit, edits, their evaluation."""

from .baselines import fine_tune, lora, rome
from .covariance import KeyCovariance, key_covariance
from .edit import Edit, Edits
from .evaluate import evaluate_edit
from .files import load_edit
from .many import Case, ManyReport, SequenceReport, edit_many, evaluate_sequence
from .multedit import multedit
from .probing import Unedited
from .report import EditReport, Measure, Probe
from .sweeps import LambdaSweep, LayerSweep, lambda_sweep, layer_sweep
from .value import Step

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

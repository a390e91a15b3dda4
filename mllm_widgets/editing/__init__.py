"""Editing what a model knows: MultEdit, edits, their evaluation."""

from .edit import Edit, Edits
from .multedit import multedit
from .sweeps import LambdaSweep, LayerSweep, lambda_sweep, layer_sweep
from .value import Step

__all__ = ["Edit", "Edits", "LambdaSweep", "LayerSweep", "Step", "lambda_sweep", "layer_sweep", "multedit"]

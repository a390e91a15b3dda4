"""Editing what a model knows: MultEdit, edits, their evaluation."""

from .edit import Edit, Edits
from .multedit import multedit
from .value import Step

__all__ = ["Edit", "Edits", "Step", "multedit"]

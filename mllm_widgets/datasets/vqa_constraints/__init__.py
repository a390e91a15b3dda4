"""VQA-Constraints (Basu et al. 2024, section 3.3): questions whose visual constraints are marked, read as they were released."""

from .demo_copy import write_demo_constraints
from .load import load_vqa_constraints
from .matching import Match, locate
from .rows import Row, VqaConstraints
from .variants import multi_constraint, text_only

__all__ = [
    "Match",
    "Row",
    "VqaConstraints",
    "load_vqa_constraints",
    "locate",
    "multi_constraint",
    "text_only",
    "write_demo_constraints",
]

"""Questions with known answers: the demo world, and VQA-Constraints."""

from .landmarks import LANDMARKS, draw_landmark
from .questions import demo, demo_covered, demo_paraphrases, demo_question
from .vqa_accuracy import vqa_accuracy
from .vqa_constraints import load_vqa_constraints, multi_constraint, text_only, write_demo_constraints

__all__ = [
    "LANDMARKS",
    "demo",
    "demo_covered",
    "demo_paraphrases",
    "demo_question",
    "draw_landmark",
    "load_vqa_constraints",
    "multi_constraint",
    "text_only",
    "vqa_accuracy",
    "write_demo_constraints",
]

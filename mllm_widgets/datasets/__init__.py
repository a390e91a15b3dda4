"""Questions with known answers: the demo world, and VQA-Constraints."""

from .annotations import agreement, load_annotations, suggest_by_chat, suggest_by_rules
from .checksums import Checked, verify_checksums, write_checksums
from .demo_mmmu import write_demo_mmmu
from .getting import data_instructions
from .landmarks import LANDMARKS, draw_landmark
from .questions import demo, demo_covered, demo_paraphrases, demo_question
from .vqa_accuracy import vqa_accuracy
from .vqa_constraints import load_vqa_constraints, multi_constraint, text_only, write_demo_constraints

__all__ = [
    "LANDMARKS",
    "Checked",
    "agreement",
    "data_instructions",
    "demo",
    "demo_covered",
    "demo_paraphrases",
    "demo_question",
    "draw_landmark",
    "load_annotations",
    "load_vqa_constraints",
    "multi_constraint",
    "suggest_by_chat",
    "suggest_by_rules",
    "text_only",
    "verify_checksums",
    "vqa_accuracy",
    "write_checksums",
    "write_demo_constraints",
    "write_demo_mmmu",
]

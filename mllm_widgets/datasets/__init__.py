"""Questions with known answers: the demo world."""

from .landmarks import LANDMARKS, draw_landmark
from .questions import demo, demo_question

__all__ = ["LANDMARKS", "demo", "demo_question", "draw_landmark"]

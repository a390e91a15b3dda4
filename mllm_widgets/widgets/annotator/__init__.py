"""`mw.ConstraintAnnotator`: mark the words of questions that point at the picture, and those that narrow the answer.

What each module knows: `traits` (what the front end gets), `suggesting` (first guesses, on a thread), `steps` (from one question to the next), `messages` (what the
browser asks for), `annotator` (what a user touches).  What is marked, and the file it is kept in, is `mllm_widgets.datasets.annotations`.
"""

from .annotator import ConstraintAnnotator

__all__ = ["ConstraintAnnotator"]

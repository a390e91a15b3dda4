"""Constraints marked in one's own questions: what is marked, the file it is kept in, suggestions, and agreement.

What each module knows, from the bottom up: `marks` (which words), `entries` (of which questions), `table` and `keeping` (the file, read, and written so that nothing
is lost), `suggestion`, `rules` and `chat` (first guesses), `agreement` (of two annotators).
"""

from .agreement import Agreement, agreement
from .chat import suggest_by_chat
from .rules import suggest_by_rules
from .suggestion import Suggestion
from .table import Annotation, Annotations, load_annotations

__all__ = [
    "Agreement",
    "Annotation",
    "Annotations",
    "Suggestion",
    "agreement",
    "load_annotations",
    "suggest_by_chat",
    "suggest_by_rules",
]

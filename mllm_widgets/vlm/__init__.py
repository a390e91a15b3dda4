"""A model one can ask: loading, questions, prompts and constraint spans."""

from .asking import ask
from .loading import load
from .model import VLM, Encoding
from .question import Question

__all__ = ["VLM", "Encoding", "Question", "ask", "load"]

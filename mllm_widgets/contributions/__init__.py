"""From the picture to the words: what tokens write into others through attention."""

from .compute import attention_contributions
from .result import Contributions, CrossContributions, Sink

__all__ = ["Contributions", "CrossContributions", "Sink", "attention_contributions"]

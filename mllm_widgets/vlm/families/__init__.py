"""Model families: where each keeps its decoder, its sub-blocks and its visual tokens."""

from . import llava
from .base import FAMILIES, Family, family_of, register_family

__all__ = ["FAMILIES", "Family", "family_of", "llava", "register_family"]

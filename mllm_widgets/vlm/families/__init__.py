"""Model families: where each keeps its decoder, its sub-blocks and its visual tokens."""

from . import internvl, llava, qwen_vl
from .base import FAMILIES, Family, family_of, register_family

__all__ = ["FAMILIES", "Family", "family_of", "internvl", "llava", "qwen_vl", "register_family"]

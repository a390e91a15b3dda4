"""Model families: where each keeps its decoder, its sub-blocks and its visual tokens, if it has any."""

from . import gemma, idefics, internvl, llava, llava_next, mllama, qwen_vl, text
from .base import FAMILIES, Family, family_of, register_family
from .listing import families

__all__ = [
    "FAMILIES",
    "Family",
    "families",
    "family_of",
    "gemma",
    "idefics",
    "internvl",
    "llava",
    "llava_next",
    "mllama",
    "qwen_vl",
    "register_family",
    "text",
]

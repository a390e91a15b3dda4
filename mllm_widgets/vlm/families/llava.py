"""LLaVA-1.5: one picture of fixed size, a square grid of visual tokens where the image token stood."""

from __future__ import annotations

from .base import Family, register_family

LLAVA = register_family(Family("LLaVA-1.5", classes=("LlavaForConditionalGeneration",)))

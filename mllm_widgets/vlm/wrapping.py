"""A model wrapped for nnsight, on the devices it is on."""

from __future__ import annotations

from typing import Any

import torch
from nnsight import TransformersModel

from .placement import device_of, staying
from .processors import tokenizer_of


class PlacedModel(TransformersModel):
    """An nnsight wrapper that moves inputs to where the model takes them; nnsight's own asks the first parameter."""

    @property
    def device(self) -> torch.device:
        """Where the model takes its inputs."""
        return device_of(self._module)


def wrapped(model: Any, processor: Any) -> PlacedModel:
    """A Hugging Face model and its processor as nnsight has them; the model is not moved."""
    with staying(model):
        return PlacedModel(model, **pipeline_parts(processor))


def pipeline_parts(processor: Any) -> dict[str, Any]:
    """What a transformers pipeline is made of besides the model: its task, and the parts of the processor."""
    tokenizer = tokenizer_of(processor)
    if tokenizer is processor:
        return {"task": "text-generation", "tokenizer": tokenizer}
    return {
        "task": "image-text-to-text",
        "tokenizer": tokenizer,
        "processor": processor,
        "image_processor": processor.image_processor,
    }

"""Processors for pictures, with or without torchvision; where a model reads no picture, its tokenizer is its processor.

Hugging Face has image processors that need Pillow alone, but every processor for videos needs torchvision, and so do the processors of models
that take both.  A question has a picture and no video, so without torchvision they are made without their part for videos.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any


def load_processor(source: str, config: Any, trust_remote_code: bool = False) -> Any:
    """The processor saved at `source`, a folder or a Hugging Face id; `config` is its model's configuration."""
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    if importlib.util.find_spec("torchvision") is not None:
        return AutoProcessor.from_pretrained(source, trust_remote_code=trust_remote_code)
    kind: Any = PROCESSOR_MAPPING.get(type(config), None)
    if kind is not None and "video_processor" in kind.get_attributes():
        return without_videos(kind).from_pretrained(source, backend="pil")
    return AutoProcessor.from_pretrained(source, trust_remote_code=trust_remote_code, backend="pil")


def load_tokenizer(source: str, config: Any, trust_remote_code: bool = False) -> Any:
    """The tokenizer saved at `source`, which is all the processor a language model has; arguments as for `load_processor`."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source, config=config, trust_remote_code=trust_remote_code)


def tokenizer_of(processor: Any) -> Any:
    """The tokenizer in a processor, or that is one."""
    return getattr(processor, "tokenizer", processor)


@functools.cache
def without_videos(kind: Any) -> Any:
    """A processor class without its `video_processor`; all it does with pictures and text is unchanged."""

    class PicturesOnly(kind):
        __doc__ = kind.__doc__

        @classmethod
        def get_attributes(cls) -> list[str]:
            """Names of the parts a processor is made of."""
            return [name for name in super().get_attributes() if name != "video_processor"]

    PicturesOnly.__name__, PicturesOnly.__qualname__, PicturesOnly.__module__ = (
        kind.__name__,
        kind.__qualname__,
        kind.__module__,
    )
    return PicturesOnly

"""Where a model lies.

With a `device_map`, accelerate's hooks move what a module is given to where the module runs, and its weights too where they are kept
elsewhere: those are on "meta" between runs.  So the device of a parameter says nothing about where to put inputs; the hooks do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


def device_of(model: Any) -> torch.device:
    """Where a Hugging Face model takes its inputs."""
    for module in (model, model.get_input_embeddings()):
        hook = getattr(module, "_hf_hook", None)
        for each in getattr(hook, "hooks", (hook,)):  # several in a row are one hook
            where = getattr(each, "execution_device", None)
            if where is not None:
                return torch.device(where)
    return model.device


@contextlib.contextmanager
def staying(model: Any) -> Iterator[None]:
    """While a transformers pipeline is made of a model: it leaves the model where it is, and takes its inputs to the right device.

    Without a device map it would move the model to the first GPU; of a map with "disk" first it would take that for a device.
    """
    own = vars(model).get("hf_device_map")
    model.hf_device_map = {"": device_of(model)}
    try:
        yield
    finally:
        if own is None:
            del model.hf_device_map
        else:
            model.hf_device_map = own

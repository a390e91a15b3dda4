"""Two devices where there is one: tensors that say they are on `meta:0` or `meta:1`, and refuse to meet.

Every number is computed on the CPU.  What is checked is what a machine with two GPUs checks: an operation takes tensors of one device (an
index may be on the CPU, and so may a number without dimensions), and only a copy goes from one to another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.hooks import attach_align_device_hook_on_blocks
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ops = torch.ops.aten
CPU = torch.device("cpu")
COPIES = {ops._to_copy.default, ops.copy_.default}
INDEXING = {ops.index.Tensor, ops.index_put.default, ops.index_put_.default, ops._index_put_impl_.default}


class Placed(torch.Tensor):
    """A tensor of the CPU that says it is elsewhere."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor, device: Any = None, **_options: Any) -> Placed:
        if isinstance(held, Placed):  # accelerate makes a parameter's class anew of the parameter
            return held
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device,
        )
        made.held = held
        return made

    def __repr__(self, **_options: Any) -> str:
        return f"Placed({self.held!r}, {self.device})"

    def tolist(self) -> Any:
        """Numbers, which are nowhere."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class TwoDevices(TorchDispatchMode):
    """New tensors go where they are asked for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, on one device."""
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    if func not in COPIES:
        indices = tree_leaves(args[1]) if func in INDEXING else []
        free = {id(t) for t in indices if t is not None and t.device == CPU}
        free |= {id(t) for t in tensors if t.dim() == 0 and t.device == CPU}
        met = {str(t.device) for t in tensors if id(t) not in free}
        if len(met) > 1:
            raise RuntimeError(f"{func} was given tensors on {', '.join(sorted(met))}")
    device = next((t.device for t in tensors if isinstance(t, Placed)), CPU)
    bare_args, bare_kwargs = tree_map(lambda t: t.held if isinstance(t, Placed) else t, (args, kwargs))
    if kwargs.get("device") is not None:
        device, bare_kwargs["device"] = torch.device(kwargs["device"]), CPU
    made = func(*bare_args, **bare_kwargs)
    if func._schema.is_mutable and args and isinstance(args[0], torch.Tensor):
        return args[0]
    return tree_map(lambda t: Placed(t, device) if isinstance(t, torch.Tensor) and device != CPU else t, made)


@contextlib.contextmanager
def two_devices() -> Iterator[None]:
    """Within, `device="meta:0"` and `device="meta:1"` work."""
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) then asks the mode
    try:
        with TwoDevices():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)


def place(module: nn.Module, device: str) -> None:
    """Put a module's parameters and buffers on a device."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(Placed(value.detach(), device), requires_grad=False)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = Placed(value.detach(), device)


def divided(model: Any, first_layers: int) -> Any:
    """A Hugging Face model with everything but its embeddings and its first decoder layers on the second device, as `dispatch_model` has it."""
    decoder = "model.language_model"
    device_map: dict[str, Any] = {
        f"model.{name}": "meta:1" for name, _ in model.model.named_children() if name != "language_model"
    }
    device_map |= {f"{decoder}.{name}": "meta:1" for name, _ in model.model.language_model.named_children()}
    del device_map[f"{decoder}.layers"]
    layers = len(model.model.language_model.layers)
    device_map |= {f"{decoder}.layers.{at}": f"meta:{int(at >= first_layers)}" for at in range(layers)}
    device_map |= {f"{decoder}.embed_tokens": "meta:0", f"{decoder}.rotary_emb": "meta:0", "lm_head": "meta:1"}
    for name, device in device_map.items():
        place(model.get_submodule(name), device)
    everything: dict[str, Any] = {**device_map, "": "meta:0"}
    attach_align_device_hook_on_blocks(
        model,
        execution_device=everything,
        offload=dict.fromkeys(device_map, False),
        skip_keys=model._skip_keys_device_placement,
    )
    model.hf_device_map = device_map
    return model

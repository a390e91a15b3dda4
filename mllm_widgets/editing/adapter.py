"""An edit as a LoRA adapter: the side term in the form that PEFT, and servers that take its adapters, load.

LoRA adds (alpha / r) B A x to a linear layer's output, A (r, d_ff) and B (d, r), which is what an edit adds: its keys are A, its solved residuals
B.  Every layer gets the same r, with zeros where it has fewer edits: not every server reads ranks that differ.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mllm_widgets.errors import EditError

from .files import model_name, path_of, write_tensors, written
from .weights import transposed

if TYPE_CHECKING:
    from .edit import Applicable

TENSORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def to_peft(edits: Applicable, folder: Any, overwrite: bool = False) -> None:
    """See `Applicable.to_peft`."""
    vlm = edits.vlm
    place = path_of(folder, "folder")
    if place.exists() and not place.is_dir():
        raise EditError(f"folder={str(place)!r} is a file; expected the folder to write the adapter's two files to.")
    if not overwrite and any((place / name).exists() for name in (TENSORS, CONFIG)):
        raise EditError(
            f"folder={str(place)!r} holds an adapter already; expected a new folder, or overwrite=True to replace it."
        )
    change = {site: _low_rank(*pair) for site, pair in edits.factors().items()}
    rank = max(left.shape[1] for left, _ in change.values())
    tensors = {}
    for site, (left, right) in change.items():
        missing = rank - left.shape[1]
        tensors[f"base_model.model.{site}.lora_A.weight"] = torch.nn.functional.pad(right, (0, 0, 0, missing))
        tensors[f"base_model.model.{site}.lora_B.weight"] = torch.nn.functional.pad(left, (0, missing))
    name, revision = model_name(vlm)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name,
        "revision": revision,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        # whole paths: the last part alone would match every layer
        "target_modules": sorted(change),
        "fan_in_fan_out": any(transposed(vlm.model.get_submodule(site)) for site in change),
    }
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EditError(f"folder={str(place)!r} cannot be made ({error.strerror}).") from error
    write_tensors(place / TENSORS, tensors, {"format": "pt"})
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    written(place / CONFIG, lambda part: part.write_text(text, encoding="utf-8"))


def _low_rank(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The same product with no more columns than its own sides have: a change that is no short sum needs its whole rank."""
    width, inner = left.shape[0], right.shape[1]
    if left.shape[1] <= min(width, inner):
        return left, right
    change = left @ right
    return (torch.eye(width), change) if width <= inner else (change, torch.eye(inner))

"""Which model an edit belongs to: what is kept of it in a file, and whether another one is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mllm_widgets.errors import EditError
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.side_terms import Term

from .weights import is_plain, transposed, weight_without

ROWS, COLUMNS = 32, 8  # of the weight, evenly spread
ROUGH = 0.5  # of the norm: int4 rounds by a tenth, two models differ by more than one


@dataclass(frozen=True, eq=False)
class Sample:
    """Some of a projection's weights.

    values: (rows, columns) in float32. dtype: the weight's, None where it has none that numbers are kept in (quantised, or on disk): the values are
    outputs then, with whatever rounding is on their way.
    """

    values: Tensor
    dtype: torch.dtype | None

    def described(self) -> dict[str, Any]:
        """What is kept beside the values."""
        return {"dtype": None if self.dtype is None else str(self.dtype).removeprefix("torch.")}


def described(vlm: VLM) -> dict[str, Any]:
    """What is kept of a model."""
    return {"class": type(vlm.model).__name__, "layers": len(vlm.layers), "widths": list(widths(vlm, 0))}


def widths(vlm: VLM, layer: int) -> tuple[int, int]:
    """(d, d_ff) of a layer's projection; a quantised one's weight is of another shape, but it knows its own widths."""
    projection: Any = vlm.projection(layer)
    if transposed(projection):
        return projection.nf, projection.nx
    return projection.out_features, projection.in_features


def sample(vlm: VLM, layer: int, terms: Sequence[Term] = ()) -> Sample:
    """Some weights of a layer's projection, as they would be without some edits in them."""
    d, d_ff = widths(vlm, layer)
    rows = torch.linspace(0, d - 1, min(ROWS, d)).long()
    columns = torch.linspace(0, d_ff - 1, min(COLUMNS, d_ff)).long()
    projection = vlm.projection(layer)
    if not is_plain(projection):
        return Sample(_outputs(vlm, layer, columns, d_ff)[:, rows].mT.contiguous(), None)
    weight = weight_without(vlm, layer, terms)
    found = weight.mT if transposed(projection) else weight
    return Sample(found[rows.to(found.device)][:, columns.to(found.device)].float().cpu(), found.dtype)


@torch.no_grad()
def _outputs(vlm: VLM, layer: int, columns: Tensor, d_ff: int) -> Tensor:
    """(columns, d): what a projection gives for one unit of each input, its bias apart.  So any kind of weight can be asked, wherever it is."""
    projection = vlm.projection(layer)
    held = next((t for t in (*projection.parameters(), *projection.buffers()) if not t.is_meta), None)
    units = torch.zeros(
        len(columns) + 1, d_ff, dtype=vlm.model.dtype, device=vlm.device if held is None else held.device
    )
    units[range(len(columns)), columns] = 1
    with vlm.side_terms.only(()):
        given = projection(units).float().cpu()
    return given[:-1] - given[-1]


def check_model(vlm: VLM, place: Path, kept: Any) -> None:
    """Raises EditError for a model of another class or size."""
    own = described(vlm)
    name = f" ({kept['name']})" if kept["name"] else ""
    for what, words in (("class", "class"), ("layers", "number of layers"), ("widths", "MLP widths")):
        if kept[what] != own[what]:
            raise EditError(
                f"the edit in {str(place)!r} belongs to a {kept['class']}{name} whose {words} is {kept[what]}, and {vlm.name!r} has {own[what]}; expected "
                "the model it was made on."
            )


def check_sample(vlm: VLM, place: Path, layer: int, kept: Any, values: Tensor) -> None:
    """Raises EditError for a model with other weights at the layer."""
    own = sample(vlm, layer)
    other = Sample(values.float(), None if kept["dtype"] is None else getattr(torch, kept["dtype"]))
    if values.shape != own.values.shape or not _alike(own, other):
        raise EditError(
            f"the edit in {str(place)!r} belongs to a model with other weights in layer {layer} than {vlm.name!r} has; expected the model it was made on. It "
            "may have been trained since, or an edit may be baked into it: unbake() that first."
        )


def _alike(one: Sample, other: Sample) -> bool:
    """Are they the same weights, but for rounding?  Exactly that of their dtypes where both are plain numbers."""
    apart = (one.values - other.values).abs()
    if one.dtype is None or other.dtype is None:
        return bool(apart.norm() <= ROUGH * torch.maximum(one.values.norm(), other.values.norm()))
    kinds = [torch.finfo(one.dtype), torch.finfo(other.dtype)]
    size = torch.maximum(one.values.abs(), other.values.abs())
    return bool((apart <= sum(k.eps for k in kinds) * size + max(k.eps * k.smallest_normal for k in kinds)).all())

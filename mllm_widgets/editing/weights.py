"""Edits in the weights themselves, and out again to the bit.

A weight with edits in it is always made anew from the one it was: `original`, then the change of each call of `bake` in turn, rounded to the weight's
dtype.  So what is left after some were taken out is what it would be had they never been in, whatever the order; with none left it is the original.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mllm_widgets.errors import EditError
from mllm_widgets.finishing import to_the_end
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.side_terms import Term, factors

if TYPE_CHECKING:
    from .edit import Applicable

PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SWALLOWED = 0.01  # rounding error, as a share of the change, from which it is told


@dataclass(frozen=True, eq=False)
class _Baked:
    """A weight with edits in it.

    original: the parameter as it was, on the CPU. groups: the terms in it, those of one `bake` together. digest: of the bits it has with them.
    """

    original: Tensor
    groups: tuple[tuple[Term, ...], ...]
    digest: bytes


# One per model, as its lock is: layer -> what is in its weight.
_BAKED: weakref.WeakKeyDictionary[Any, dict[int, _Baked]] = weakref.WeakKeyDictionary()


def bake(edits: Applicable) -> tuple[str, ...]:
    """See `Applicable.bake`."""
    vlm = edits.vlm
    with vlm.lock:
        baked = vlm.side_terms.baked
        if any(term.serial in baked for term in edits.terms):
            raise EditError("the edit, or one of them, is in the model's weights already; call unbake() first.")
        new: dict[int, tuple[_Baked | None, Tensor]] = {}
        told: list[str] = []
        for layer, terms in _by_layer(edits.terms).items():
            present, known = _present(vlm, layer), _BAKED.get(vlm.model, {}).get(layer)
            change = _change(terms, transposed(vlm.projection(layer)))
            weight = _added(present, change)
            if not torch.isfinite(weight).all():
                raise EditError(
                    f"layer {layer}: the edited weight overflows {_short(present.dtype)}, so it cannot be baked; load the model with dtype='bfloat16' or "
                    "'float32', or use apply()."
                )
            told += _lost(layer, present, change, weight)
            groups = (*(known.groups if known else ()), terms)
            new[layer] = (_Baked(known.original if known else present, groups, _digest(weight)), weight)
        _exchange(vlm, new, taken=edits.terms)
    return tuple(told)


def unbake(edits: Applicable) -> None:
    """See `Applicable.unbake`."""
    vlm = edits.vlm
    with vlm.lock:
        book = _BAKED.get(vlm.model, {})
        new: dict[int, tuple[_Baked | None, Tensor]] = {}
        for layer, terms in _by_layer(edits.terms).items():
            known = book.get(layer)
            if known is None or not set(terms) <= {term for group in known.groups for term in group}:
                raise EditError(
                    f"the edit of layer {layer} is not in the model's weights, or was not put there by bake() in this session, so there is nothing to take "
                    "out; a model that was saved with it is had without it by loading the one from before."
                )
            _present(vlm, layer)
            weight, groups = _without(vlm, layer, known, terms)
            new[layer] = (_Baked(known.original, groups, _digest(weight)) if groups else None, weight)
        _exchange(vlm, new)


def weight_without(vlm: VLM, layer: int, terms: Sequence[Term]) -> Tensor:
    """The weight of a layer's projection as it would be without some edits in it: the parameter, or one made anew, in its own orientation."""
    known = _BAKED.get(vlm.model, {}).get(layer)
    if known is None:
        return vlm.projection(layer).weight.detach()  # type: ignore[union-attr]
    return _without(vlm, layer, known, terms)[0]


def is_plain(projection: Any) -> bool:
    """Is its weight there, as floating-point numbers and a parameter of its own?  Not if quantised, kept elsewhere, divided, or wrapped by an adapter."""
    weight = projection._parameters.get("weight")
    return (
        weight is not None
        and not weight.is_meta
        and not hasattr(weight, "__tensor_flatten__")
        and weight.dtype in PLAIN
    )


def transposed(projection: Any) -> bool:
    """Is the weight stored as (d_ff, d), as in GPT-2, and not as (d, d_ff)?"""
    return type(projection).__name__ == "Conv1D"


def _by_layer(terms: Sequence[Term]) -> dict[int, tuple[Term, ...]]:
    return {layer: tuple(t for t in terms if t.layer == layer) for layer in sorted({t.layer for t in terms})}


def _present(vlm: VLM, layer: int) -> Tensor:
    """A copy of a projection's weight on the CPU.

    Raises EditError for one that no change can be added to, or that somebody else changed since edits were put in it.
    """
    site = vlm.projection_site(layer)
    projection = vlm.projection(layer)
    weight = projection._parameters.get("weight")
    if weight is not None and weight.is_meta:
        raise EditError(
            f"the weight of {site} is kept elsewhere between runs (a device_map with 'disk' or 'cpu' beside a GPU), and what is written to it would be lost; "
            "use apply(), to_peft(), or load the model undivided to bake."
        )
    if weight is None or not is_plain(projection):
        kind = type(projection if weight is None else weight.data).__name__
        raise EditError(
            f"the weight of {site} is no plain tensor of floating-point numbers ({kind}: quantised, divided among devices, or wrapped by an adapter), so no "
            "change can be added to it; use apply() or to_peft(), or load the model unquantised to bake."
        )
    present = weight.detach().to("cpu", copy=True)
    known = _BAKED.get(vlm.model, {}).get(layer)
    if known is not None and _digest(present) != known.digest:
        raise EditError(
            f"the weight of {site} is not what bake() made it: something else changed it since (training, another dtype, load_state_dict), and making it anew "
            "would undo that too. Load the model again."
        )
    return present


def _without(vlm: VLM, layer: int, known: _Baked, terms: Sequence[Term]) -> tuple[Tensor, tuple[tuple[Term, ...], ...]]:
    """A weight made anew without some terms, and the groups that are left in it."""
    left = tuple(tuple(term for term in group if term not in terms) for group in known.groups)
    groups = tuple(group for group in left if group)
    weight = known.original
    for group in groups:
        weight = _added(weight, _change(group, transposed(vlm.projection(layer))))
    return weight, groups


def _change(terms: Sequence[Term], turned: bool) -> Tensor:
    """What terms of one layer add to its weight, in float32 and in the weight's orientation."""
    total = sum(left if right is None else left @ right for left, right in factors(terms))
    assert isinstance(total, Tensor)
    return total.mT if turned else total


def _added(weight: Tensor, change: Tensor) -> Tensor:
    """The sum, in the weight's dtype."""
    return (weight.to(torch.promote_types(weight.dtype, torch.float32)) + change).to(weight.dtype)


def _lost(layer: int, before: Tensor, change: Tensor, after: Tensor) -> list[str]:
    """What rounding to the weight's dtype took of the change.

    D: the change, E: what the weight has of it. <E, D> / |D|^2 is the share of D that is in E; for a rank-one D it is the share of the
    residual that the weight gives more at the edit's key. |E - D| / |D| is the rounding error.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    wide = torch.promote_types(before.dtype, torch.float32)
    for old, wanted, new in zip(*(tensor.split(256) for tensor in (before, change, after)), strict=True):
        made = new.to(wide) - old.to(wide)
        products = (wanted * wanted, made * wanted, (made - wanted).square())
        sums += torch.stack([product.sum(dtype=torch.float64) for product in products])
    square, along, lost = sums.tolist()
    if square == 0 or (error := (lost / square) ** 0.5) <= SWALLOWED:
        return []
    share = along / square
    told = f"in {_short(before.dtype)} the weight takes up {share:.1%} of the change, with a rounding error of {error:.1%} of its norm"
    return [
        f"layer {layer}: {told}, so the baked model is not quite the one with the edit applied; apply() and to_peft() add the change unrounded"
    ]


def _exchange(vlm: VLM, new: dict[int, tuple[_Baked | None, Tensor]], taken: Sequence[Term] = ()) -> None:
    """Put weights in place, all or none of them, and say so: everything that can fail was done before."""
    book = _BAKED.setdefault(vlm.model, {})

    def exchange() -> None:
        vlm.side_terms.take(taken)
        for layer, (kept, weight) in new.items():
            with torch.no_grad():
                vlm.projection(layer).weight.copy_(weight)  # type: ignore[operator]
            if kept is None:
                book.pop(layer, None)
            else:
                book[layer] = kept
        vlm.side_terms.note_baked([group for layer in sorted(book) for group in book[layer].groups])

    to_the_end(exchange)


def _digest(weight: Tensor) -> bytes:
    return hashlib.sha256(weight.contiguous().view(torch.uint8).numpy().data).digest()


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

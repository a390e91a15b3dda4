"""Attention contributions: what every token writes into some target tokens, layer by layer, in one ordinary forward pass.

For target i, source j and layer l (Basu et al. 2024, eq. 1; the head sum before the norm as in Yuksekgonul et al. 2024's visualisations)

    a_ij = sum_h A_ij^h (x_j W_V^h) W_O^h,        ||a_ij|| is what is drawn.

Only the targets' rows of A are made, so memory is O(layers x heads x positions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import nnsight
import numpy as np
import torch
import xarray as xr

from mllm_widgets.errors import FlowError, ModelError
from mllm_widgets.provenance import dated, made_with
from mllm_widgets.vlm.families.base import part
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

from .arguments import check_layers, check_model, crosses, named, positions_of
from .controls import control_question, control_warnings
from .result import Contributions, CrossContributions
from .rows import AttentionRows, check_sum, rows_of
from .sinks import Observed, activation_peaks, find_sinks, sink_queries, sink_warnings


def attention_contributions(
    vlm: VLM,
    question: Question,
    target: str | int | Sequence[int] = "constraint",
    *,
    layers: Sequence[int] | int | None = None,
    per_head: bool = False,
    control: str | None = None,
) -> Contributions:
    """How much every token, visual tokens included, writes into some target tokens through attention.

    Contributions weigh attention by what is moved: a token that is looked at and holds nothing writes nothing.  They sum, as vectors and with
    the projection's bias, to the attention's output at the target; every call checks that they do.  They are what attention moves at one
    layer, no proof that the answer depends on it: `attention_knockout` tests that.

    Parameters
    ----------
    target: "constraint" (all its tokens), "last" (the prompt's last token, where the answer is said), a position in the sequence (negative
        counts from the end), or several.  Of several targets, `norms`, `attention` and `heads` are the mean; `per_target` has each. The paper
        takes the last constraint token: `flow.per_target.sel(target=flow.targets[-1])`.
    layers: 0-based; all by default.
    per_head: also give the norm of each head's own contribution, `heads` (layer, head, token), as in SAT Probe (Yuksekgonul et al. 2024).
    control: "blank" (a grey picture), "shuffled" (the picture's blocks in another order) or "flipped" (turned over both ways) also asks about that, see
        `.control`: what is the same for a picture with nothing to see is position (later visual tokens get more), not content.

    Returns
    -------
    Contributions: `norms` (layer, token), `patches(layer)`, `top(layer)`, `sinks`, `warnings`.  Values are those of the attention block's
        output; a norm or a gate behind it (Gemma 3, Mllama) scales all sources of a target alike, but for Gemma's per-channel weights.

    Raises
    ------
    FlowError: for a target or a layer that is not there, or a model whose attention cannot be read exactly.
    ConstraintError, QuestionError: for a question that cannot be encoded.

    Memory: only the targets' rows are made. At 2,880 visual tokens, 32 layers of 32 heads: see benchmarks/RESULTS.md.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> flow = mw.attention_contributions(mw.load(), mw.datasets.demo_question("Eiffel Tower"))
    >>> flow.norms.dims, flow.patches(layer=0).shape
    (('layer', 'token'), (8, 8))
    """
    check_model(vlm, question)
    asked = None if control is None else control_question(question, control)
    encoded = vlm.encode(question)
    targets = positions_of(encoded, target, "target", names=("constraint", "last"))
    chosen = check_layers(layers, len(vlm.layers))
    flow, seen = _contributions(vlm, question, encoded, targets, chosen, per_head)
    made = dated(flow.provenance, target=named(target), per_head=per_head or None, control=control)
    flow = replace(flow, target=named(target), provenance=made)
    other = other_seen = None
    if asked is not None:
        again = vlm.encode(asked)
        if not np.array_equal(again.input_ids, encoded.input_ids):
            raise FlowError(
                f"control={control!r} gives another number of visual tokens than the picture itself, so the two cannot be compared; the processor of "
                f"{vlm.name!r} cuts pictures by their content."
            )
        other, other_seen = _contributions(vlm, asked, again, targets, chosen, per_head)
        other = replace(other, target=flow.target)
    sinks = find_sinks(flow, seen, other_seen)
    flow = replace(flow, sinks=sinks, control=other, control_kind=control)
    return replace(flow, warnings=sink_warnings(flow) + control_warnings(flow))


@dataclass
class _Layer:
    """What is kept of one layer.

    norms: (targets, sources). attention, heads: (targets, heads, sources). queries: (sink queries, sources), attention, mean over heads.
    peaks: (positions,), of what enters the layer.
    """

    norms: np.ndarray
    attention: np.ndarray
    heads: np.ndarray | None
    queries: np.ndarray
    peaks: np.ndarray


def _contributions(
    vlm: VLM, question: Question, encoded: Encoding, targets: tuple[int, ...], chosen: list[int], per_head: bool
) -> tuple[Contributions, Observed]:
    """The result without sinks and controls, and what sinks are told by."""
    queries = sink_queries(encoded.visual)
    with vlm.running():
        found = _run(vlm, encoded, targets, queries, chosen, per_head)
        states = _states(vlm, encoded)
        made = made_with(vlm, question, layers=chosen)
    positions = len(encoded.tokens)
    crossing = [layer for layer in chosen if crosses(vlm, layer)]
    own = [layer for layer in chosen if layer not in crossing]
    tokens = {"token": np.arange(positions)}
    norms, per_target, attention, heads = _arrays(found, own, targets, "token", positions, tokens, per_head)
    cross = None
    if crossing:
        cross = CrossContributions(
            *_arrays(found, crossing, targets, "state", found[crossing[0]].norms.shape[-1], states, per_head)
        )
    geometry, why = None, ""
    if encoded.visual.any():
        try:
            geometry = vlm.family.geometry(vlm.processor, vlm.model, encoded.inputs, question.image)
        except ModelError as error:
            why = str(error)
    flow = Contributions(
        norms=norms,
        per_target=per_target,
        attention=attention,
        heads=heads,
        targets=targets,
        target="",
        rows=encoded.tokens,
        constraint=encoded.constraint,
        geometry=geometry,
        image=question.image,
        question=question.text,
        model=vlm.name,
        cross=cross,
        no_geometry=why,
        provenance=made,
    )
    peaks = np.array([found[layer].peaks for layer in own]).reshape(len(own), positions)
    attended = np.array([found[layer].queries for layer in own]).reshape(len(own), len(queries), positions)
    return flow, Observed(peaks, queries, attended)


def _run(
    vlm: VLM,
    encoded: Encoding,
    targets: tuple[int, ...],
    queries: tuple[int, ...],
    chosen: list[int],
    per_head: bool,
) -> dict[int, _Layer]:
    """One forward pass; each layer is reduced to its rows as soon as its attention has run.  The caller holds the model."""
    nn, found = vlm.nnsight, {}
    with nn.trace(**encoded.inputs, use_cache=False, logits_to_keep=1) as tracer:
        for layer in chosen:
            entering = part(nn, vlm.site(layer, "residual")).input[0]
            attention = part(nn, vlm.site(layer, "self_attn"))
            args, options = attention.inputs
            given = attention.output
            # after the output: what runs here on the side is no part of the model's own pass
            rows = rows_of(vlm, layer, args, options, targets + queries)
            found[layer] = nnsight.save(_reduced(vlm, layer, rows, given, targets, per_head, entering))
        tracer.stop()
    return found


def _reduced(
    vlm: VLM, layer: int, rows: AttentionRows, given: Any, targets: tuple[int, ...], per_head: bool, entering: Any
) -> _Layer:
    """What is kept of one layer, of whose rows the first are the targets'; `given` is what its attention gave."""
    given = (given[0] if isinstance(given, tuple) else given)[0]
    norms = []
    for index, target in enumerate(targets):
        vectors = rows.vectors(index)
        check_sum(vlm, layer, target, rows.difference(vectors.sum(0), given[target]), given.dtype)
        norms.append(vectors.norm(dim=-1).cpu())
    count = len(targets)
    # copies: a view of the targets' rows would keep those of all queries
    return _Layer(
        norms=torch.stack(norms).numpy(),
        attention=rows.weights[:, :count].transpose(0, 1).cpu().numpy().copy(),
        heads=rows.head_norms(count).cpu().numpy() if per_head else None,
        queries=rows.weights[:, count:].mean(0).cpu().numpy(),
        peaks=activation_peaks(entering),
    )


def _arrays(
    found: dict[int, _Layer],
    layers: list[int],
    targets: tuple[int, ...],
    axis: str,
    sources: int,
    coords: dict[str, Any],
    per_head: bool,
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray, xr.DataArray | None]:
    """(norms, per_target, attention, heads) over some layers."""

    def array(values: list[np.ndarray], dims: tuple[str, ...], name: str, heads: int = 0) -> xr.DataArray:
        shape = {"layer": len(layers), "target": len(targets), "head": heads, axis: sources}
        stacked = np.array(values, dtype=np.float32).reshape([shape[d] for d in dims])
        known = {"layer": layers, "target": list(targets), "head": np.arange(heads)}
        return xr.DataArray(stacked, dims=dims, coords={d: known[d] for d in dims if d in known} | coords, name=name)

    parts = [found[layer] for layer in layers]
    heads = parts[0].attention.shape[1] if parts else 0
    each = array([one.norms for one in parts], ("layer", "target", axis), "norms").transpose("target", "layer", axis)
    three = ("layer", "head", axis)
    return (
        each.mean("target"),
        each,
        array([one.attention.mean(0) for one in parts], three, "attention", heads),
        array([one.heads.mean(0) for one in parts if one.heads is not None], three, "heads", heads)
        if per_head
        else None,
    )


def _states(vlm: VLM, encoded: Encoding) -> dict[str, Any]:
    """Coordinates of the vision states that cross-attention layers look at: which tile, which patch of it."""
    pictures = encoded.inputs.get("pixel_values")
    if pictures is None or pictures.dim() != 6:  # Mllama: (1, pictures, tiles, 3, height, width)
        return {}
    side = vlm.model.config.vision_config.patch_size
    patches = (pictures.shape[-2] // side) * (pictures.shape[-1] // side) + 1
    tiles = pictures.shape[1] * pictures.shape[2]
    return {
        "tile": ("state", np.repeat(np.arange(tiles), patches)),
        "patch": ("state", np.tile(np.arange(patches), tiles)),
    }

"""Attention knockout: what becomes of the answer when some tokens may not look at others.

Geva et al. 2023 ("Dissecting Recall of Factual Associations"), for vision-language models Zhang et al. 2025 ("Cross-modal Information
Flow"): for all heads of a window of layers, the scores of the edges source -> target are set to minus infinity, so the targets' attention goes to what
is left.  Everything else runs as it is.

Only the targets' rows change, so only they are computed anew, from the scores `rows` reads, and put in place of what the attention gave.  No
mask of all positions by all positions is made, and a model that takes none (flash attention) works like the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from mllm_widgets.errors import FlowError
from mllm_widgets.provenance import dated, made_with
from mllm_widgets.results import Answer
from mllm_widgets.vlm.asking import first_token_answer
from mllm_widgets.vlm.families.base import part
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

from .arguments import check_layers, check_model, crosses, named, positions_of
from .rows import check_sum, rows_of
from .said import Knockout

ROWS = 64  # targets whose rows are made at a time


def attention_knockout(
    vlm: VLM,
    question: Question,
    source: str | int | Sequence[int],
    target: str | int | Sequence[int],
    *,
    window: int | None = 1,
    layers: Sequence[int] | int | None = None,
    answer: int | None = None,
    cancel: Any = None,
) -> Knockout:
    """Block what `target` tokens take from `source` tokens, and see what the answer becomes.

    A contribution says what attention moves; this says whether the answer needs it.  If the probability falls, the answer went this way at these layers;
    if it does not, it may still go there too, for other tokens can hold the same.

    Parameters
    ----------
    source, target: "visual", "constraint", "last", a position (negative counts from the end) or several.  An edge from a token to itself is blocked
        as well where both name it.
    window: in how many neighbouring layers at once, centred and clipped as in `causal_trace` (Zhang et al. take 9 of 32); None for all `layers` at once.
    layers: centres of windows, 0-based; all by default. With `window=None`, the layers to block.
    answer: id of the token whose probability is followed; by default the model's own first token.
    cancel: an object whose `check()` raises when the work is no longer wanted; asked between passes.

    Returns
    -------
    Knockout: `probability`, `change`, `relative` (layer,), and what the model would say instead.

    Raises
    ------
    FlowError: for names, positions or layers that are not there, or if a target would be left with nothing to look at.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
    >>> cut = mw.attention_knockout(vlm, question, "constraint", "last", window=None)
    >>> cut.before > 0.9, float(cut.probability[0]) < 0.5
    (True, True)
    """
    check_model(vlm, question)
    count = len(vlm.layers)
    centres = check_layers(layers, count)
    windows = _windows(centres, window, count)
    encoded = vlm.encode(question)
    sources, targets = (positions_of(encoded, *pair) for pair in ((source, "source"), (target, "target")))
    if vlm.family.is_causal(vlm.model) and not encoded.visual[list(targets)].any() and min(sources) > max(targets):
        raise FlowError(
            f"source={source!r} comes after target={target!r} in the sequence, so nothing flows from it: this model's tokens see only earlier ones."
        )
    with vlm.lock:
        plain = _last_logits(vlm, encoded, sources, targets, ())
        made = made_with(vlm, question, source=named(source), target=named(target), layers=centres)
    own = first_token_answer(vlm, plain)
    answer = own.token_id if answer is None else _token(answer, len(own.probabilities))
    probabilities, top = [], []
    for blocked in windows:
        if cancel is not None:
            cancel.check()
        # the lock is given back between passes, so that a cell waiting for the model is served
        then = first_token_answer(vlm, _last_logits(vlm, encoded, sources, targets, blocked))
        probabilities.append(float(then.probabilities[answer]))
        top.append(tuple(then.top(5)))
    return Knockout(
        probability=xr.DataArray(
            np.array(probabilities),
            dims=("layer",),
            coords={"layer": centres if window is not None else centres[:1]},
            name="probability",
        ),
        before=float(own.probabilities[answer]),
        answer=own,
        answer_token=vlm.tokenizer.decode([answer]),
        source=named(source),
        target=named(target),
        sources=sources,
        targets=targets,
        window=window,
        blocked=tuple(windows),
        top=tuple(top),
        question=question.text,
        model=vlm.name,
        warnings=_warnings(vlm, own, answer, windows),
        provenance=dated(made, window=window),
    )


def _last_logits(
    vlm: VLM, encoded: Encoding, sources: tuple[int, ...], targets: tuple[int, ...], blocked: Sequence[int]
) -> torch.Tensor:
    """Logits (vocabulary,) at the last position, with the edges blocked in some layers."""
    with vlm.running():
        nn = vlm.nnsight
        with nn.trace(**encoded.inputs, use_cache=False, logits_to_keep=1):
            for layer in blocked:
                if crosses(vlm, layer):
                    continue
                attention = part(nn, vlm.site(layer, "self_attn"))
                args, options = attention.inputs
                _block(vlm, layer, args, options, attention.output, sources, targets)
            logits = nn.output.logits[0, -1].save()
    return logits


def _block(
    vlm: VLM,
    layer: int,
    args: Any,
    options: Any,
    given: Any,
    sources: tuple[int, ...],
    targets: tuple[int, ...],
) -> None:
    """Write the targets' rows into what an attention gave, computed without the sources."""
    output = (given[0] if isinstance(given, tuple) else given)[0]
    for start in range(0, len(targets), ROWS):
        some = targets[start : start + ROWS]
        rows = rows_of(vlm, layer, args, options, some)
        # with everything seen they must be what the attention gave, or the knockout would change more than it says
        for target, own in zip(some, rows.outputs(), strict=True):
            check_sum(vlm, layer, target, rows.difference((own - rows.bias).float(), output[target]), output.dtype)
        cut = rows.without(sources)
        if bool(torch.isneginf(cut.scores).all(-1).any()):
            raise FlowError(
                f"with these sources blocked, a target among positions {some} has nothing left to look at at layer {layer}; leave it out of target=, or one of "
                "its sources out of source=."
            )
        output[list(some)] = cut.outputs().to(output)


def _windows(centres: list[int], window: Any, count: int) -> list[tuple[int, ...]]:
    """The layers blocked around each centre; all centres at once for None."""
    if window is None:
        return [tuple(centres)]
    if isinstance(window, bool) or not isinstance(window, (int, np.integer)) or not 1 <= window <= count:
        raise FlowError(
            f"window={window!r} is no number of layers; expected 1 to {count}, or None to block in all layers at once."
        )
    spans = [range(centre - window // 2, centre - window // 2 + window) for centre in centres]
    return [tuple(layer for layer in span if 0 <= layer < count) for span in spans]


def _token(answer: Any, vocabulary: int) -> int:
    if isinstance(answer, bool) or not isinstance(answer, (int, np.integer)) or not 0 <= answer < vocabulary:
        raise FlowError(
            f"answer={answer!r} is no token's id; expected 0 to {vocabulary - 1}, such as mw.ask(...).token_id."
        )
    return int(answer)


def _warnings(vlm: VLM, own: Answer, answer: int, windows: list[tuple[int, ...]]) -> tuple[str, ...]:
    """Why a knockout may mean nothing."""
    found = []
    if any(crosses(vlm, layer) for blocked in windows for layer in blocked):
        found.append("cross-attention layers stayed as they are: what they look at are vision states and no tokens")
    if answer == own.token_id and own.probability < 0.5:
        found.append(
            f"the model is not sure of its own answer (P = {own.probability:.3f}), so its changes may mean little"
        )
    return tuple(found)

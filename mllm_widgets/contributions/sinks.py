"""Sinks: tokens that take attention whatever they hold.

Two signs, each of which must show at half of the layers or more:

* activation: one number of the residual stream that enters the layer is more than 20 times its root mean square (Kang et al. 2025 take the
  same bound on a model's known sink dimensions; here any dimension may show it, so it works for models whose dimensions nobody has listed;
  the phenomenon is that of Sun et al. 2024, "Massive Activations in Large Language Models").
* attention: for half of the queries that see it, it takes ten times the attention that the middle token of its kind (visual or text) takes, and a
  twentieth of all that its kind takes.  The queries are the words after the picture, up to 16 of them, for a token that only the target looks at may well
  be what the question is about; so may the constraint, which is left out for that reason.  A patch that all words look at may still be
  content.  With a control (`attention_contributions(..., control="blank")`) a token has this sign only if it has it for the control's picture as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .result import Contributions, Sink

if TYPE_CHECKING:
    import torch

    from mllm_widgets.results import TokenInfo

PEAK = 20.0
TIMES_MEDIAN, OF_KIND = 10.0, 0.05
HALF = 0.5
MOST_QUERIES, LEAST_QUERIES, LEAST_LAYERS = 16, 4, 3
FIRST = 5  # patches that a reader sees first


@dataclass(frozen=True, eq=False)
class Observed:
    """What sinks are told by.

    peaks: (layers, positions), `activation_peaks` of the stream that enters each layer.
    queries: positions whose attention was read.
    attention: (layers, queries, positions), mean over heads.
    """

    peaks: np.ndarray
    queries: tuple[int, ...]
    attention: np.ndarray


def sink_queries(visual: np.ndarray) -> tuple[int, ...]:
    """Positions whose attention shows sinks: text after the picture, evenly spread; visual is bool (positions,)."""
    last = np.flatnonzero(visual)
    words = np.arange(last[-1] + 1 if len(last) else 0, len(visual))
    chosen = np.linspace(0, len(words) - 1, min(MOST_QUERIES, len(words))).round().astype(int)
    return tuple(int(p) for p in words[np.unique(chosen)])


def activation_peaks(stream: torch.Tensor) -> np.ndarray:
    """Of each token of a residual stream (positions, width): its largest number over its root mean square, (positions,)."""
    stream = stream.float()
    return (stream.abs().amax(-1) / stream.pow(2).mean(-1).sqrt().clamp_min(1e-12)).cpu().numpy()


def find_sinks(flow: Contributions, seen: Observed, control: Observed | None = None) -> tuple[Sink, ...]:
    """The sinks among a result's tokens, by position; none where fewer than three layers were computed."""
    if len(flow.layers) < LEAST_LAYERS:
        return ()
    signs = {"activation": (seen.peaks > PEAK).mean(0), "attention": stands_out(seen, flow.rows).mean(0)}
    if control is not None:
        signs["attention"] = np.minimum(signs["attention"], stands_out(control, flow.rows).mean(0))
    signs["attention"][list(flow.constraint)] = 0
    attention = flow.attention.mean(("layer", "head")).values
    shares = (flow.norms / flow.norms.sum("token").clip(min=1e-12)).mean("layer").values
    sinks = []
    for row in flow.rows:
        at = row.position
        reason = max(signs, key=lambda name, at=at: signs[name][at])
        part = float(signs[reason][at])
        if part >= HALF:
            sinks.append(Sink(at, row.text, row.kind, float(attention[at]), float(shares[at]), part, reason))
    return tuple(sinks)


def stands_out(seen: Observed, rows: Sequence[TokenInfo]) -> np.ndarray:
    """Where a token takes far more attention than others of its kind, for half of the queries that see it: bool (layers, positions)."""
    layers, _, positions = seen.attention.shape
    times, chances = np.zeros((layers, positions)), np.zeros(positions)
    place = np.arange(positions)
    kinds = [np.array([row.kind == kind for row in rows]) for kind in ("visual", "text")]
    for index, query in enumerate(seen.queries):
        attention = seen.attention[:, index]
        # a query looks at itself, and what it does not see is not there for it
        visible = (attention > 0).any(0) & (place != query)
        for members in (kind & visible for kind in kinds):
            if members.sum() < LEAST_QUERIES:
                continue
            own = attention[:, members]
            least = np.maximum(
                TIMES_MEDIAN * np.median(own, axis=1, keepdims=True), OF_KIND * own.sum(1, keepdims=True)
            )
            times[:, members] += own > least
            chances[members] += 1
    return (times >= HALF * chances) & (chances >= LEAST_QUERIES)


def sink_warnings(flow: Contributions) -> tuple[str, ...]:
    """A sentence if the patches that a reader sees first are sinks."""
    visual = flow.visual
    if not len(visual) or not flow.layers:
        return ()
    layer = flow.peak_layer
    first = flow.top(layer, FIRST, kind="visual")
    count = int(first["sink"].sum())
    if 2 * count < len(first):
        return ()
    sentence = (
        f"{count} of the {len(first)} patches that write most at layer {layer} are sinks, which take attention whatever they hold; look at "
        "flow.masked(), which leaves them out"
    )
    return (sentence,)

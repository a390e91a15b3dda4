"""Where the trace says the answer is, and the answers to all watched questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets import colormaps, labels
from mllm_widgets.errors import MllmWidgetsError

from .probes import Probe

if TYPE_CHECKING:
    from mllm_widgets.results import Answer
    from mllm_widgets.vlm.model import VLM
    from mllm_widgets.vlm.question import Question


@dataclass(frozen=True)
class Where:
    """What a causal trace says of the MLPs at the last constraint token.

    effects: (layers,) indirect effects, window 1; empty where there is no trace. causal: the layer of the largest. limit: the end of their colours' scale.
    token: that token's text. note: what came of it, or why there is none, in a sentence.
    """

    effects: tuple[float, ...]
    causal: int
    token: str
    note: str
    limit: float = 1.0


def trace_layers(vlm: VLM, question: Question, cancel: Any = None) -> Where:
    """Where to edit; a question that cannot be traced gets a note instead."""
    from mllm_widgets.tracing import prepare_trace, run_trace

    encoded = vlm.encode(question)
    position = encoded.constraint[-1]
    token = labels.visible(encoded.tokens[position].text)
    try:
        setup = prepare_trace(vlm, question)
        trace = run_trace(setup, modules=("mlp",), cancel=cancel)
    except MllmWidgetsError as error:
        return Where((), -1, token, f"The trace cannot say where: {error}")
    effects = trace.indirect_effect.sel(module="mlp", token=position).values
    best = int(np.nanargmax(effects))
    note = (
        f"Restoring the MLP of layer {best} brings back {effects[best]:.2f} of the {trace.total_effect:.2f} that the answer loses when the constraint is "
        f"replaced by {trace.corruption!r}."
    )
    limit = colormaps.effect_limit(effects, trace.total_effect)
    return Where(tuple(map(float, effects)), best, token, " ".join([note, *trace.warnings]), limit)


def answers(vlm: VLM, probes: Sequence[Probe], cancel: Any, terms: Sequence[Any] = ()) -> list[Answer]:
    """What the model answers with exactly these terms of edits; without any, the original one."""
    from mllm_widgets.vlm.asking import ask

    found = []
    for probe in probes:
        cancel.check()
        with vlm.side_terms.only(terms):
            found.append(ask(vlm, probe.question))
    return found

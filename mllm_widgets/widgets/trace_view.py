"""How a trace reads on the screen: its rows, its words and its numbers, as plain values the front end takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets import colormaps, labels
from mllm_widgets.results import TokenInfo, Trace, fold_untraced

if TYPE_CHECKING:
    from mllm_widgets.tracing import TraceSetup


def describe(trace: Trace | TraceSetup, setup: TraceSetup | None) -> dict[str, Any]:
    """Everything about a trace that no window changes; `setup` (None once it is gone) knows the constraint's place in the question."""
    saved = isinstance(trace, Trace)
    answer = trace.scored_answer
    return {
        "question": trace.question if saved else trace.question.text,
        "span": list(_constraint_span(setup)),
        "answer": answer.strip() or labels.visible(answer),
        "measure": labels.MEASURES[trace.score if saved else trace.score.kind],
        "corruption": trace.corruption,
        "swapped": bool((trace.corrupted_input_ids != _input_ids(trace)).any()),
        "warnings": list(trace.warnings),
        "clean": trace.clean,
        "corrupted": trace.corrupted,
        "limit": colormaps.effect_limit(np.empty(0), trace.clean - trace.corrupted),
        "rows": rows(trace.rows),
        "provenance": trace.provenance,
    }


def _input_ids(trace: Trace | TraceSetup) -> np.ndarray:
    return trace.input_ids if isinstance(trace, Trace) else trace.encoded.input_ids


def rows(tokens: tuple[TokenInfo, ...]) -> list[dict[str, Any]]:
    """Rows of the map; `column` is a row's (first) place on the trace's token axis, -1 for folded visual tokens."""
    found, column = [], 0
    for token in fold_untraced(tokens):
        visual = token.kind == "visual"
        found.append(
            {
                "label": labels.visible(token.text),
                "position": token.position,
                "id": token.token_id,
                "count": token.count,
                "visual": visual,
                "constraint": token.constraint,
                "traced": token.traced,
                "reason": token.reason,
                "column": -1 if visual else column,
            }
        )
        column += 0 if visual else token.count
    return found


def _constraint_span(setup: TraceSetup | None) -> tuple[int, ...]:
    """Where the constraint stands in the question (characters start, end), or nothing."""
    question = setup and setup.question
    if question is None or question.constraint is None:
        return ()
    from mllm_widgets.vlm.spans import find_words

    return find_words(question.text, question.constraint, question.occurrence)

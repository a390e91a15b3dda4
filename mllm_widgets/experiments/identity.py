"""What of a trace is the words alone: restored is what they leave in the model before another picture.

A swap changes which words stand at the constraint, so that restoring an early layer there puts the old word back, with whatever it took from the picture.  Restored from a
run of the same words before a blank picture, the same place holds the word without the picture: what that brings back is the word's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import DatasetError
from mllm_widgets.sweeps import Averages, TraceMeasure, aggregate

from .traces import MODULES, data_sets, swept

if TYPE_CHECKING:
    from mllm_widgets.datasets.vqa_constraints import VqaConstraints
    from mllm_widgets.tracing.setup import TraceSetup
    from mllm_widgets.vlm.model import VLM
    from mllm_widgets.vlm.question import Question


@dataclass(frozen=True)
class IdentityMeasure(TraceMeasure):
    """A causal trace in which what is restored was made before another picture: `source` is "blank", "shuffled" or "flipped" (see `mw.attention_contributions`).

    Clean and corrupted run, and the answer that is scored, are those of the question's own picture.
    """

    source: str = "blank"

    def setup(self, vlm: VLM, question: Question) -> TraceSetup:
        """The clean and the corrupted run, with what is restored from the other picture."""
        from mllm_widgets.contributions.controls import control_question
        from mllm_widgets.tracing import prepare_trace

        own = super().setup(vlm, question)
        other = prepare_trace(vlm, control_question(question, self.source), corruption=self.corruption)
        if other.clean_outputs["mlp"].shape != own.clean_outputs["mlp"].shape or other.start != own.start:
            raise DatasetError(
                "the other picture gives another number of visual tokens, so its run cannot be put in the place of this one."
            )
        return replace(own, clean_outputs=other.clean_outputs)


def identity_traces(
    vlm: VLM | str,
    data: VqaConstraints | Mapping[str, Any],
    out: str | Path,
    *,
    window: int = 1,
    corruption: Any = None,
    source: str = "blank",
    modules: Sequence[str] = MODULES,
    correct: bool | None = True,
    least_effect: float = 0.1,
    **options: Any,
) -> dict[str, Averages]:
    """`averaged_traces` with what the same words leave before a blank picture restored: which part of an effect is the word's, and not the picture's.

    Where it brings back as much as the question's own run does, the layer holds the word; where it brings back nothing, what the word took from the picture.

    Parameters
    ----------
    source: "blank", "shuffled" or "flipped".
    The others are as in `averaged_traces`.
    """
    found = {}
    for name, questions in data_sets(data).items():
        measure = IdentityMeasure(corruption=corruption, window=window, modules=tuple(modules), source=source)
        run = swept(vlm, questions, measure, out=Path(out) / name, **options)
        found[name] = aggregate(run, correct=correct, least_effect=least_effect)
    return found

"""Edits of many questions, each alone on the unedited model, by MultEdit or by what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from mllm_widgets.datasets.vqa_constraints import Row
from mllm_widgets.errors import DatasetError

from .items import Item, as_items
from .measures import Found, Measure

if TYPE_CHECKING:
    from mllm_widgets.editing import Edit, EditReport, Unedited
    from mllm_widgets.vlm.model import VLM
    from mllm_widgets.vlm.question import Question

METHODS = ("MultEdit", "fine-tuned", "fine-tuned in a box", "ROME", "LoRA")
BOX = 5e-4  # of ROME's repository, for GPT2-XL
ACCURACY = "VQA accuracy"


@dataclass(frozen=True)
class EditMeasure(Measure):
    """An edit of each question, and what it changes; see `mw.multedit` and `mw.evaluate_edit`.

    Beside what `evaluate_edit` measures there are "reached", P(target) at the end of the search, and "VQA accuracy" of the unrelated questions: how right their
    answers are by all that people answered, where a row of VQA-Constraints has that.

    targets: name of a question -> what the model should say; None inserts its true answer, which corrects what the model gets wrong (the paper's task A).
    layers: each is edited by itself. lam, steps: as in `multedit`; other methods have no lam.
    paraphrases: name of a question -> texts that ask the same. unrelated: questions, or rows of VQA-Constraints, that should stay.
    method: "MultEdit", "fine-tuned", "fine-tuned in a box" (no weight moves more than `box`, 5e-4), "ROME" or "LoRA"; options: of its function in `mw.editing`.
    same_phrase: name of a question -> other pictures (or rows, whose pictures are taken) that its words are asked about, where the edit has no business: leakage.
    seen: questions, or rows, whose keys ROME changes least.
    """

    targets: Mapping[str, str] | None = None
    layers: Sequence[int] = (2,)
    lam: float = 0.01
    steps: int = 25
    paraphrases: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    unrelated: Sequence[Any] = ()
    method: str = "MultEdit"
    options: Mapping[str, Any] = field(default_factory=dict)
    same_phrase: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    seen: Sequence[Any] = ()

    kind: ClassVar[str] = "edit"
    LATER: ClassVar[tuple[str, ...]] = ("method", "options", "same_phrase", "seen")
    FACTS: ClassVar[dict[str, str]] = {"target": "text"}
    CELLS: ClassVar[dict[str, str]] = {
        "layer": "int",
        "quantity": "text",
        "value": "float",
        "before": "float",
        "count": "int",
    }

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise DatasetError(f"method={self.method!r} is not known; expected one of {', '.join(map(repr, METHODS))}.")
        if self.method == "ROME" and not self.seen:
            raise DatasetError(
                "method='ROME' needs seen=: questions whose keys it should change least, the more the better; it was given none."
            )

    def run(self, vlm: VLM, item: Item, question: Question, cancel: Any = None) -> Found:
        """As `Measure.run`."""
        from mllm_widgets.editing import evaluate_edit

        target = question.answer if self.targets is None else self.targets.get(item.id)
        if not target:
            raise DatasetError(
                f"question {item.id} has no target; expected one in targets=, or a true answer for what is to be inserted."
            )
        if vlm.side_terms.active:
            raise DatasetError(
                "an edit is applied to the model, so this one would not be made from the unedited model; revert it first."
            )
        kept = _kept(vlm, self)
        others = [one.question().image if isinstance(one, Row) else one for one in self.same_phrase.get(item.id, ())]
        rows: dict[str, list[Any]] = {name: [] for name in self.CELLS}
        try:
            for layer in self.layers:
                report = evaluate_edit(
                    self._edit(vlm, question, target, layer, kept, cancel),
                    paraphrases=self.paraphrases.get(item.id, ()),
                    same_phrase=others,
                    unrelated=kept.questions,
                    draws=2,
                    unedited=kept.unedited,
                    cancel=cancel,
                )
                measured = [("reached", report.edits[0].reached, float("nan"), 1)]
                measured += [(one.name, one.value, one.before, one.count) for one in report.measures]
                for found in [*measured, *_accuracy(report, kept.items)]:
                    for name, value in zip(self.CELLS, (layer, *found), strict=True):
                        rows[name].append(value)
        finally:
            kept.unedited.forget(kept.questions)
        return Found({"target": target}, rows)

    def _edit(self, vlm: VLM, question: Question, target: str, layer: int, kept: _Kept, cancel: Any) -> Edit:
        from mllm_widgets import editing

        options: dict[str, Any] = {"steps": self.steps, **self.options}
        if self.method == "MultEdit":
            return editing.multedit(vlm, question, target, layer, self.lam, cancel=cancel, **options)
        if self.method == "ROME":
            options = {"covariance": kept.covariance(vlm, self.seen, layer), **options}
        if self.method == "fine-tuned in a box":
            options = {"box": BOX, **options}
        made: Callable[..., Edit] = {"ROME": editing.rome, "LoRA": editing.lora}.get(self.method, editing.fine_tune)
        return made(vlm, question, target, layer, cancel=cancel, **options)


class _Kept:
    """What one model has been asked for one set of unrelated questions, from edit to edit: they are read, and asked of the unedited model, once."""

    def __init__(self, vlm: VLM, unrelated: Sequence[Any]) -> None:
        from mllm_widgets.editing import Unedited

        self.items = as_items(list(unrelated)) if unrelated else []
        self.questions = [item.question() for item in self.items]
        self.unedited: Unedited = Unedited(vlm)
        self._covariances: dict[Any, Any] = {}

    def covariance(self, vlm: VLM, seen: Sequence[Any], layer: int) -> Any:
        """Of the keys of `seen` in a layer."""
        from mllm_widgets.editing import key_covariance

        items = as_items(list(seen))
        key = (layer, vlm.side_terms.in_weights, *(item.digest for item in items))
        if key not in self._covariances:
            self._covariances[key] = key_covariance(vlm, [item.question() for item in items], layer)
        return self._covariances[key]


def _kept(vlm: VLM, measure: EditMeasure) -> _Kept:
    name = repr(measure.settings["unrelated"])
    if vlm.memo.get("edits", ("", None))[0] != name:
        vlm.memo["edits"] = (name, _Kept(vlm, measure.unrelated))
    return vlm.memo["edits"][1]


def _accuracy(report: EditReport, items: Sequence[Item]) -> list[tuple[str, float, float, int]]:
    """How right the answers to the unrelated questions are, of those whose true answer is known."""
    import numpy as np

    probes = [probe for probe in report.probes if probe.group == "unrelated"]
    scores = np.array(
        [(item.score(probe.after), item.score(probe.before)) for item, probe in zip(items, probes, strict=True)]
    )
    if len(scores):
        scores = scores[np.isfinite(scores).all(axis=1)]
    if not len(scores):
        return []
    after, before = scores.mean(axis=0)
    return [(ACCURACY, float(after), float(before), len(scores))]

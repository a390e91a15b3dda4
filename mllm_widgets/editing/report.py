"""What an edit does, in figures: one row a measure, each with its interval, the unedited model's figure and its formula."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mllm_widgets.errors import EditError
from mllm_widgets.intervals import bootstrap_interval
from mllm_widgets.saving.result import Result

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_P = "mean over questions of P(target) = prod_i P(t_i | question, t_<i)"
_ALL = "share of questions with t_i = argmax P(. | question, t_<i) for every i"
_TOKENS = "mean over questions of the share of tokens i with t_i = argmax P(. | question, t_<i) (EasyEdit)"
_SAME = "share of questions whose greedy answer, its end included, is the unedited model's"
_TOP1 = "mean over questions of the share of tokens of the unedited model's answer at which both models have the same arg-max (EasyEdit, top-1)"
_TOP10 = "the same, with the same ten most probable tokens in the same order (VLKEB code, strict top-10)"
_KL = "mean over questions of sum_t P(t) log(P(t) / P'(t)), P before and P' after the edit, at the answer's first token, nats"

# measure -> group of questions, column of a probe, formula
DEFINITIONS: dict[str, tuple[str, str, str]] = {
    "efficacy": ("edited", "probability", _P),
    "success": ("edited", "success", _ALL),
    "reliability": ("edited", "tokens", _TOKENS),
    "generalization": ("paraphrases", "probability", _P),
    "generalization success": ("paraphrases", "success", _ALL),
    "T-generality": ("paraphrases", "tokens", _TOKENS),
    "picture generalization": ("pictures", "probability", _P),
    "picture generalization success": ("pictures", "success", _ALL),
    "I-generality": ("pictures", "tokens", _TOKENS),
    "portability": ("portability", "success", _ALL),
    "portability probability": ("portability", "probability", _P),
    "portability tokens": ("portability", "tokens", _TOKENS),
    "specificity": ("unrelated", "agreement", _SAME),
    "first-token specificity": (
        "unrelated",
        "first",
        "share of questions whose answer begins with the unedited model's first token",
    ),
    "accuracy": (
        "unrelated",
        "correct",
        "share of questions with a known answer whose greedy answer is that, capitals aside",
    ),
    "KL": ("unrelated", "kl", _KL),
    "I-locality": ("unrelated", "top1", _TOP1),
    "I-locality top-10": ("unrelated", "top10", _TOP10),
    "leakage": ("same_phrase", "probability", _P),
    "leakage success": ("same_phrase", "success", _ALL),
    "same-phrase specificity": ("same_phrase", "agreement", _SAME),
    "same-phrase KL": ("same_phrase", "kl", _KL),
    "text specificity": ("text", "agreement", _SAME),
    "text KL": ("text", "kl", _KL),
    "T-locality": ("text", "top1", _TOP1),
    "T-locality top-10": ("text", "top10", _TOP10),
}
# what the unedited model scores against itself
_ITSELF = {"agreement": 1.0, "first": 1.0, "top1": 1.0, "top10": 1.0, "kl": 0.0}


@dataclass(frozen=True)
class Probe:
    """One question, asked before and after an edit.

    group: which argument it came by ("edited": the edited question itself). edit: which edit of several it is about; None for all.
    expected: the answer that was scored. before, after: the greedy answers.
    probability, success, tokens: P(expected), whether every token of it is the arg-max with those before it said, and the share that are.
    agreement, first: whether the greedy answer, its end included, or its first token, is the unedited model's. top1, top10: the share of tokens of the
    unedited model's answer at which the arg-max, or the list of the ten best, stays. kl: KL(before || after) at the answer's first token, nats.
    correct: whether the greedy answer is the question's own `answer`.
    What was not asked for is None.
    """

    group: str
    edit: int | None
    question: str
    expected: str | None
    before: str
    after: str
    probability: float | None = None
    probability_before: float | None = None
    success: float | None = None
    success_before: float | None = None
    tokens: float | None = None
    tokens_before: float | None = None
    agreement: float | None = None
    first: float | None = None
    top1: float | None = None
    top10: float | None = None
    kl: float | None = None
    correct: float | None = None
    correct_before: float | None = None


@dataclass(frozen=True)
class Measure:
    """One figure: a mean with its 95% bootstrap interval (NaN from a single value), over `count` questions or edits.

    before: the same of the unedited model.
    """

    name: str
    value: float
    low: float
    high: float
    count: int
    before: float
    formula: str = field(repr=False)

    @classmethod
    def of(cls, name: str, values: Sequence[float], before: Sequence[float], draws: int, seed: int) -> Measure:
        """The mean of what was found, one value a question or an edit."""
        found = np.asarray(values, dtype=float)
        low, high = bootstrap_interval(found, draws, seed)
        return cls(name, float(found.mean()), low, high, len(found), float(np.mean(before)), DEFINITIONS[name][2])

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.3f} ({self.low:.3f} to {self.high:.3f}; {self.before:.3f} before the edit)"


class Table:
    """What reports have in common: `measures`, looked up by name and shown as a table."""

    measures: tuple[Measure, ...]

    def __getitem__(self, name: str) -> Measure:
        for measure in self.measures:
            if measure.name == name:
                return measure
        if name in DEFINITIONS:
            group = DEFINITIONS[name][0]
            raise EditError(
                f"{name!r} was not measured: it needs questions passed as {group}= (for accuracy, with an answer)."
            )
        raise EditError(f"there is no measure {name!r}; there are {', '.join(DEFINITIONS)}.")

    def __iter__(self) -> Iterator[Measure]:
        return iter(self.measures)

    def __len__(self) -> int:
        return len(self.measures)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a measure: measure, value, low, high, count, before, formula."""
        import pandas as pd

        rows = [dataclasses.asdict(measure) for measure in self.measures]
        return pd.DataFrame(rows).rename(columns={"name": "measure"})

    def _repr_html_(self) -> str:
        return self.to_dataframe().drop(columns="formula").to_html(index=False, float_format="%.3f")


@dataclass(frozen=True)
class EditFacts:
    """Which edit was measured, as it was then: its lam may be set later."""

    question: str
    target: str
    method: str
    layer: int
    lam: float
    reached: float

    def __str__(self) -> str:
        return f"{self.question!r} -> {self.target!r}, layer {self.layer}, lam {self.lam:g}, {self.method}"


@dataclass(frozen=True)
class EditReport(Table, Result):
    """What one edit, or several that are applied together, do (`evaluate_edit`).

    measures: one for each row of `to_dataframe()`; `report["efficacy"]` is one of them.
    probes: every question that was asked. edits: what was measured.
    """

    measures: tuple[Measure, ...]
    probes: tuple[Probe, ...] = field(repr=False)
    edits: tuple[EditFacts, ...]
    model: str

    def per_question(self) -> pd.DataFrame:
        """One row a question, with the answers before and after and all of its figures (see `Probe`)."""
        import pandas as pd

        return pd.DataFrame([dataclasses.asdict(probe) for probe in self.probes]).astype({"edit": "Int64"})


@dataclass(frozen=True)
class ManyReport(Table, Result):
    """Many edits, each measured by itself (`edit_many`).

    measures: means over edits, with bootstrap intervals over edits; `count` counts edits.
    reports: one for each edit.
    """

    measures: tuple[Measure, ...]
    reports: tuple[EditReport, ...] = field(repr=False)
    method: str

    def to_dataframe(self) -> pd.DataFrame:
        """One row a measure: method, measure, value, low, high, count, before, formula; tables of several methods can be put together."""
        table = super().to_dataframe()
        table.insert(0, "method", self.method)
        return table

    def per_edit(self) -> pd.DataFrame:
        """One row an edit: question, target, method, layer, lam, reached, and the value of each measure."""
        import pandas as pd

        return pd.DataFrame(
            [
                {**dataclasses.asdict(report.edits[0]), **{measure.name: measure.value for measure in report}}
                for report in self.reports
            ]
        )


@dataclass(frozen=True)
class SequenceReport(Result):
    """Edits put on one model one after the other (`evaluate_sequence`).

    probability, success: xarray (after, edit): P(target), and whether every token of it is the arg-max, of edit `edit` once `after` edits apply; NaN for those still to come.
    alone: xarray (edit,), P(target) with that edit by itself.
    agreement: xarray (after,), the share of `unrelated` questions whose greedy answer is the unedited model's; NaN without any.
    unrelated: (after, question), that share one by one: 0 or 1.
    """

    probability: xr.DataArray
    success: xr.DataArray
    alone: xr.DataArray
    agreement: xr.DataArray
    unrelated: np.ndarray = field(repr=False)
    draws: int = field(default=2000, repr=False)
    seed: int = field(default=0, repr=False)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a number of edits: after, efficacy (mean P(target) of the edits so far), low, high, success, alone (the same edits by themselves), agreement, and its interval."""
        import pandas as pd

        rows = []
        for place, after in enumerate(self.probability.after.values):
            held = self.probability.values[place, :after]
            low, high = bootstrap_interval(held, self.draws, self.seed)
            same_low, same_high = bootstrap_interval(self.unrelated[place], self.draws, self.seed)
            rows.append(
                {
                    "after": int(after),
                    "efficacy": held.mean(),
                    "low": low,
                    "high": high,
                    "success": self.success.values[place, :after].mean(),
                    "alone": self.alone.values[:after].mean(),
                    "agreement": float(self.agreement.values[place]),
                    "agreement_low": same_low,
                    "agreement_high": same_high,
                }
            )
        return pd.DataFrame(rows)


def measured(probes: Iterable[Probe], draws: int, seed: int) -> tuple[Measure, ...]:
    """All measures that the questions allow, in the order of `DEFINITIONS`."""
    asked = list(probes)
    found = []
    for name, (group, column, _) in DEFINITIONS.items():
        members = [probe for probe in asked if probe.group == group and getattr(probe, column) is not None]
        if members:
            values = [getattr(probe, column) for probe in members]
            before = [_ITSELF[column] if column in _ITSELF else getattr(p, f"{column}_before") for p in members]
            found.append(Measure.of(name, values, before, draws, seed))
    return tuple(found)

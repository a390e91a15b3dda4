"""What an edit does to the watched questions, at each lambda."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import WidgetError

from .probes import Probe

if TYPE_CHECKING:
    from mllm_widgets.editing import Edit
    from mllm_widgets.results import Answer

SUMMARIES = {
    "efficacy": ("edited",),
    "generalization": ("paraphrase", "picture"),
    "specificity": ("unrelated",),
    "leakage": ("same phrase",),
}
POINTS = 33  # lambdas
LEAST, MOST = 1e-5, 1e3  # of them, in |k|^2
SAME = 1e-6  # lambdas that differ by less, relative to each other, are one
_BY_LAM = ("probability", "kept", "agreement", "top", "top_p")


@dataclass(frozen=True, eq=False)
class Measured:
    """An edit at each lambda, alone on the model.

    lams: (lambda,). probability: (lambda, question), P(target), all its tokens. kept: (lambda, question), P of the first token of the answer before.
    agreement: (lambda, question) bool, is that still the likeliest? top, top_p: (lambda, question, rank), the likeliest first tokens.
    """

    probes: tuple[Probe, ...] = field(repr=False)
    lams: np.ndarray
    probability: np.ndarray = field(repr=False)
    kept: np.ndarray = field(repr=False)
    agreement: np.ndarray = field(repr=False)
    top: np.ndarray = field(repr=False)
    top_p: np.ndarray = field(repr=False)
    vocabulary: tuple[str, ...] = field(repr=False)
    said: int
    before: tuple[int, ...] = field(repr=False)

    def at(self, lams: np.ndarray) -> Measured:
        """The same at some of its lambdas."""
        places = [int(np.abs(self.lams - lam).argmin()) for lam in lams]
        return replace(self, lams=lams, **{name: getattr(self, name)[places] for name in _BY_LAM})

    def joined(self, other: Measured | None) -> Measured:
        """With the lambdas of another sweep of the same edit."""
        if other is None:
            return self
        order = np.argsort(np.concatenate([self.lams, other.lams]))
        both = {n: np.concatenate([getattr(self, n), getattr(other, n)])[order] for n in ("lams", *_BY_LAM)}
        return replace(self, **both)

    def lacks(self, lams: np.ndarray) -> np.ndarray:
        """Those of the lambdas at which nothing was measured."""
        return np.array([lam for lam in lams if not np.isclose(self.lams, lam, rtol=SAME, atol=0).any()])

    def summary(self, name: str) -> np.ndarray | None:
        """One number for each lambda (lambda,); None where no question measures it.

        name: "efficacy" (P(target) on the edited question), "generalization" (its mean over paraphrases and other pictures), "specificity" (the share of
        unrelated questions whose first token stays) or "leakage" (mean P(target) where the same words point at another thing that is not the target).
        """
        kinds = SUMMARIES[name]
        some = [
            place
            for place, probe in enumerate(self.probes)
            # what says the target without an edit cannot show a leak
            if probe.kind in kinds and not (name == "leakage" and self.before[place] == self.said)
        ]
        if not some:
            return None
        values = self.agreement if name == "specificity" else self.probability
        return values[:, some].mean(axis=1, dtype=np.float64)

    def verdict(self, place: int, at: int) -> tuple[bool, str]:
        """Is it as it should be, and what happened to a question at one lambda, in a word or two; js/src/edit/numbers.ts says the same."""
        first = int(self.top[at, place, 0])
        if self.probes[place].follows:
            return (True, "changed") if first == self.said else (False, "not changed")
        if self.agreement[at, place]:
            return True, "kept"
        return False, "leaks" if first == self.said else f"now {self.vocabulary[first].strip()}"


def measure(
    edit: Edit,
    probes: tuple[Probe, ...],
    before: Sequence[Answer],
    cancel: Any,
    progress: Callable[[float], None],
    lams: np.ndarray | None = None,
) -> Measured:
    """The edit on each watched question at these lambdas, ascending; at 33 by default, its own among them."""
    from mllm_widgets.editing import lambda_sweep

    sweep = lambda_sweep(
        edit,
        [probe.question for probe in probes],
        list(axis(edit) if lams is None else lams),
        progress=lambda done, count: progress(done / count),
        cancel=cancel,
    )
    by_lam = {
        name: getattr(sweep, name).transpose("lam", ...).values for name in ("target", "kept", "agrees", "top", "top_p")
    }
    return Measured(
        probes,
        sweep.lams,
        by_lam["target"],
        by_lam["kept"],
        by_lam["agrees"],
        by_lam["top"],
        by_lam["top_p"],
        vocabulary=before[0].vocabulary,
        said=edit.target_ids[0],
        before=tuple(answer.token_id for answer in before),
    )


def check_lams(lams: Any) -> Any:
    """What `chosen` takes: None, a count or a list of floats.

    Raises WidgetError for anything else.
    """
    if lams is None:
        return None
    if isinstance(lams, (int, np.integer)) and not isinstance(lams, bool) and lams >= 2:
        return int(lams)
    numbers = lams if isinstance(lams, Iterable) and not isinstance(lams, str) else [None]
    values = [float(lam) if isinstance(lam, (int, float, np.number)) else np.nan for lam in numbers]
    if not values or not all(0 < value < np.inf for value in values):
        raise WidgetError(
            f"lams={lams!r} are no lambdas; expected a count of 2 or more, such as 17, or numbers above 0, such as [0.01, 1, 100]."
        )
    return values


def chosen(edit: Edit, measured: Measured, lams: Any) -> np.ndarray:
    """The lambdas asked for, ascending, the edit's own among them: a count of them over the whole axis, or the values themselves.

    A count of up to 33 takes those measured already; only the edit's own may be lacking, where a cell has set it to what is none of the slider's.
    """
    if lams is None:
        return axis(edit)
    if len(measured.lams) == lams:
        return _with_own(measured.lams, edit)
    if not isinstance(lams, int):
        return np.unique([*lams, edit.lam])
    if lams > POINTS or len(measured.lams) != POINTS:
        return axis(edit, lams)
    places = np.rint(np.linspace(0, POINTS - 1, lams)).astype(int)
    own = int(np.abs(np.log(measured.lams / edit.lam)).argmin())
    places[np.abs(places - own).argmin()] = own
    return _with_own(measured.lams[np.unique(places)], edit)


def _with_own(lams: np.ndarray, edit: Edit) -> np.ndarray:
    """These lambdas, the nearest to the edit's replaced by it where it is none of them."""
    near = int(np.abs(np.log(lams / edit.lam)).argmin())
    own = lams[near] if np.isclose(lams[near], edit.lam, rtol=SAME, atol=0) else edit.lam
    return np.array([*lams[:near], own, *lams[near + 1 :]])


def axis(edit: Edit, points: int = POINTS) -> np.ndarray:
    """(points,) lambdas, of which one is the edit's: from where the edit is whole to where nothing is left of it, moved by less than half a step for that."""
    assert edit.key is not None
    square = float(edit.key.double().square().sum())
    lams = np.geomspace(min(square * LEAST, edit.lam), max(square * MOST, edit.lam), points)
    near = int(np.abs(np.log(lams / edit.lam)).argmin())
    lams *= edit.lam / lams[near]
    lams[near] = edit.lam
    return lams

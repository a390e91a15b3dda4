"""Measures by the names that a sweep takes them by."""

from __future__ import annotations

from typing import Any

from mllm_widgets.errors import DatasetError

from .edits import EditMeasure
from .measures import AnswerMeasure, ContributionMeasure, Measure, TraceMeasure

KINDS: dict[str, type[Measure]] = {
    one.kind: one for one in (TraceMeasure, ContributionMeasure, EditMeasure, AnswerMeasure)
}


def as_measures(measure: Any) -> list[Measure]:
    """A measure, a kind ("trace", "contributions", "edit", "answer") or several of them, as a list.

    Raises
    ------
    DatasetError: for what is none of these, or the same with the same settings twice.
    """
    several = measure if isinstance(measure, (list, tuple)) else [measure]
    found = []
    for one in several:
        if isinstance(one, str) and one in KINDS:
            one = KINDS[one]()
        if isinstance(one, type) and issubclass(one, Measure):
            raise DatasetError(f"measure is the class {one.__name__}; expected an object: {one.__name__}(...).")
        if not isinstance(one, Measure):
            raise DatasetError(
                f"measure={one!r} is not known; expected {', '.join(map(repr, KINDS))}, or mw.sweeps.TraceMeasure(window=3)."
            )
        found.append(one)
    if not found or len({one.key for one in found}) < len(found):
        raise DatasetError(f"measure={measure!r} must name at least one, and none twice with the same settings.")
    return found

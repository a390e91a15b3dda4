"""Edits by the dozen: each by itself from the unedited model, and one after the other on the same model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mllm_widgets.errors import EditError
from mllm_widgets.provenance import made_with
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.question import Question

from .edit import Edit, Edits, as_edits
from .evaluate import (
    about,
    check_count,
    check_unedited,
    elsewhere,
    evaluate_edit,
    facts_of,
    listed,
    not_baked,
    without_picture,
)
from .probing import Unedited, expected_tokens, probe
from .rank_one import check_question, multedit
from .report import DEFINITIONS, EditReport, ManyReport, Measure, Probe, SequenceReport


@dataclass(frozen=True, eq=False)
class Case:
    """One edit to be made and measured: a question, what it should say, and what `evaluate_edit` asks about it."""

    question: Question
    target: str
    paraphrases: Sequence[Any] = ()
    pictures: Sequence[Any] = ()
    same_phrase: Sequence[Any] = ()
    portability: Sequence[Any] = ()


def edit_many(
    vlm: VLM,
    cases: Iterable[Case],
    method: Callable[..., Edit] = multedit,
    *,
    unrelated: Iterable[Question] = (),
    text: Iterable[Question | str] = (),
    max_new_tokens: int = 8,
    draws: int = 2000,
    seed: int = 0,
    unedited: Unedited | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_report: Callable[[EditReport], None] | None = None,
    cancel: Any = None,
    **options: Any,
) -> ManyReport:
    """Make many edits, each from the unedited model and by itself, and measure them, as the paper does (section 5).

    Parameters
    ----------
    cases: `Case(question, target, paraphrases=, pictures=, same_phrase=, portability=)` for each edit.
    method: `mw.multedit` or a baseline of `mw.editing`, called as method(vlm, question, target, **options).
    unrelated, text: asked after each edit (see `evaluate_edit`); of the unedited model, once.
    draws, seed: of the bootstrap, over edits: the mean of each edit counts as one value.
    unedited: as in `evaluate_edit`: kept from method to method.
    progress: called after each edit with (done, all). on_report: called with the report of each edit as it comes.
    cancel: an object whose `check()` raises when the work is no longer wanted.
    options: the method's: layer, lam, steps ...

    Returns
    -------
    ManyReport: one table of means over edits, and a report for each.

    Raises
    ------
    EditError: while another edit is applied, for no cases, or for one that cannot be edited (which one is said).

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> cases = [mw.editing.Case(question, "Rome") for question in (mw.datasets.demo_question("Eiffel Tower"), mw.datasets.demo_question("Taj Mahal"))]
    >>> mw.editing.edit_many(mw.load(), cases, layer=2)["efficacy"].count
    2
    """
    listing = [_checked(vlm, number, case) for number, case in enumerate(listed("cases", cases))]
    if not listing:
        raise EditError("cases is empty; expected a mw.editing.Case(question, target) for each edit.")
    if vlm.side_terms.active:
        raise EditError(
            "an edit is applied to the model, so the edits would not be made from the unedited one; revert it first."
        )
    kept = check_unedited(vlm, unedited)
    # once: who the unedited model has answered is known by the question's identity
    elsewhere_asked = {"unrelated": listed("unrelated", unrelated), "text": without_picture(text)}
    reports: list[EditReport] = []
    for number, case in enumerate(listing):
        own = {name: getattr(case, name) for name in ("paraphrases", "pictures", "same_phrase", "portability")}
        try:
            edit = method(vlm, case.question, case.target, cancel=cancel, **options)
            reports.append(
                evaluate_edit(
                    edit, **own, **elsewhere_asked, max_new_tokens=max_new_tokens, draws=draws, seed=seed, unedited=kept, cancel=cancel
                )
            )  # fmt: skip
        except EditError as error:
            raise EditError(f"cases[{number}]: {error}") from error
        if on_report is not None:
            on_report(reports[-1])
        if progress is not None:
            progress(number + 1, len(listing))
    edits = [str(fact) for report in reports for fact in report.edits]
    made = made_with(vlm, edits=edits, max_new_tokens=max_new_tokens, draws=draws, seed=seed)
    method_name = reports[0].edits[0].method
    return ManyReport(_means(reports, draws, seed), tuple(reports), method_name, provenance=made)


def evaluate_sequence(
    edits: Edits | Sequence[Edit],
    *,
    unrelated: Iterable[Question] = (),
    max_new_tokens: int = 8,
    draws: int = 2000,
    seed: int = 0,
    unedited: Unedited | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> SequenceReport:
    """Once the n-th edit is added, are the earlier ones still held?

    After each edit of the sequence, the efficacy of all edits so far, P(target | edited question), is measured, against that of each alone; and the share of unrelated
    questions that are still answered as before all of them.  MultEdit's edits of one layer are solved together (`vlm.side_terms`), not each on top of the last one's weight, so
    earlier ones are held by the solution itself; they can lose where keys are nearly the same and lam is not 0, or where edits are of different layers.

    Parameters
    ----------
    edits: in their order; `Edits`, or a list.
    unrelated: questions that should stay as they are.
    max_new_tokens, draws, seed, unedited, progress, cancel: as in `evaluate_edit`.

    Raises
    ------
    EditError: for what are no edits of one model, or questions that it cannot read.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> vlm = mw.load()
    >>> pair = [mw.multedit(vlm, mw.datasets.demo_question(name), "Rome", 2) for name in ("Eiffel Tower", "Taj Mahal")]
    >>> mw.editing.evaluate_sequence(pair).probability.dims
    ('after', 'edit')
    """
    import xarray as xr

    several = as_edits(edits)
    not_baked(several)
    most = check_count("max_new_tokens", max_new_tokens)
    check_count("draws", draws)
    kept = check_unedited(several.vlm, unedited)
    empty: dict[str, list[Any]] = {"paraphrases": [], "pictures": [], "same_phrase": [], "portability": []}
    targets = [about(edit, place, empty, several=True)[0] for place, edit in enumerate(several)]
    others = elsewhere(unrelated, ())
    for one in (*targets, *others):
        kept.encoding(one)
        if one.expected is not None:
            expected_tokens(kept, one)
    count = len(several)
    total = count + count * (count + 1) // 2 + count * len(others)
    done = 0

    def measured(terms: Sequence[Any], asked: Any) -> Probe:
        nonlocal done
        if cancel is not None:
            cancel.check()
        found = probe(kept, terms, asked, most)
        done += 1
        if progress is not None:
            progress(done, total)
        return found

    alone = [measured(edit.terms, asked).probability for edit, asked in zip(several, targets, strict=True)]
    probability, success = np.full((2, count, count), np.nan)
    agreement = np.full((count, len(others)), np.nan)
    for after in range(1, count + 1):
        terms = several.terms[:after]
        for place, asked in enumerate(targets[:after]):
            found = measured(terms, asked)
            probability[after - 1, place], success[after - 1, place] = found.probability, found.success
        agreement[after - 1] = [measured(terms, asked).agreement for asked in others]
    axes = {"after": range(1, count + 1), "edit": range(count)}
    shares = agreement.mean(axis=1) if others else np.full(count, np.nan)
    return SequenceReport(
        xr.DataArray(probability, axes, ("after", "edit"), "probability"),
        xr.DataArray(success, axes, ("after", "edit"), "success"),
        xr.DataArray(np.array(alone), {"edit": axes["edit"]}, ("edit",), "alone"),
        xr.DataArray(shares, {"after": axes["after"]}, ("after",), "agreement"),
        agreement,
        draws,
        seed,
        provenance=made_with(
            several.vlm,
            edits=[str(facts_of(edit)) for edit in several],
            questions=len(others),
            max_new_tokens=most,
            draws=draws,
            seed=seed,
        ),
    )


def _checked(vlm: VLM, number: int, case: Any) -> Case:
    if not isinstance(case, Case):
        raise EditError(f"cases[{number}] is a {type(case).__name__}; expected mw.editing.Case(question, target).")
    try:
        check_question(vlm, case.question)
    except EditError as error:
        raise EditError(f"cases[{number}]: {error}") from error
    return case


def _means(reports: Sequence[EditReport], draws: int, seed: int) -> tuple[Measure, ...]:
    """Means over edits of each edit's own figures."""
    found = []
    for name in DEFINITIONS:
        own = [measure for report in reports for measure in report if measure.name == name]
        if own:
            values, before = [measure.value for measure in own], [measure.before for measure in own]
            found.append(Measure.of(name, values, before, draws, seed))
    return tuple(found)

"""Questions made from VQA-Constraints that were not released: several constraints, and words in the place of the picture."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mllm_widgets.errors import DatasetError

from .rows import STATEMENT, Source, VqaConstraints

YEARS = range(1960, 2021)
MOVIES, OKVQA = 500, 150  # questions of the paper's multi-constraint set


def multi_constraint(
    data: VqaConstraints,
    *,
    years: Mapping[str, Sequence[int]] | None = None,
    movies: int = MOVIES,
    marked: Mapping[str, str | Sequence[str]] | None = None,
    okvqa: int = OKVQA,
    seed: int = 0,
) -> VqaConstraints:
    """The multi-constraint set, rebuilt as the paper describes it, since it was not released.

    "Name a movie directed by this director in 2006?": each question of Movies gets a year as its text constraint; questions of OK-VQA keep their words, of which
    some are marked as text constraints ("most famous type of this food in India").

    Parameters
    ----------
    years: director -> years in which a film came out; a director who is not in it gets no question. None draws any year between 1960 and 2020, which has an
        answer only by chance: good enough to trace the model's own answer, and of no use for its accuracy.
    movies, okvqa: how many questions of each at most; the paper has 500 and 150.
    marked: id of an OK-VQA row ("okvqa/12") -> words of its question that narrow the answer, as `mw.ConstraintAnnotator` collects them.
    seed: of the years, and of which rows are taken where there are more.

    Raises
    ------
    DatasetError: if a marked row is not there, or its words do not stand in its question.

    References
    ----------
    Basu et al. 2024, table 1 and section 3.3: 500 questions of Movies, 150 of OK-VQA.
    """
    from .matching import locate

    rng = random.Random(seed)
    chosen = [row for row in data.usable if row.subset == "movies" and (years is None or years.get(row.subject or ""))]
    rows = []
    for row in _some(chosen, movies, rng):
        year = str(rng.choice(YEARS if years is None else list(years[row.subject or ""])))
        text = f"{row.text.rstrip('?.! ')} in {year}?"
        rows.append(replace(row, subset="movies-year", text=text, text_constraints=(year,), answers=(), weights=()))
    known = {row.id for row in data.rows}
    for name in _some(sorted(marked or {}), okvqa, rng):
        if name not in known:
            raise DatasetError(f"marked names row {name!r}, which is not in this data.")
        words = (marked or {})[name]
        found = [(one, locate(data[name].text, one)) for one in ([words] if isinstance(words, str) else words)]
        for one, match in found:
            if match is None:
                raise DatasetError(f"marked gives {one!r} for row {name}, which does not stand in {data[name].text!r}.")
        together = tuple(match.words for _, match in found if match is not None)
        rows.append(replace(data[name], subset="okvqa-marked", text_constraints=together))
    subsets = dict.fromkeys(row.subset for row in rows)
    origin = {"movies-year": "movies", "okvqa-marked": "okvqa"}
    sources = {
        name: Source(
            data.sources[origin[name]].path,
            data.sources[origin[name]].sha256,
            sum(row.subset == name for row in rows),
            None,
        )
        for name in subsets
    }
    return VqaConstraints(tuple(rows), sources)


def text_only(data: VqaConstraints) -> VqaConstraints:
    """The control without pictures: the subject's name in the place of the constraint ("Space Needle is located in?").

    For a language model alone, or a vision-language model asked without a picture.  Rows of subsets that name no subject (OK-VQA) are left out.

    References
    ----------
    Basu et al. 2024, section 4.2: LLaMA beside LLaVA.
    """
    from mllm_widgets.vlm.spans import find_all

    rows = []
    for row in data.rows:
        if row.subject is None or row.constraint is None:
            continue
        start, end = find_all(row.text, row.constraint)[row.occurrence]
        possessive = "'s" if row.constraint.endswith(("'s", "’s")) and not row.subject.endswith("'s") else ""
        text = f"{row.text[:start]}{row.subject}{possessive}{row.text[end:]}"
        own = [place for place, _ in find_all(text, row.subject)]
        reason = "" if start in own else "its subject cannot be found again in the question"
        rows.append(
            replace(
                row,
                subset=f"{row.subset}-text",
                text=text,
                constraint=row.subject,
                occurrence=own.index(start) if start in own else 0,
                picture=None,
                reason=STATEMENT if STATEMENT in row.reason else reason,
            )
        )
    sources = {}
    for row in rows:
        origin = data.sources[row.subset.removesuffix("-text")]
        sources[row.subset] = Source(origin.path, origin.sha256, sum(one.subset == row.subset for one in rows), None)
    return VqaConstraints(tuple(rows), sources)


def _some(rows: list, most: int, rng: random.Random) -> list:
    """At most that many, in their order."""
    if most < 0:
        raise DatasetError(f"{most} is no count of questions; expected 0 or more.")
    return rows if len(rows) <= most else [rows[place] for place in sorted(rng.sample(range(len(rows)), most))]

"""How far two people who marked the same questions agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import DatasetError
from mllm_widgets.intervals import LEVEL
from mllm_widgets.vlm.spans import words_of

from .marks import Marks, phrases, read_spans, words_in
from .table import Annotations, load_annotations

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"visual": (1,), "text": (2,), "both": (1, 2)}  # -> the classes of words that count as marked
MEASURES = ("exact", "f1", "kappa")
CHUNK = 200  # draws of the bootstrap at a time


@dataclass(frozen=True)
class Agreement:
    """Agreement of two annotators, a and b.

    questions, words: how many are compared. both_skipped: questions that both skipped, which are not among them. only_a, only_b: questions that one of them
    has not come to. disagreements: those on which they differ, the most different first. values: (kind, measure) -> (estimate, low, high).
    """

    questions: int
    words: int
    both_skipped: int
    only_a: tuple[str, ...] = field(repr=False)
    only_b: tuple[str, ...] = field(repr=False)
    disagreements: pd.DataFrame = field(repr=False)
    values: Mapping[tuple[str, str], tuple[float, float, float]] = field(repr=False)

    @property
    def exact(self) -> float:
        """The share of questions of which all words are marked alike."""
        return self.values["both", "exact"][0]

    @property
    def f1(self) -> float:
        """F1 over marked words: twice those marked alike, over those that either marked."""
        return self.values["both", "f1"][0]

    @property
    def kappa(self) -> float:
        """Cohen's kappa over words, of which each is a visual constraint's, a text constraint's, or none's."""
        return self.values["both", "kappa"][0]

    def to_dataframe(self) -> pd.DataFrame:
        """One row a kind of constraint, and "both": each measure with its interval (95%, bootstrap over questions)."""
        import pandas as pd

        table = {
            kind: {
                f"{measure}{end}": value
                for measure in MEASURES
                for end, value in zip(("", "_low", "_high"), self.values[kind, measure], strict=True)
            }
            for kind in KINDS
        }
        return pd.DataFrame.from_dict(table, orient="index").rename_axis("kind")

    def __str__(self) -> str:
        lines = [f"{self.questions} questions, {self.words} words."]
        for kind in KINDS:
            said = [
                f"{measure} {value:.2f} ({low:.2f} to {high:.2f})"
                for measure, (value, low, high) in ((m, self.values[kind, m]) for m in MEASURES)
            ]
            lines.append(f"{kind}: {', '.join(said)}.")
        lines.append(f"They differ on {len(self.disagreements)} questions.")
        if self.both_skipped:
            lines.append(f"Both skipped {self.both_skipped} more.")
        if self.only_a or self.only_b:
            lines.append(f"Only one of them has come to {len(self.only_a) + len(self.only_b)} more.")
        return "\n".join(lines)


def agreement(a: Any, b: Any, *, draws: int = 10_000, seed: int = 0) -> Agreement:
    """Compare what two annotators marked in the same questions.

    A question that one of them skipped counts as one in which nothing is marked; one that both skipped is left out.

    Parameters
    ----------
    a, b: paths of files of `mw.ConstraintAnnotator`, `load_annotations(path)`, or tables (`annotator.table`).
    draws, seed: of the bootstrap over questions, which gives the intervals. Kappa and F1 are NaN where nothing, or everything, is marked.

    Raises
    ------
    DatasetError: for things that are no annotations, or that have no question in common, or another text under the same name.

    References
    ----------
    Cohen 1960, "A coefficient of agreement for nominal scales".
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise DatasetError(f"draws={draws!r} is no count; expected 1 or more, such as 10_000.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise DatasetError(f"seed={seed!r} is no seed; expected a whole number from 0.")
    first, second = _marked(a, "a"), _marked(b, "b")
    shared = [name for name in first if name in second]
    if not shared:
        raise DatasetError(
            "a and b have no question in common; expected marks of the same questions by two annotators."
        )
    tables, differing, both_skipped, words = [], [], 0, 0
    for name in shared:
        (text, mine), (other, theirs) = first[name], second[name]
        if text != other:
            raise DatasetError(f"{name!r} asks {text!r} in a and {other!r} in b; expected marks of the same questions.")
        if mine.skipped and theirs.skipped:
            both_skipped += 1
            continue
        table = _crossed(text, mine, theirs)
        tables.append(table)
        words += int(table.sum())
        if mine != theirs:
            differing.append(_difference(name, text, mine, theirs, table))
    counts = np.array(tables, dtype=float).reshape(-1, 3, 3)
    return Agreement(
        questions=len(counts),
        words=words,
        both_skipped=both_skipped,
        only_a=tuple(name for name in first if name not in second),
        only_b=tuple(name for name in second if name not in first),
        disagreements=_table(differing),
        values=_values(counts, draws, seed),
    )


def _marked(given: Any, name: str) -> dict[str, tuple[str, Marks]]:
    """What is marked, by the names of the questions."""
    if isinstance(given, (str, Path)):
        given = load_annotations(given)
    if isinstance(given, Annotations):
        return {one.id: (one.text, one.marks) for one in given.values()}
    table = getattr(given, "table", given)
    if not hasattr(table, "iterrows"):
        raise DatasetError(
            f"{name} is a {type(given).__name__}; expected a path, load_annotations(path), or a table such as annotator.table."
        )
    table = table.set_index("id") if "id" in table.columns else table
    lacking = [column for column in ("question", "visual_spans", "text_spans") if column not in table.columns]
    if lacking:
        raise DatasetError(f"{name} lacks the columns {', '.join(map(repr, lacking))}; expected annotator.table.")
    found: dict[str, tuple[str, Marks]] = {}
    for index, row in table.iterrows():
        text = str(row["question"])
        visual, narrowing = (read_spans(_cell(row[column])) for column in ("visual_spans", "text_spans"))
        if visual is None or narrowing is None:
            raise DatasetError(f"{name} has spans of {index!r} that are none; expected such as '14-18 22-30'.")
        if str(index) in found:
            raise DatasetError(f"{name} has {str(index)!r} twice; expected each question once.")
        found[str(index)] = text, Marks(words_in(text, visual), words_in(text, narrowing), _cell(row.get("skipped")))
    return found


def _cell(value: Any) -> str:
    """A text of a table, in which pandas writes NaN for an empty one."""
    return value if isinstance(value, str) else ""


def _crossed(text: str, a: Marks, b: Marks) -> np.ndarray:
    """(3, 3) words by what a and b marked them: none, visual, text."""
    count = len(words_of(text))
    classes = [
        np.array([("", "visual", "text").index(kind) for kind in marks.listed(count)], dtype=int) for marks in (a, b)
    ]
    table = np.zeros((3, 3))
    np.add.at(table, tuple(classes), 1)
    return table


def _difference(name: str, text: str, a: Marks, b: Marks, table: np.ndarray) -> dict[str, Any]:
    said = {
        f"{kind}_{who}": f"(skipped: {marks.skipped})"
        if marks.skipped
        else "; ".join(phrases(text, getattr(marks, kind)))
        for kind in ("visual", "text")
        for who, marks in (("a", a), ("b", b))
    }
    return {"id": name, "question": text, **said, "f1": float(_f1(table[None], (1, 2))[0])}


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    columns = ("id", "question", "visual_a", "visual_b", "text_a", "text_b", "f1")
    table = pd.DataFrame(rows, columns=pd.Index(columns))
    return table.sort_values("f1", kind="stable", na_position="first").set_index("id")


def _values(counts: np.ndarray, draws: int, seed: int) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Each measure of each kind with its percentile interval: the questions are drawn again with replacement."""
    rng = np.random.default_rng(seed)
    number = len(counts)
    names = [(kind, measure) for kind in KINDS for measure in MEASURES]
    drawn = []
    alike = {kind: _alike(counts, classes) for kind, classes in KINDS.items()}
    for begin in range(0, draws if number else 0, CHUNK):
        weights = _again(rng, number, min(CHUNK, draws - begin))
        sums = (weights @ counts.reshape(number, 9)).reshape(-1, 3, 3)
        drawn.append(np.stack([_measure(m, sums, weights @ alike[k] / number, KINDS[k]) for k, m in names], axis=1))
    samples = np.concatenate(drawn) if drawn else np.full((1, len(names)), np.nan)
    total = counts.sum(axis=0, keepdims=True)
    found = {}
    for place, (kind, measure) in enumerate(names):
        share = np.array([alike[kind].mean() if number else np.nan])
        value = float(_measure(measure, total, share, KINDS[kind])[0])
        known = samples[:, place][~np.isnan(samples[:, place])]
        ends = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(known) and number > 1 else (np.nan, np.nan)
        found[kind, measure] = value, float(ends[0]), float(ends[1])
    return found


def _again(rng: np.random.Generator, number: int, draws: int) -> np.ndarray:
    """(draws, number): how often each question is drawn, with replacement; as floats, whose products are quick."""
    rows = number * np.arange(draws)[:, None]
    places = (rng.integers(number, size=(draws, number)) + rows).ravel()
    return np.bincount(places, minlength=draws * number).reshape(draws, number).astype(float)


def _alike(counts: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    """(questions,) 1 where all words are marked alike, as far as these classes go."""
    merged = _merged(counts, classes)
    off = merged.sum(axis=(1, 2)) - np.trace(merged, axis1=1, axis2=2)
    return (off == 0).astype(float)


def _merged(tables: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    """(..., k, k): the classes that count, and before them all others as one."""
    order = [[c for c in range(3) if c not in classes], *([c] for c in classes)]
    return np.stack(
        [
            np.stack([tables[..., rows, :][..., columns].sum(axis=(-2, -1)) for columns in order], axis=-1)
            for rows in order
        ],
        axis=-2,
    )


def _measure(name: str, sums: np.ndarray, alike: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    """(n,) one measure of n sums (n, 3, 3) of words."""
    if name == "exact":
        return alike
    return _f1(sums, classes) if name == "f1" else _kappa(_merged(sums, classes))


def _f1(sums: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    """2 x words marked alike / (words that a marked + words that b marked); NaN where neither marked one."""
    chosen = list(classes)
    same = sums[:, chosen, chosen].sum(axis=-1)
    marked = sums[:, chosen, :].sum(axis=(-2, -1)) + sums[:, :, chosen].sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * same / marked


def _kappa(tables: np.ndarray) -> np.ndarray:
    total = tables.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(tables, axis1=-2, axis2=-1) / total
        expected = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1) / total**2
        return (observed - expected) / (1 - expected)

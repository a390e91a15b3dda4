"""The rows of VQA-Constraints, usable or with the reason why not, and what can be said of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mllm_widgets.datasets.vqa_accuracy import normalise_answer
from mllm_widgets.errors import DatasetError
from mllm_widgets.vlm.question import Question

if TYPE_CHECKING:
    import pandas as pd

NAMES = {"okvqa": "OK-VQA", "known": "Multimodal Known", "movies": "Multimodal Movies"}

STATEMENT = "it is a whole sentence, which asks nothing"  # why a row cannot be used, with a picture or without


@dataclass(frozen=True)
class Row:
    """One question of VQA-Constraints.

    subset, index: where it comes from; `id` is both. text: the question as it is asked. written: the constraint as it stands in the file.
    constraint: the question's own words for it, or None where they were not found; `occurrence` says which match.
    text_constraints: further words that narrow the answer. subject: who or what the picture shows, where the file says so.
    picture: the file, or None. answers: accepted ones, best first, or (). weights: of each answer (VQA accuracy of giving it), or ().
    note: what was repaired. reason: why the row cannot be used; "" if it can.
    """

    subset: str
    index: int
    text: str
    written: str
    constraint: str | None
    occurrence: int = 0
    text_constraints: tuple[str, ...] = ()
    subject: str | None = None
    picture_name: str = field(default="", repr=False)
    picture: Path | None = field(default=None, repr=False)
    answers: tuple[str, ...] = ()
    weights: tuple[float, ...] = field(default=(), repr=False)
    note: str = ""
    reason: str = ""

    @property
    def id(self) -> str:
        """Names the row in tables and runs, such as "known/0"."""
        return f"{self.subset}/{self.index}"

    @property
    def usable(self) -> bool:
        """Has it a constraint that was found, and a picture?"""
        return not self.reason

    def score(self, answer: str) -> float:
        """How right an answer is, 0 to 1: VQA accuracy where ten people were asked, else whether it is one of those accepted; NaN if none is known."""
        if not self.answers:
            return float("nan")
        said = normalise_answer(answer)
        weights = self.weights or (1.0,) * len(self.answers)
        return max(
            (w for one, w in zip(self.answers, weights, strict=True) if normalise_answer(one) == said), default=0.0
        )

    def question(self) -> Question:
        """The question with its picture, which is read now.

        Raises
        ------
        DatasetError: for a row that cannot be used. QuestionError: for a picture that cannot be read.
        """
        if self.reason:
            raise DatasetError(f"row {self.id} cannot be asked: {self.reason}.")
        return Question(
            None if self.picture is None else self.picture,
            self.text,
            constraint=self.constraint,
            text_constraints=self.text_constraints,
            answer=self.answers[0] if self.answers else None,
            occurrence=self.occurrence,
        )


@dataclass(frozen=True)
class Source:
    """A file that was read: its path, the SHA-256 of its bytes, its rows, and how many the release has (None: it is no file of the release)."""

    path: Path
    sha256: str
    rows: int
    released: int | None


class VqaConstraints:
    """VQA-Constraints as it was found on this disk: a sequence of `Row`, every one of them usable or with its reason.

    sources: the files, by subset. missing: files of the release that are not there. strays: folders of pictures that no row names.
    """

    def __init__(
        self,
        rows: tuple[Row, ...],
        sources: dict[str, Source],
        missing: tuple[str, ...] = (),
        strays: tuple[str, ...] = (),
    ) -> None:
        self.rows, self.sources, self.missing, self.strays = rows, sources, missing, strays
        self._by_id = {row.id: row for row in rows}

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, id: str) -> Row:
        if id not in self._by_id:
            raise DatasetError(f"there is no row {id!r}; ids are such as {', '.join(list(self._by_id)[:2])!r}.")
        return self._by_id[id]

    @property
    def usable(self) -> tuple[Row, ...]:
        """The rows that can be asked."""
        return tuple(row for row in self.rows if row.usable)

    def subset(self, name: str) -> VqaConstraints:
        """The rows of "okvqa", "known" or "movies".

        Raises
        ------
        DatasetError: for a subset that is not there.
        """
        if name not in self.sources:
            raise DatasetError(f"subset={name!r} is not among those that were loaded: {', '.join(self.sources)}.")
        return VqaConstraints(tuple(row for row in self.rows if row.subset == name), {name: self.sources[name]})

    def first(self, n: int | None) -> VqaConstraints:
        """The first `n` rows that can be asked; None takes all of those.

        Raises
        ------
        DatasetError: for a number below 1.
        """
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise DatasetError(f"n={n!r} is no count of rows; expected 1 or more, or None for all.")
        return VqaConstraints(self.usable[:n], self.sources)

    def problems(self) -> pd.DataFrame:
        """What was repaired and what cannot be used: id, text, written, constraint, note, reason."""
        import pandas as pd

        names = ("id", "text", "written", "constraint", "note", "reason")
        found = [row for row in self.rows if row.note or row.reason]
        return pd.DataFrame([[getattr(row, name) for name in names] for row in found], columns=pd.Index(names))

    def summary(self) -> pd.DataFrame:
        """Counts by subset: rows, usable, repaired, unmatched (no constraint), no_picture, answered."""
        import pandas as pd

        table = []
        for name in self.sources:
            rows = [row for row in self.rows if row.subset == name]
            table.append(
                {
                    "subset": name,
                    "rows": len(rows),
                    "usable": sum(row.usable for row in rows),
                    "repaired": sum(bool(row.note) for row in rows),
                    "unmatched": sum(row.constraint is None for row in rows),
                    "no_picture": sum(row.picture is None for row in rows),
                    "answered": sum(bool(row.answers) for row in rows),
                }
            )
        return pd.DataFrame(table).set_index("subset")

    def __str__(self) -> str:
        counts = self.summary()
        lines = [counts.to_string(), ""]
        lines.append(f"{len(self.rows):,} rows, {len(self.usable):,} usable.")
        for name, source in self.sources.items():
            if source.released is not None and source.released != source.rows:
                lines.append(
                    f"{NAMES.get(name, name)}: {source.rows:,} rows of the {source.released:,} that were released."
                )
        lines += [f"Not there: {name}." for name in self.missing]
        for reason, count in Counter(row.reason.split(":")[0] for row in self.rows if row.reason).most_common():
            lines.append(f"{count:,} x {reason}.")
        if self.strays:
            lines.append(f"{len(self.strays)} folders of pictures that no row names, such as {self.strays[0]!r}.")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"VqaConstraints({len(self.rows)} rows, {len(self.usable)} usable, {', '.join(self.sources)})"

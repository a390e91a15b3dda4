"""The questions of a sweep, each under a name that stays the same from call to call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mllm_widgets.datasets.checksums import SUMS
from mllm_widgets.datasets.vqa_constraints import Row, VqaConstraints
from mllm_widgets.errors import DatasetError
from mllm_widgets.vlm.asking import same_answer
from mllm_widgets.vlm.question import Question


@dataclass(frozen=True)
class Item:
    """A question under its name; a row's picture is read when it is asked.

    digest: of everything that is asked, so that another question under the same name is noticed.
    """

    id: str
    source: Row | Question = field(repr=False)
    digest: str = field(repr=False)

    def question(self) -> Question:
        """The question with its picture."""
        return self.source if isinstance(self.source, Question) else self.source.question()

    def score(self, answer: str) -> float:
        """How right an answer is, 0 to 1; NaN where no true one is known."""
        if isinstance(self.source, Row):
            return self.source.score(answer)
        return float("nan") if self.source.answer is None else float(same_answer(answer, self.source.answer))


def as_items(questions: Any) -> list[Item]:
    """Named questions: of VQA-Constraints (its usable rows), of a dict from names to questions, or of a list, whose places are their names.

    Raises
    ------
    DatasetError: for no questions at all, things that are none, or a name that is given twice.
    """
    if isinstance(questions, VqaConstraints):
        pairs: Iterable[tuple[Any, Any]] = [(row.id, row) for row in questions.usable]
    elif isinstance(questions, Mapping):
        pairs = questions.items()
    elif isinstance(questions, (str, Question, Row)) or not isinstance(questions, Iterable):
        raise DatasetError(
            f"questions is a {type(questions).__name__}; expected a list of mw.Question, a dict of them by name, or what "
            "mw.datasets.load_vqa_constraints returns."
        )
    else:
        pairs = [(one.id if isinstance(one, Row) else place, one) for place, one in enumerate(questions)]
    items: dict[str, Item] = {}
    for name, one in pairs:
        if not isinstance(one, (Question, Row)):
            raise DatasetError(
                f"questions[{name!r}] is a {type(one).__name__}; expected a mw.Question or a row of VQA-Constraints."
            )
        if isinstance(one, Row) and not one.usable:
            raise DatasetError(f"questions has row {one.id}, which cannot be asked: {one.reason}. Take `.usable`.")
        if str(name) in items:
            raise DatasetError(
                f"questions has {str(name)!r} twice; expected each name once, since results are kept by it."
            )
        items[str(name)] = Item(str(name), one, digest_of(one))
    if not items:
        raise DatasetError("questions is empty; expected at least one (are all rows of the data without pictures?).")
    return list(items.values())


def data_of(questions: Any) -> list[dict[str, Any]]:
    """The files that questions were read from, each with the SHA-256 of its bytes, and of the list of checksums beside it; none for questions that come from no file."""
    if not isinstance(questions, VqaConstraints):
        return []
    found = []
    for name, source in questions.sources.items():
        entry = {"subset": name, "file": source.path.name, "sha256": source.sha256, "rows": source.rows}
        listed = source.path.with_name(
            SUMS
        )  # of all files beside it, pictures and answers too, where somebody wrote it
        if listed.is_file():
            entry["sums"] = hashlib.sha256(listed.read_bytes()).hexdigest()
        found.append(entry)
    return found


def digest_of(one: Question | Row) -> str:
    """A few letters that change with anything that is asked."""
    asked = [one.text, one.constraint or "", str(one.occurrence), *one.text_constraints]
    if isinstance(one, Row):
        asked.append(one.picture_name if one.picture is not None else "")
    elif one.image is not None:
        asked.append(f"{one.image.size} {hashlib.sha256(one.image.tobytes()).hexdigest()}")
    return hashlib.sha256("\0".join(asked).encode()).hexdigest()[:16]

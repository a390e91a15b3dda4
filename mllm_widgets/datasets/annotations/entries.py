"""Questions to be marked, from whatever holds them.  Pictures are read when they are shown: thousands of them fit into no memory."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mllm_widgets.datasets.vqa_constraints import Row, VqaConstraints
from mllm_widgets.errors import DatasetError
from mllm_widgets.vlm.images import as_image
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.spans import find_all, words_of

from .marks import Marks, words_in

if TYPE_CHECKING:
    from PIL import Image

EXPECTED = (
    "a list of mw.Question, a dict of them by name, pairs (picture, text), a pandas DataFrame, or what "
    "mw.datasets.load_vqa_constraints returns"
)
# names of columns, the first that is there
TEXT, PICTURE, NAME = ("question", "text"), ("image", "picture", "image_url", "path"), ("id", "name")
VISUAL, ANSWER = ("constraint", "main_entity"), ("answer",)


@dataclass(frozen=True, eq=False)
class Entry:
    """One question to be marked.

    id: its name in files. picture: what `as_image` reads, or None. picture_name: as files write it; "" for one that is no file.
    given: the marks that it came with. answer: the true one, if known.
    """

    id: str
    text: str
    picture: Any = field(default=None, repr=False)
    picture_name: str = field(default="", repr=False)
    given: Marks = field(default_factory=Marks, repr=False)
    answer: str | None = field(default=None, repr=False)

    @property
    def words(self) -> list[dict[str, Any]]:
        """Its words: {text, start, end}."""
        return words_of(self.text)

    def image(self) -> Image.Image | None:
        """Its picture, which is read now.

        Raises
        ------
        QuestionError: if it cannot be read.
        """
        return None if self.picture is None else as_image(self.picture)


def as_entries(questions: Any) -> list[Entry]:
    """Questions to be marked, each under a name that stays the same from session to session.

    Parameters
    ----------
    questions: a list of `Question` or of pairs (picture, text), whose places are their names; a dict from names to either; rows of VQA-Constraints, usable or
        not; or a DataFrame with a column "question", and where they are there "id", "image" (or "image_url"), "constraint" (or "main_entity") and "answer".

    Raises
    ------
    DatasetError: for no questions at all, things that are none, or a name that is given twice.
    """
    if isinstance(questions, VqaConstraints):
        pairs: Iterable[tuple[Any, Any]] = [(row.id, row) for row in questions]
    elif hasattr(questions, "columns") and hasattr(questions, "to_dict"):
        pairs = _rows_of(questions)
    elif isinstance(questions, Mapping):
        pairs = questions.items()
    elif isinstance(questions, (str, bytes, Question, Row)) or not isinstance(questions, Iterable):
        raise DatasetError(f"questions is a {type(questions).__name__}; expected {EXPECTED}.")
    else:
        pairs = [(one.id if isinstance(one, (Row, Entry)) else place, one) for place, one in enumerate(questions)]
    entries: dict[str, Entry] = {}
    for name, one in pairs:
        if _broken(str(name)):
            raise DatasetError(
                f"questions has the name {str(name)!r}, with a NUL or half a character (a lone surrogate), which no file can hold; choose another."
            )
        entry = _entry(str(name), one)
        if entry.id in entries:
            raise DatasetError(
                f"questions has {entry.id!r} twice; expected each name once, since marks are kept by it."
            )
        entries[entry.id] = entry
    if not entries:
        raise DatasetError("questions is empty; expected at least one.")
    return list(entries.values())


def _entry(name: str, one: Any) -> Entry:
    if isinstance(one, Entry):
        return one
    if isinstance(one, Question):
        given = _given(one.text, one.constraint, one.occurrence, one.text_constraints)
        return Entry(name, _text(name, one.text), one.image, "", given, one.answer)
    if isinstance(one, Row):
        text = _text(name, one.text)
        given = _given(text, one.constraint, one.occurrence, one.text_constraints)
        return Entry(name, text, one.picture, one.picture_name, given, one.answers[0] if one.answers else None)
    if isinstance(one, (tuple, list)) and len(one) == 2 and isinstance(one[1], str):
        return Entry(name, _text(name, one[1]), one[0], _file_name(one[0]))
    hint = ""
    if isinstance(one, (tuple, list)) and len(one) == 2 and isinstance(one[0], str):
        hint = " Is the picture second in the pair?"
    raise DatasetError(
        f"questions[{name!r}] is a {type(one).__name__}; expected a mw.Question, a pair (picture, text) or a row of VQA-Constraints.{hint}"
    )


def _rows_of(frame: Any) -> list[tuple[str, Entry]]:
    """The rows of a DataFrame."""
    columns = [str(name) for name in frame.columns]

    def column(names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in columns), None)

    asked = column(TEXT)
    if asked is None:
        raise DatasetError(
            f"questions has the columns {columns}; expected one called 'question', with the text of each."
        )
    named = column(NAME)
    others = {"picture": column(PICTURE), "visual": column(VISUAL), "answer": column(ANSWER)}
    entries = []
    for index, row in zip(frame.index, frame.to_dict("records"), strict=True):
        value = {key: _known(row[name]) if name else None for key, name in others.items()}
        name = str(row[named] if named else index)
        text = _text(name, row[asked])
        given = _given(text, value["visual"] if isinstance(value["visual"], str) else None, 0, ())
        answer = None if value["answer"] is None else str(value["answer"])
        entries.append((name, Entry(name, text, value["picture"], _file_name(value["picture"]), given, answer)))
    return entries


def _known(value: Any) -> Any:
    """A cell's value; None for NaN and empty texts."""
    missing = value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value)
    return None if missing else value


def _text(name: str, text: Any) -> str:
    """A question's text, as `Question` keeps it."""
    if not isinstance(text, str) or not text.strip():
        raise DatasetError(
            f"questions[{name!r}] has the text {text!r}; expected a sentence such as 'Which city is this?'."
        )
    if _broken(text):
        raise DatasetError(
            f"questions[{name!r}] has a NUL or half a character (a lone surrogate) in {text!r}, which no file can hold; it was probably cut, or decoded wrongly."
        )
    return unicodedata.normalize("NFC", text.strip())


def _broken(text: str) -> bool:
    """Has it what no CSV in UTF-8 can hold?"""
    return any("\ud800" <= character <= "\udfff" or character == "\0" for character in text)


def _given(text: str, visual: str | None, occurrence: int, narrowing: tuple[str, ...]) -> Marks:
    found = find_all(text, visual) if visual else []
    marked = words_in(text, [found[occurrence]]) if -len(found) <= occurrence < len(found) else ()
    places = [place for words in narrowing for place in find_all(text, words)[:1]]
    return Marks(marked, tuple(index for index in words_in(text, places) if index not in marked))


def _file_name(picture: Any) -> str:
    return os.fspath(picture) if isinstance(picture, (str, os.PathLike)) else ""

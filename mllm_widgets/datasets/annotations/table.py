"""Marked questions as a CSV: columns of VQA-Constraints as it was released, and beside them what that has none for.

`load_vqa_constraints` reads a file of this kind that is called okvqa.csv; `load_annotations` reads all of it.
"""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import DatasetError
from mllm_widgets.vlm.question import Question

from .entries import Entry, as_entries
from .marks import Marks, as_question, phrases, read_spans, spans, words_in, written

if TYPE_CHECKING:
    import pandas as pd

# the first, which has no name, is the question's place among all
COLUMNS = (
    "", "question", "main_entity", "image_url", "id", "text_entities", "visual_spans", "text_spans", "skipped", "suggestion", "annotator", "date",
)  # fmt: skip
BETWEEN = "; "  # text constraints in a cell
BOM = b"\xef\xbb\xbf"
_LIMIT = threading.Lock()  # of the length of a field, which Python has one of for all threads


@dataclass(frozen=True)
class Annotation:
    """What somebody said of one question.

    place: the question's among all, from 0. suggestion: "accepted" or "changed" where one was made, else "". annotator: who. date: when, UTC.
    """

    place: int
    id: str
    text: str
    marks: Marks
    picture_name: str = ""
    suggestion: str = ""
    annotator: str = ""
    date: str = ""

    def cells(self) -> list[str]:
        """A line of the file; characters that no CSV holds are written as their codes."""
        text, marks = self.text, self.marks
        values = [
            str(self.place),
            text,
            " ".join(phrases(text, marks.visual)),
            self.picture_name,
            self.id,
            BETWEEN.join(phrases(text, marks.text)),
            written(spans(text, marks.visual)),
            written(spans(text, marks.text)),
            marks.skipped,
            self.suggestion,
            self.annotator,
            self.date,
        ]
        return [kept(value) for value in values]


def kept(text: str) -> str:
    r"""A text as a file has it: without NUL and lone surrogates, which neither a CSV nor UTF-8 can hold.

    Examples
    --------
    >>> kept("a\0b")
    'a\\x00b'
    """
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


class Annotations(Mapping[str, Annotation]):
    """Marked questions by their names, in their order.

    path: the file they stand in.
    """

    def __init__(self, annotations: Iterable[Annotation], path: Path) -> None:
        self.path = path
        self._all = {one.id: one for one in sorted(annotations, key=lambda one: one.place)}

    def __getitem__(self, id: str) -> Annotation:
        if id not in self._all:
            raise DatasetError(f"there is no marked question {id!r}; there are {len(self._all)}.")
        return self._all[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, id: object) -> bool:
        return id in self._all

    @property
    def table(self) -> pd.DataFrame:
        """One row a question, by its name, with the file's columns."""
        return as_table(self._all.values())

    def questions(self, given: Any = None, *, pictures: str | Path | None = None) -> dict[str, Question]:
        """The marked questions, as `causal_trace` and the others take them; those that were skipped are left out.

        Parameters
        ----------
        given: what was marked, with its pictures. Without it they are read from the files that the CSV names, and questions whose pictures were no files are
            asked in words alone.
        pictures: folder in which these files are; that of the CSV by default.

        Raises
        ------
        QuestionError: for a picture that cannot be read.
        """
        sources = {} if given is None else {entry.id: entry for entry in as_entries(given)}
        base = self.path.parent if pictures is None else Path(pictures)
        made = {}
        for one in self._all.values():
            if not one.marks.skipped:
                picture = base / one.picture_name if one.picture_name else None
                entry = sources.get(one.id) or Entry(one.id, one.text, picture)
                made[one.id] = as_question(entry.picture, one.text, one.marks, entry.answer)[0]
        return made

    def __repr__(self) -> str:
        skipped = sum(bool(one.marks.skipped) for one in self._all.values())
        return f"Annotations({len(self)} questions, {skipped} of them skipped, {str(self.path)!r})"


def as_table(annotations: Iterable[Annotation]) -> pd.DataFrame:
    """Annotations as a DataFrame by name; `note` says what of the marks a `Question` cannot hold."""
    import pandas as pd

    rows = []
    for one in annotations:
        note = "" if one.marks.skipped else as_question(None, one.text, one.marks)[1]
        rows.append([*one.cells()[1:], note])
    table = pd.DataFrame(rows, columns=pd.Index([*COLUMNS[1:], "note"]))
    return table.set_index("id")


def load_annotations(path: str | Path) -> Annotations:
    """What `mw.ConstraintAnnotator` wrote.

    Raises
    ------
    DatasetError: for a file that is not there, is none of its kind, or was changed so that its marks are none.

    Examples
    --------
    >>> load_annotations("constraints.csv").questions()  # doctest: +SKIP
    """
    if not isinstance(path, (str, os.PathLike)):
        raise DatasetError(f"path={path!r} is no path; expected a file that mw.ConstraintAnnotator wrote.")
    path = Path(path).expanduser()
    if not path.is_file():
        raise DatasetError(f"path={str(path)!r} is not there; expected a file that mw.ConstraintAnnotator wrote.")
    return Annotations(read(path.read_bytes(), path), path)


def read(data: bytes, path: Path) -> list[Annotation]:
    """The annotations in the bytes of a file.

    Raises
    ------
    DatasetError: as for `load_annotations`.
    """
    try:
        text = data.removeprefix(BOM).decode("utf-8")
        lines = _lines(text)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{str(path)!r} is not UTF-8 (byte {error.start}); was it saved by a spreadsheet?") from None
    except csv.Error as error:
        raise DatasetError(f"{str(path)!r} is no CSV ({error}).") from None
    columns = lines[0][1] if lines else []
    if columns != [*COLUMNS]:
        raise DatasetError(_other_columns(path, columns))
    found: list[Annotation] = []
    seen: dict[str, int] = {}
    for number, line in lines[1:]:
        one = _annotation(line, f"{str(path)!r}, line {number},")
        if one.id in seen:
            raise DatasetError(f"{str(path)!r} has {one.id!r} in lines {seen[one.id]} and {number}; expected it once.")
        seen[one.id] = number
        found.append(one)
    return found


def _lines(text: str) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers; a field may be as long as was written, beyond what Python reads by itself."""
    with _LIMIT:
        limit = csv.field_size_limit()
        csv.field_size_limit(max(limit, len(text)))
        try:
            reader = csv.reader(io.StringIO(text, newline=""))
            return [(reader.line_num, line) for line in reader if line]
        finally:
            csv.field_size_limit(limit)


def _other_columns(path: Path, columns: list[str]) -> str:
    if not columns:
        return f"{str(path)!r} is empty; expected the columns {', '.join(COLUMNS[1:])}, or no file."
    lacking = [repr(name) if name else "the first column, which has no name" for name in COLUMNS if name not in columns]
    more = [repr(name) for name in columns if name not in COLUMNS]
    what = [f"lacks {', '.join(lacking)}"] if lacking else []
    what += [f"has {', '.join(more)}, which are not known"] if more else []
    return (
        f"{str(path)!r} {' and '.join(what) or 'has its columns in another order'}; expected the file that mw.ConstraintAnnotator wrote. "
        "It is left as it is: is it another table, or was it changed in a spreadsheet?"
    )


def _annotation(line: list[str], where: str) -> Annotation:
    if len(line) != len(COLUMNS):
        raise DatasetError(f"{where} has {len(line)} fields; expected {len(COLUMNS)}. Is a quote missing in it?")
    cell = dict(zip(COLUMNS, line, strict=True))
    if not cell[""].isdecimal():
        raise DatasetError(f"{where} begins with {cell['']!r}; expected the place of its question, a whole number.")
    text = cell["question"]
    words = []
    for name in ("visual_spans", "text_spans"):
        places = read_spans(cell[name])
        if places is None or any(end > len(text) for _, end in places):
            raise DatasetError(
                f"{where} has {name} {cell[name]!r}; expected places in its question such as '14-18 22-30'."
            )
        words.append(words_in(text, places))
    if set(words[0]) & set(words[1]):
        raise DatasetError(f"{where} marks a word as both visual and text constraint; expected one of them.")
    return Annotation(
        int(cell[""]),
        cell["id"],
        text,
        Marks(words[0], words[1], cell["skipped"]),
        cell["image_url"],
        cell["suggestion"],
        cell["annotator"],
        cell["date"],
    )


def line_of(cells: Iterable[str]) -> bytes:
    """One line of the file."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow(list(cells))
    return buffer.getvalue().encode()

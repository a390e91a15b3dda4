"""Reading the three files of VQA-Constraints as they were released."""

from __future__ import annotations

import csv
import hashlib
import io
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mllm_widgets.errors import DatasetError

from .answers import Answers
from .matching import locate
from .pictures import Pictures
from .rows import NAMES, STATEMENT, Row, Source, VqaConstraints

FILES = {"okvqa": "okvqa.csv", "known": "multimodal_known.csv", "movies": "multimodal_movies.csv"}
RELEASED = {"okvqa": 5046, "known": 1204, "movies": 3214}  # rows
SUBJECT = {"known": "subject", "movies": "director"}
STRAY = "Element:"  # what an annotating language model left in front of a question
HOW_TO_GET = (
    "The three files are in the folder data_constraints/ of the paper's repository (Basu et al., NeurIPS 2024); the pictures of OK-VQA are COCO's val2014, those of "
    "Known and Movies are two archives linked there."
)


def load_vqa_constraints(
    folder: str | Path,
    *,
    pictures: str | Path | None = None,
    known: str | Path | None = None,
    okvqa: str | Path | None = None,
    movies: str | Path | None = None,
    question_mark: str = "missing",
    repair: bool = True,
    need_pictures: bool = True,
) -> VqaConstraints:
    """VQA-Constraints from the released files, quirks and all; every row is usable or says why not (`print` it, or `.problems()`).

    Parameters
    ----------
    folder: with okvqa.csv, multimodal_known.csv and multimodal_movies.csv, or some of them.
    pictures: folder of the pictures, directly or one level down (val2014/COCO_..., "A photo of .../..."); `folder` itself by default.
    known, okvqa, movies: where the answers are, which were not released with the questions: ROME's known_1000.json, the folder with OK-VQA's
        mscoco_val2014_annotations.json and OpenEnded_mscoco_val2014_questions.json, and a JSON of director -> list of films.
    question_mark: "missing" adds one where the question has none (Known are sentence beginnings); "always" as the paper's code does; "never".
    repair: find constraints that were cut off or whose words stand apart, too; see `matching.locate`.
    need_pictures: False makes rows without a picture usable, for questions in words alone.

    Raises
    ------
    DatasetError: for a folder or file that is not there, renamed columns, an index that is double or no number, or answers that cannot be read.

    References
    ----------
    Basu et al. 2024, section 3.3 and appendix: 9,464 rows were released.
    """
    folder = Path(folder)
    if question_mark not in ("missing", "always", "never"):
        raise DatasetError(f"question_mark={question_mark!r} is not known; expected 'missing', 'always' or 'never'.")
    if not folder.is_dir():
        wrong = "is a file; expected the folder it lies in" if folder.exists() else "is not there"
        raise DatasetError(f"folder={str(folder)!r} {wrong}. {HOW_TO_GET}")
    there = {subset: folder / name for subset, name in FILES.items() if (folder / name).is_file()}
    if not there:
        raise DatasetError(f"folder={str(folder)!r} has none of {', '.join(FILES.values())}. {HOW_TO_GET}")
    if pictures is not None and not Path(pictures).is_dir():
        raise DatasetError(
            f"pictures={str(pictures)!r} is not a folder; expected the one with val2014/ or 'A photo of ...'."
        )
    found = Pictures(folder if pictures is None else Path(pictures))
    answers = Answers(known=known, okvqa=okvqa, movies=movies)
    rows: list[Row] = []
    sources: dict[str, Source] = {}
    for subset, path in there.items():
        data = path.read_bytes()
        entries = _entries(path, data, subset)
        sources[subset] = Source(path, hashlib.sha256(data).hexdigest(), len(entries), RELEASED[subset])
        rows += [_row(subset, entry, found, answers, question_mark, repair, need_pictures) for entry in entries]
    missing = tuple(name for subset, name in FILES.items() if subset not in there)
    return VqaConstraints(tuple(rows), sources, missing, found.strays)


def _entries(path: Path, data: bytes, subset: str) -> list[dict[str, str]]:
    """The lines of a file, checked for what would mix rows up."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{str(path)!r} is not UTF-8 (byte {error.start}); was it saved by a spreadsheet?") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = [*(reader.fieldnames or ())]
    expected = ["", "question", *([SUBJECT[subset]] if subset in SUBJECT else []), "main_entity", "image_url"]
    lacking = [name for name in expected if name not in columns]
    if lacking:
        raise DatasetError(
            f"{str(path)!r} lacks the column{'s' * (len(lacking) > 1)} {', '.join(map(repr, lacking))}; it has {columns}. {NAMES[subset]} was "
            "released with an unnamed index in front: was a column renamed, or the index dropped?"
        )
    entries: list[dict[str, str]] = []
    seen: dict[str, int] = {}
    for entry in _lines(reader, path):
        line = reader.line_num
        if None in entry or None in entry.values():
            raise DatasetError(
                f"{str(path)!r}, line {line}, does not have {len(columns)} fields; is a quote missing in it?"
            )
        number = entry[""].strip()
        if not number.isdecimal():
            raise DatasetError(f"{str(path)!r}, line {line}, has the index {number!r}; expected a whole number.")
        number = str(int(number))
        if number in seen:
            raise DatasetError(
                f"{str(path)!r} has the index {number} in lines {seen[number]} and {line}; expected it once."
            )
        seen[number] = line
        entries.append(entry)
    return entries


def _lines(reader: csv.DictReader, path: Path) -> Iterator[dict[Any, Any]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DatasetError(
            f"{str(path)!r}, from line {reader.line_num}, is no CSV ({error}); is a quote missing in it?"
        ) from None


def _row(
    subset: str,
    entry: dict[str, Any],
    pictures: Pictures,
    answers: Answers,
    question_mark: str,
    repair: bool,
    need_pictures: bool,
) -> Row:
    raw = unicodedata.normalize("NFC", " ".join(entry["question"].split()))
    written = unicodedata.normalize("NFC", entry["main_entity"].strip())
    subject = entry[SUBJECT[subset]].strip() if subset in SUBJECT else None
    notes, reasons = [], []
    if raw.startswith(STRAY):
        raw = raw.removeprefix(STRAY).strip()
        notes.append(f"left out the stray {STRAY!r}")
    text = raw
    if raw and (question_mark == "always" or (question_mark == "missing" and raw[-1] not in "?.!")):
        text = f"{raw}?"
    if not raw:
        reasons.append("it has no question")
    match = locate(text, written, repair) if raw else None
    # "Name the city of this building." asks; what begins with its constraint states
    if match is not None and raw[-1] in ".!" and text.startswith(match.words):
        reasons.append(STATEMENT)
    if match is not None and match.note:
        notes.append(match.note)
    if match is None and raw:
        reasons.append(f"its constraint does not stand in the question: {written!r}")
    picture, why = pictures.find(entry["image_url"])
    if why and need_pictures:
        reasons.append(f"{why}: {entry['image_url']!r}")
    accepted, weights = answers.of(subset, subject, raw, entry["image_url"])
    return Row(
        subset=subset,
        index=int(entry[""]),
        text=text,
        written=written,
        constraint=None if match is None else match.words,
        occurrence=0 if match is None else match.occurrence,
        subject=subject,
        picture_name=entry["image_url"],
        picture=picture,
        answers=accepted,
        weights=weights,
        note="; ".join(notes),
        reason="; ".join(reasons),
    )

"""Answers to VQA-Constraints, which was released without: each subset's come from where its questions came from."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

from mllm_widgets.datasets.vqa_accuracy import agreement, normalise_answer
from mllm_widgets.errors import DatasetError

HOW_TO_GET = {
    "known": "ROME's known_1000.json (https://rome.baulab.info/data/dsets/known_1000.json)",
    "okvqa": "the annotations and questions of the OK-VQA test split (https://okvqa.allenai.org/download.html)",
    "movies": 'a JSON file of your own, {"Quentin Tarantino": ["Pulp Fiction", ...], ...}; the questions are from WikiMovies',
}


class Answers:
    """Looks answers up.

    known: path of ROME's known_1000.json. okvqa: folder of the OK-VQA annotations and questions. movies: path of a JSON, director -> films.

    Raises
    ------
    DatasetError: for a file that is not there or not of this kind.
    """

    def __init__(
        self, known: str | Path | None = None, okvqa: str | Path | None = None, movies: str | Path | None = None
    ) -> None:
        self._known = {} if known is None else _by_subject(_read("known", Path(known)), Path(known))
        self._okvqa = {} if okvqa is None else _by_picture(Path(okvqa))
        self._movies = {} if movies is None else _filmographies(_read("movies", Path(movies)), Path(movies))

    def of(
        self, subset: str, subject: str | None, text: str, picture: str
    ) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Accepted answers, best first, and what giving each counts; both empty if none is known."""
        if subset == "known" and subject is not None:
            facts = self._known.get(_key(subject), [])
            # one subject may be in several facts: the one whose prompt ends as the question does
            best = max(facts, key=lambda fact: _common_end(fact["prompt"], text), default=None)
            return ((best["attribute"],), (1.0,)) if best is not None else ((), ())
        if subset == "movies" and subject is not None:
            films = self._movies.get(_key(subject), ())
            return films, (1.0,) * len(films)
        if subset == "okvqa":
            given = self._okvqa.get((_picture_number(picture), _key(text)), ())
            ranked = tuple(answer for answer, _ in Counter(given).most_common())
            return ranked, tuple(agreement(answer, given) for answer in ranked)
        return (), ()


def _read(subset: str, path: Path) -> Any:
    if not path.is_file():
        raise DatasetError(f"{subset}={str(path)!r} is not there. Expected {HOW_TO_GET[subset]}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f"{subset}={str(path)!r} is no JSON ({error}). Expected {HOW_TO_GET[subset]}.") from None


def _by_subject(facts: Any, path: Path) -> dict[str, list[dict[str, str]]]:
    if not isinstance(facts, list) or not all(
        isinstance(fact, dict) and all(isinstance(fact.get(name), str) for name in ("subject", "attribute", "prompt"))
        for fact in facts
    ):
        raise DatasetError(f"known={str(path)!r} is not a list of facts. Expected {HOW_TO_GET['known']}.")
    found: dict[str, list[dict[str, str]]] = {}
    for fact in facts:
        found.setdefault(_key(fact["subject"]), []).append(fact)
    return found


def _filmographies(films: Any, path: Path) -> dict[str, tuple[str, ...]]:
    if not isinstance(films, dict) or not all(
        isinstance(titles, list) and all(isinstance(title, str) for title in titles) for titles in films.values()
    ):
        raise DatasetError(
            f"movies={str(path)!r} does not give a list of titles for each director. Expected {HOW_TO_GET['movies']}."
        )
    return {_key(director): tuple(titles) for director, titles in films.items()}


def _by_picture(folder: Path) -> dict[tuple[int, str], tuple[str, ...]]:
    """(number of the picture, question) -> the ten answers given."""
    questions = _one_of(folder, "*questions*.json", "questions")
    annotations = _one_of(folder, "*annotations*.json", "annotations")
    try:
        asked = {entry["question_id"]: (int(entry["image_id"]), _key(entry["question"])) for entry in questions}
        return {
            asked[entry["question_id"]]: tuple(normalise_answer(answer["answer"]) for answer in entry["answers"])
            for entry in annotations
            if entry["question_id"] in asked
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DatasetError(
            f"okvqa={str(folder)!r}: a question without question_id, image_id and question, or an annotation without "
            f"question_id and answers. Expected {HOW_TO_GET['okvqa']}."
        ) from None


def _one_of(folder: Path, pattern: str, key: str) -> list[dict[str, Any]]:
    paths = sorted(folder.glob(pattern)) if folder.is_dir() else []
    if len(paths) != 1:
        raise DatasetError(
            f"okvqa={str(folder)!r} has {len(paths)} files {pattern}; expected one, of {HOW_TO_GET['okvqa']}."
        )
    content = _read("okvqa", paths[0])
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise DatasetError(f"okvqa: {str(paths[0])!r} has no list of {key}. Expected {HOW_TO_GET['okvqa']}.")
    return content[key]


def _key(text: str) -> str:
    """A text without what copies differ in: case, accents' form, punctuation at the end, spaces."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().rstrip("?. ").split())


def _picture_number(name: str) -> int:
    numbers = re.findall(r"\d+", Path(name).stem)
    return int(numbers[-1]) if numbers else -1


def _common_end(one: str, other: str) -> int:
    pairs = zip(reversed(_key(one)), reversed(_key(other)), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))

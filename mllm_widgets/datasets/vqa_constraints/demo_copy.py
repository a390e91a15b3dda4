"""The demo world in the files of VQA-Constraints: everything that reads the released data runs on it, with pictures and answers that are known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from mllm_widgets.datasets import world
from mllm_widgets.datasets.landmarks import draw_landmark
from mllm_widgets.datasets.questions import demo_specs
from mllm_widgets.datasets.templates import HELD_OUT_TEMPLATES, LANGUAGES, fill
from mllm_widgets.errors import DatasetError

PICTURES_EACH = 2  # candidates in a folder, of which the first by name is meant


def write_demo_constraints(folder: str | Path, n: int = 60, *, seed: int = 0) -> Path:
    """Write questions about the demo world as VQA-Constraints was released: three CSVs, pictures, and the answers beside them.

    Known are facts about landmarks, OK-VQA questions with numbered pictures and ten answers each, and Movies the multi-constraint questions in a language,
    which have several accepted answers.  Read it with
    `load_vqa_constraints(folder, known=folder / "known_1000.json", okvqa=folder, movies=folder / "filmographies.json")`.

    Parameters
    ----------
    folder: made if it is not there; must be empty. n: questions in each file. seed: of the questions and of their pictures.

    Returns
    -------
    The folder.

    Raises
    ------
    DatasetError: if there is something in the folder, or n is not at least 1.
    """
    folder = Path(folder)
    if isinstance(n, bool) or n < 1:
        raise DatasetError(f"n={n!r} is no count of questions; expected 1 or more.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(
            f"folder={str(folder)!r} is not empty; expected a new one, so that nothing of yours is lost."
        )
    folder.mkdir(parents=True, exist_ok=True)
    known, answered, films = [], [], []
    facts, questions, annotations = [], [], []
    filmographies: dict[str, list[str]] = {}
    for number, spec in enumerate(demo_specs(n, seed=seed)):
        landmark, relation = world.BY_NAME[spec["landmark"]], spec["relation"]
        text = fill(spec["template"], spec["constraint"])
        answer = landmark.answer(relation)
        _candidates(folder / f"A photo of {landmark.name}", landmark.name, seed)
        known.append([number, text.rstrip("?"), landmark.name, spec["constraint"], f"./A photo of {landmark.name}"])
        facts.append(
            {"subject": landmark.name, "attribute": answer, "prompt": text.replace(spec["constraint"], landmark.name)}
        )
        picture = folder / "val2014" / f"COCO_val2014_{number:012d}.jpg"
        picture.parent.mkdir(exist_ok=True)
        draw_landmark(landmark.name, np.random.default_rng([79, spec["seed"]])).save(picture, quality=92)
        answered.append([number, text, spec["constraint"], f"./val2014/{picture.name}"])
        questions.append({"question_id": number, "image_id": number, "question": text})
        annotations.append({"question_id": number, "answers": [{"answer": answer}] * 8 + [{"answer": "unknown"}] * 2})
    spoken = [place for place in world.KNOWN if place.country]
    for number in range(n):
        landmark, relation = spoken[number % len(spoken)], tuple(LANGUAGES)[number % len(LANGUAGES)]
        template = HELD_OUT_TEMPLATES[relation][number // len(spoken) % len(HELD_OUT_TEMPLATES[relation])]
        _candidates(folder / f"A photo of {landmark.name}", landmark.name, seed)
        films.append(
            [number, fill(template, "this place"), landmark.name, "this place", f"./A photo of {landmark.name}"]
        )
        filmographies[landmark.name] = [landmark.answer(one) for one in LANGUAGES]
    columns = ["", "question", "main_entity", "image_url"]
    _table(folder / "okvqa.csv", columns, answered)
    _table(folder / "multimodal_known.csv", [*columns[:2], "subject", *columns[2:]], known)
    _table(folder / "multimodal_movies.csv", [*columns[:2], "director", *columns[2:]], films)
    for name, content in (
        ("known_1000.json", facts),
        ("OpenEnded_mscoco_val2014_questions.json", {"questions": questions}),
        ("mscoco_val2014_annotations.json", {"annotations": annotations}),
        ("filmographies.json", filmographies),
    ):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def _candidates(folder: Path, name: str, seed: int) -> None:
    if folder.exists():
        return
    folder.mkdir()
    for number in range(PICTURES_EACH):
        draw_landmark(name, np.random.default_rng([80, seed, number])).save(
            folder / f"Image_{number + 1}.jpg", quality=92
        )


def _table(path: Path, columns: list[str], rows: list[list]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)

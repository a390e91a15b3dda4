"""What VQA-Constraints needs and this package cannot ship: what it is called, where it is, how large, and where to put it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mllm_widgets.errors import DatasetError


@dataclass(frozen=True)
class Piece:
    """Something to get. there: patterns under the folder, of which one must match. needed: what for."""

    name: str
    source: str
    size: str
    put: str
    there: tuple[str, ...]
    needed: str


PIECES = (
    Piece(
        "the questions: okvqa.csv, multimodal_known.csv, multimodal_movies.csv",
        "folder data_constraints/ of the paper's repository (Basu et al., NeurIPS 2024)",
        "5,046, 1,204 and 3,214 rows; 1 MB",
        "FOLDER/",
        ("okvqa.csv", "multimodal_known.csv", "multimodal_movies.csv"),
        "everything",
    ),
    Piece(
        "pictures of OK-VQA: COCO's val2014",
        "https://cocodataset.org/#download, 2014 Val images",
        "40,504 pictures; 6 GB",
        "FOLDER/val2014/COCO_val2014_....jpg",
        ("val2014/*.jpg",),
        "questions of okvqa.csv",
    ),
    Piece(
        "pictures of Known and of Movies: folders 'A photo of ...'",
        "two archives linked in the paper's repository",
        "about 1.6 GB and 2.4 GB",
        "FOLDER/known/A photo of .../, FOLDER/movies/A photo of .../",
        ("A photo of *", "*/A photo of *"),
        "questions of multimodal_known.csv and multimodal_movies.csv",
    ),
    Piece(
        "answers of Known: known_1000.json",
        "https://rome.baulab.info/data/dsets/known_1000.json",
        "1,209 facts; under 1 MB",
        "FOLDER/known_1000.json",
        ("known_1000.json",),
        "which answers are right: load_vqa_constraints(..., known=)",
    ),
    Piece(
        "answers of OK-VQA: questions and annotations of its test split",
        "https://okvqa.allenai.org/download.html",
        "5,046 questions, ten answers each; some MB",
        "FOLDER/OpenEnded_mscoco_val2014_questions.json, FOLDER/mscoco_val2014_annotations.json",
        ("*annotations*.json",),
        "which answers are right: load_vqa_constraints(..., okvqa=FOLDER)",
    ),
    Piece(
        "answers of Movies: a JSON of your own, director -> list of films",
        "the questions are from WikiMovies; any filmography does",
        "3,214 questions, each of one director",
        "FOLDER/filmographies.json",
        ("*film*.json",),
        "which answers are right: load_vqa_constraints(..., movies=)",
    ),
)


def data_instructions(folder: str | Path | None = None) -> str:
    """What to get for VQA-Constraints, from where, how large it is, and where it goes; with a folder, also what of it is there.

    `mllm-widgets data FOLDER` prints it.

    Raises
    ------
    DatasetError: for a folder that is not there.

    Examples
    --------
    >>> print(data_instructions().splitlines()[0])
    VQA-Constraints needs six things that cannot come with this package:
    """
    place = None if folder is None else Path(folder)
    if place is not None and not place.is_dir():
        raise DatasetError(
            f"folder={str(folder)!r} is not there; make it, and put there what is listed without a folder."
        )
    lines = ["VQA-Constraints needs six things that cannot come with this package:"]
    for number, piece in enumerate(PIECES, 1):
        state = "" if place is None else f"  [{_state(piece, place)}]"
        lines += [
            "",
            f"{number}. {piece.name}{state}",
            f"   from    {piece.source}",
            f"   size    {piece.size}",
            f"   put     {piece.put}",
            f"   for     {piece.needed}",
        ]
    lines += [
        "",
        "Then `mllm-widgets data FOLDER` says what of it is usable. --write-sums lists the SHA-256 of every file in FOLDER/SHA256SUMS, and --verify compares them, here or",
        "on another machine. Without any of it, mllm_widgets.datasets.write_demo_constraints(FOLDER) writes the demo world in the same files.",
    ]
    return "\n".join(lines)


def _state(piece: Piece, folder: Path) -> str:
    # of files that are named one by one each must be there; patterns are different places for the same
    named = [one for one in piece.there if "*" not in one]
    lacking = [one for one in named if not (folder / one).is_file()]
    if named:
        return "there" if not lacking else f"missing: {', '.join(lacking)}"
    return "there" if any(next(folder.glob(one), None) for one in piece.there) else "missing"

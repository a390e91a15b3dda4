"""VQA-Constraints as it was released: files with the quirks of the real ones, every row usable or with its reason."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
import textwrap
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import mllm_widgets as mw
from mllm_widgets.datasets.vqa_accuracy import normalise_answer, vqa_accuracy
from mllm_widgets.datasets.vqa_constraints import VqaConstraints, locate
from mllm_widgets.errors import DatasetError

KNOWN = [  # index, question, subject, constraint
    (0, "This bridge spans", "Golden Gate Bridge", "This bridge"),
    (2, "This instrument, a product built by", "Moog", "This instrument,"),
    (5, "In this town, the river is called", "Ulm", "This town"),
    (7, "This river's source lies in", "Ob", "This river's"),
    (9, "Element: This singer is known for performing in the most famous", "Jón Leifs", "This singer"),
    (11, "This painter is known for the most famous portraits.", "Otto Dix", "This painter"),
    (12, 'This bishop, whose rank is that of a "primate"', "Gregory IX", "This bishop,"),
    (15, "This operating system was first sold by", "Plan 9", "This operating"),
]
OKVQA = [  # index, question, constraint
    (0, "What game can you play with this?", "this"),
    (1, "Name the kind of tree this is?", "this tree"),
    (3, "What maker of coat is the woman wearing?", "the coat"),
    (4, "What kind of bird is plainly shown on the lid of this box?", "bird on the lid"),
    (6, "Who would hold an umbrella like this?", "umbrella like th"),
    (8, "This boy is kicking a?", "a?"),
    (9, "Which thistle is this?", "this"),
    (10, "What is the weather like?", "purple elephant"),
]
MOVIES = [(0, "Ján Kadár"), (1, "Agnès Varda"), (3, "Remo D'Souza"), (4, "Nobody Known")]


def table(path: Path, columns: list[str], rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    columns = ["", "question", "main_entity", "image_url"]
    table(
        tmp_path / "multimodal_known.csv",
        [*columns[:2], "subject", *columns[2:]],
        [(i, text, subject, words, f"./A photo of {subject}") for i, text, subject, words in KNOWN],
    )
    table(
        tmp_path / "okvqa.csv",
        columns,
        [(i, text, words, f"./val2014/COCO_val2014_{i:012d}.jpg") for i, text, words in OKVQA],
    )
    table(
        tmp_path / "multimodal_movies.csv",
        [*columns[:2], "director", *columns[2:]],
        [
            (i, "Name a movie directed by this director?", who, "this director", f"./A photo of {who}")
            for i, who in MOVIES
        ],
    )
    pictures = tmp_path / "val2014"
    pictures.mkdir()
    for i, _, _ in OKVQA:
        Image.new("RGB", (8, 8), (i, 0, 0)).save(pictures / f"COCO_val2014_{i:012d}.jpg")
    for subject in {subject for _, _, subject, _ in KNOWN} | {who for _, who in MOVIES[:3]}:
        # as a Mac unpacks an archive: accents apart from their letters
        candidates = tmp_path / "images" / unicodedata.normalize("NFD", f"A photo of {subject}")
        candidates.mkdir(parents=True)
        for number in (10, 2):
            Image.new("RGB", (8, 8), (0, number, 0)).save(candidates / f"Image_{number}.png")
        (candidates / "notes.txt").write_text("no picture")
    (tmp_path / "images" / "A photo of A Stranger").mkdir()
    return tmp_path


@pytest.fixture
def data(folder: Path) -> VqaConstraints:
    return mw.datasets.load_vqa_constraints(folder)


def test_every_row_is_usable_or_says_why_not(data: VqaConstraints) -> None:
    reasons = {row.id: row.reason for row in data if not row.usable}
    assert len(data) == len(KNOWN) + len(OKVQA) + len(MOVIES)
    assert set(reasons) == {"okvqa/10", "known/11", "movies/4"}
    assert "does not stand in the question" in reasons["okvqa/10"]
    assert "asks nothing" in reasons["known/11"]
    assert "picture is not there" in reasons["movies/4"]
    assert len(data.usable) + len(reasons) == len(data)
    counts = data.summary()
    assert counts.rows.tolist() == [8, 8, 4]
    assert counts.usable.tolist() == [7, 7, 3]
    assert counts.unmatched.tolist() == [1, 0, 0]
    assert counts.no_picture.tolist() == [0, 0, 1]
    said = str(data)
    assert "20 rows, 17 usable" in said
    assert "8 rows of the 1,204 that were released" in said
    assert "A photo of A Stranger" in said


@pytest.mark.parametrize(
    ("id", "text", "words", "note"),
    [
        ("known/0", "This bridge spans?", "This bridge", ""),
        ("known/2", "This instrument, a product built by?", "This instrument", ""),
        ("known/5", "In this town, the river is called?", "this town", ""),
        ("known/7", "This river's source lies in?", "This river's", ""),
        ("known/9", "This singer is known for performing in the most famous?", "This singer", "stray 'Element:'"),
        ("known/15", "This operating system was first sold by?", "This operating", ""),
        ("okvqa/1", "Name the kind of tree this is?", "tree", "'this' does not stand before it"),
        ("okvqa/3", "What maker of coat is the woman wearing?", "coat", "'the' does not stand before it"),
        ("okvqa/4", None, "bird is plainly shown on the lid", "stand apart"),
        ("okvqa/6", None, "umbrella like this", "cut off"),
        ("okvqa/8", None, "a", ""),
    ],
)
def test_constraints_are_found_as_annotators_wrote_them(data, id: str, text: str | None, words: str, note: str) -> None:
    row = data[id]
    assert row.constraint == words
    assert note in row.note
    assert bool(note) == bool(row.note)
    if text is not None:
        assert row.text == text


def test_the_constraint_is_the_words_meant_and_not_a_part_of_others(data: VqaConstraints) -> None:
    from mllm_widgets.vlm.spans import find_words

    row = data["okvqa/9"]  # "thistle" is no "this"
    assert find_words(row.text, str(row.constraint), row.occurrence) == (17, 21)
    row = data["okvqa/8"]  # the "a" before the question mark
    assert find_words(row.text, str(row.constraint), row.occurrence)[0] == len("This boy is kicking ")


def test_the_first_rows(data: VqaConstraints) -> None:
    assert [row.id for row in data.first(2)] == [row.id for row in data.usable[:2]]
    assert len(data.first(None)) == len(data.usable)
    assert set(data.first(1).sources) == set(data.sources)
    for n in (0, -1, 2.5, True):
        with pytest.raises(DatasetError, match="is no count of rows"):
            data.first(n)  # type: ignore[arg-type]


def test_without_repair_only_what_stands_there_is_found(folder: Path) -> None:
    data = mw.datasets.load_vqa_constraints(folder, repair=False)
    assert [row.id for row in data if row.constraint is None] == [
        "okvqa/1",
        "okvqa/3",
        "okvqa/4",
        "okvqa/6",
        "okvqa/10",
    ]


@pytest.mark.parametrize(("choice", "ends"), [("never", "spans"), ("missing", "spans?"), ("always", "spans?")])
def test_question_marks(folder: Path, choice: str, ends: str) -> None:
    data = mw.datasets.load_vqa_constraints(folder, question_mark=choice)
    assert data["known/0"].text.endswith(ends)
    assert data["okvqa/0"].text.endswith("this??" if choice == "always" else "this?")


def test_pictures_are_found_whatever_form_their_names_have(data: VqaConstraints) -> None:
    row = data["movies/0"]
    assert row.picture is not None
    assert row.picture.name == "Image_2.png"  # before Image_10, and no text file
    assert row.question().image.getpixel((0, 0)) == (0, 2, 0)
    assert data["okvqa/3"].question().image.size == (8, 8)
    assert data.strays == ("A photo of A Stranger",)


def test_without_pictures_rows_can_still_be_asked_in_words(folder: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    assert not mw.datasets.load_vqa_constraints(folder, pictures=nothing).usable
    data = mw.datasets.load_vqa_constraints(folder, pictures=nothing, need_pictures=False)
    assert len(data.usable) == 18
    assert data["known/0"].question().image is None


def test_a_row_that_cannot_be_used_says_so_when_asked(data: VqaConstraints) -> None:
    with pytest.raises(DatasetError, match=r"okvqa/10 cannot be asked: its constraint .*'purple elephant'"):
        data["okvqa/10"].question()


def test_answers_are_joined(folder: Path) -> None:
    facts = [
        {"subject": "Moog", "attribute": "New York", "prompt": "Moog was founded in"},
        {"subject": "Moog", "attribute": "Bob Moog", "prompt": "Moog, a product built by"},
    ]
    (folder / "known_1000.json").write_text(json.dumps(facts))
    (folder / "films.json").write_text(json.dumps({"Ján Kadár": ["Obchod na korze", "Adrift"]}))
    asked = [{"question_id": 5, "image_id": 0, "question": "What game can you play with this?"}]
    given = [{"answer": "Tennis"}] * 3 + [{"answer": "badminton"}] * 7
    (folder / "OpenEnded_questions.json").write_text(json.dumps({"questions": asked}))
    (folder / "annotations.json").write_text(json.dumps({"annotations": [{"question_id": 5, "answers": given}]}))
    data = mw.datasets.load_vqa_constraints(
        folder, known=folder / "known_1000.json", okvqa=folder, movies=folder / "films.json"
    )
    assert data["known/2"].answers == ("Bob Moog",)
    assert data["movies/0"].score("adrift") == 1.0
    assert data["movies/0"].score("Jaws") == 0.0
    assert data["okvqa/0"].answers == ("badminton", "tennis")
    assert data["okvqa/0"].score("Tennis!") == 0.9
    assert math.isnan(data["known/0"].score("anything"))
    assert data.summary().answered.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "okvqa.csv").write_text("index,question,main_entity,image_url\n0,a?,a,x\n"), "lacks the column ''"),
        (lambda f: (f / "okvqa.csv").write_text(",question,constraint,image_url\n0,a?,a,x\n"), "'main_entity'.*renamed"),
        (lambda f: (f / "okvqa.csv").write_text(",question,main_entity,image_url\n3,a?,a,x\n3,b?,b,x\n"), "index 3 in lines 2 and 3"),
        (lambda f: (f / "okvqa.csv").write_text(",question,main_entity,image_url\nx,a?,a,x\n"), "index 'x'"),
        (lambda f: (f / "okvqa.csv").write_text(",question,main_entity,image_url\n0,a?,a\n"), "line 2, does not have 4 fields"),
        (lambda f: (f / "okvqa.csv").write_text(",question,main_entity,image_url\n3,a?,a,x\n03,b?,b,x\n"), "index 3 in lines 2 and 3"),
        (lambda f: (f / "okvqa.csv").write_text(",question,main_entity,image_url\n" + '0,"a?,a,x\n' + 'x' * 200_000), "is no CSV .*quote missing"),
        (lambda f: (f / "okvqa.csv").write_bytes("ä".encode("latin-1")), "not UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_would_mix_rows_up_is_refused(folder: Path, spoil, said: str) -> None:
    spoil(folder)
    with pytest.raises(DatasetError, match=said):
        mw.datasets.load_vqa_constraints(folder)


def test_wrong_arguments_are_told(folder: Path, tmp_path: Path) -> None:
    load = mw.datasets.load_vqa_constraints
    with pytest.raises(DatasetError, match=r"is not there. The three files are in"):
        load(tmp_path / "no such folder")
    with pytest.raises(DatasetError, match="is a file; expected the folder it lies in"):
        load(folder / "okvqa.csv")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetError, match=r"has none of okvqa.csv"):
        load(empty)
    with pytest.raises(DatasetError, match=r"pictures=.*is not a folder"):
        load(folder, pictures=folder / "x")
    with pytest.raises(DatasetError, match="question_mark='perhaps'"):
        load(folder, question_mark="perhaps")
    with pytest.raises(DatasetError, match=r"known=.*is not there. Expected ROME's"):
        load(folder, known=folder / "x.json")
    (folder / "x.json").write_text("[1]")
    with pytest.raises(DatasetError, match="not a list of facts"):
        load(folder, known=folder / "x.json")
    (folder / "x.json").write_text('[{"subject": null, "attribute": "a", "prompt": "b"}]')
    with pytest.raises(DatasetError, match="not a list of facts"):
        load(folder, known=folder / "x.json")
    other = tmp_path / "other"
    other.mkdir()
    (other / "questions.json").write_text('{"questions": [{"id": 1}]}')
    (other / "annotations.json").write_text('{"annotations": []}')
    with pytest.raises(DatasetError, match="a question without question_id"):
        load(folder, okvqa=other)
    with pytest.raises(DatasetError, match="list of titles"):
        load(folder, movies=folder / "x.json")
    with pytest.raises(DatasetError, match="0 files"):
        load(folder, okvqa=empty)
    with pytest.raises(DatasetError, match="no row 'known/99'"):
        load(folder)["known/99"]
    with pytest.raises(DatasetError, match="subset='film'"):
        load(folder).subset("film")


def test_some_of_the_files_are_enough(folder: Path) -> None:
    (folder / "okvqa.csv").unlink()
    data = mw.datasets.load_vqa_constraints(folder)
    assert list(data.sources) == ["known", "movies"]
    assert "Not there: okvqa.csv." in str(data)
    assert len(data.subset("movies")) == 4


def test_text_only_questions_name_the_subject(data: VqaConstraints) -> None:
    spoken = mw.datasets.text_only(data)
    row = spoken["known-text/7"]
    assert row.text == "Ob's source lies in?"
    assert row.question().image is None
    assert row.question().constraint == "Ob"
    assert spoken["movies-text/4"].usable  # it needs no picture
    assert not data["known/11"].usable  # a statement asks nothing in words either
    assert "asks nothing" in spoken["known-text/11"].reason
    assert not any(row.subset.startswith("okvqa") for row in spoken)


def test_several_constraints(data: VqaConstraints) -> None:
    both = mw.datasets.multi_constraint(
        data, years={"Ján Kadár": [1965], "Agnès Varda": []}, marked={"okvqa/4": ["the lid", "this box"]}
    )
    assert [row.id for row in both] == ["movies-year/0", "okvqa-marked/4"]
    assert both["movies-year/0"].text == "Name a movie directed by this director in 1965?"
    assert both["movies-year/0"].question().text_constraints == ("1965",)
    assert both["okvqa-marked/4"].text_constraints == ("the lid", "this box")
    again = [mw.datasets.multi_constraint(data, movies=2, seed=3).rows for _ in range(2)]
    assert again[0] == again[1]
    assert len(again[0]) == 2
    rows = tuple(replace(row, text="Name a movie directed by this director.") for row in data)
    stated = mw.datasets.multi_constraint(VqaConstraints(rows, data.sources), years={"Ján Kadár": [1965]})
    assert stated["movies-year/0"].text == "Name a movie directed by this director in 1965?"
    with pytest.raises(DatasetError, match="'okvqa/99'"):
        mw.datasets.multi_constraint(data, marked={"okvqa/99": "x"})
    with pytest.raises(DatasetError, match="'umbrella' for row okvqa/4"):
        mw.datasets.multi_constraint(data, marked={"okvqa/4": "umbrella"})


def test_the_demo_world_in_the_same_files(tmp_path: Path) -> None:
    folder = mw.datasets.write_demo_constraints(tmp_path / "demo", 12)
    data = mw.datasets.load_vqa_constraints(
        folder, known=folder / "known_1000.json", okvqa=folder, movies=folder / "filmographies.json"
    )
    assert len(data.usable) == len(data) == 36
    assert all(row.answers for row in data)
    vlm = mw.load()
    for subset, least in (("known", 10), ("okvqa", 10), ("movies", 8)):
        right = sum(row.score(mw.ask(vlm, row.question()).text) > 0.5 for row in data.subset(subset))
        assert right >= least, f"{subset}: {right} of 12"
    with pytest.raises(DatasetError, match="is not empty"):
        mw.datasets.write_demo_constraints(folder)
    with pytest.raises(DatasetError, match="n=0"):
        mw.datasets.write_demo_constraints(tmp_path / "other", 0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read as Linux tells it")
def test_the_full_size_loads_in_little_memory(tmp_path: Path) -> None:
    """9,464 rows with as many names of pictures: under 500 MB for the whole process."""
    columns = ["", "question", "main_entity", "image_url"]
    texts = [f"What is number {i} of this thing called in the language of the people?" for i in range(5046)]
    table(
        tmp_path / "okvqa.csv",
        columns,
        [(i, t, "this thing", f"./val2014/COCO_val2014_{i:012d}.jpg") for i, t in enumerate(texts)],
    )
    table(
        tmp_path / "multimodal_known.csv",
        [*columns[:2], "subject", *columns[2:]],
        [
            (i, "This place lies in the land of", f"Place {i}", "This place", f"./A photo of Place {i}")
            for i in range(1204)
        ],
    )
    table(
        tmp_path / "multimodal_movies.csv",
        [*columns[:2], "director", *columns[2:]],
        [
            (i, "Name a movie directed by this director?", f"Who {i}", "this director", f"./A photo of Who {i}")
            for i in range(3214)
        ],
    )
    for i in range(5046):
        (tmp_path / f"COCO_val2014_{i:012d}.jpg").touch()
    for i in range(1204):
        (tmp_path / f"A photo of Place {i}").mkdir()
        (tmp_path / f"A photo of Place {i}" / "Image_1.jpg").touch()
    script = f"""
        from pathlib import Path
        import mllm_widgets as mw
        data = mw.datasets.load_vqa_constraints({str(tmp_path)!r})
        # the most that this process has held; a child's ru_maxrss would be that of the process which started it
        peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
        print(len(data), len(data.usable), peak)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    rows, usable, peak = done.stdout.split()
    assert (rows, usable) == ("9464", "6250")
    assert int(peak) < 500_000  # kB


def test_locate_says_what_it_repaired() -> None:
    assert locate("What is this?", "that") is None
    assert locate("What is this?", "?") is None
    assert locate("the red old small wooden and painted car", "the car") is not None  # without its article
    shorter = locate("A black cat or a cat that sleeps?", "cat sleeps")
    assert shorter is not None
    assert (shorter.words, shorter.occurrence) == ("cat that sleeps", 0)


@pytest.mark.parametrize(
    ("said", "normal"),
    [
        ("The Two dogs.", "2 dogs"),
        ("dont know", "don't know"),
        ("1,000", "1000"),
        ("7.5 m", "7.5 m"),
        ("rock-n-roll", "rock n roll"),
    ],
)
def test_answers_are_compared_as_the_official_evaluation_does(said: str, normal: str) -> None:
    assert normalise_answer(said) == normal


def test_vqa_accuracy_is_the_mean_over_leaving_one_out() -> None:
    for agreeing, accuracy in ((0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)):
        assert vqa_accuracy("x", ["x"] * agreeing + ["y"] * (10 - agreeing)) == pytest.approx(accuracy)
    with pytest.raises(ValueError, match="given is empty"):
        vqa_accuracy("x", [])

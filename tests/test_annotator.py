"""The constraint annotator without a browser: what is marked and kept, what is suggested, and what happens when nothing can be saved."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unicodedata
import warnings
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import mllm_widgets as mw
from mllm_widgets.datasets.annotations import keeping
from mllm_widgets.errors import DatasetError, SaveError, WidgetError
from mllm_widgets.widgets.annotator import steps
from mllm_widgets.widgets.annotator.messages import hear
from tests.front_end import interface_fields, sent_traits
from tests.hostile import EVERYTHING

LONG = 30
TEXTS = ["Which city is this building in?", "Name a film by this director in 1994?", "What is that?", "Is it old?"]
ASKED = [(None, text) for text in TEXTS]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "constraints.csv"


@pytest.fixture
def annotator(path):
    made = mw.ConstraintAnnotator(ASKED, path, annotator="anna")
    yield made
    made.close()


def say(annotator: mw.ConstraintAnnotator, kind: str, **content) -> None:
    """As the front end does."""
    hear(annotator, {"id": annotator.received + 1, "kind": kind, "generation": annotator.generation, **content})


def kinds(annotator: mw.ConstraintAnnotator, **words: str) -> list[str]:
    """A kind for each word."""
    return [
        next((kind for kind, given in words.items() if word["text"] in given.split()), "") for word in annotator.words
    ]


# --- marking -----------------------------------------------------------------------------------------------------------------


def test_an_answer_is_in_the_file_before_the_next_question_is_shown(annotator, path):
    assert (annotator.at, annotator.total, annotator.done, annotator.saved) == (0, 4, 0, "")
    assert not path.exists()
    say(annotator, "mark", marks=kinds(annotator, visual="this building"))
    assert (annotator.answered, annotator.done, path.exists()) == ("", 0, False)
    seen = []
    annotator.observe(lambda change: seen.append(dict(mw.datasets.load_annotations(path))), "at")
    say(annotator, "save", marks=kinds(annotator, visual="this building", text="city"))
    assert list(seen[0]) == ["0"]
    assert seen[0]["0"].annotator == "anna"
    assert (annotator.at, annotator.done, annotator.saved, annotator.answered) == (1, 1, "saved", "")
    assert annotator.marks == [""] * len(annotator.words)
    question = annotator.questions()["0"]
    assert (question.text, question.constraint, question.text_constraints) == (TEXTS[0], "this building", ("city",))
    assert annotator.marked() == {"0": ("city",)}
    assert annotator.table.loc["0", ["main_entity", "text_entities"]].tolist() == ["this building", "city"]


def test_the_same_call_goes_on_where_it_was(annotator, path):
    annotator.mark(visual="this building")
    annotator.save()
    annotator.show(2)
    annotator.skip("It could be anything.")
    annotator.close()
    again = mw.ConstraintAnnotator(ASKED, path)
    assert (again.at, again.done, again.annotator, again.saved) == (1, 2, "anna", "saved")
    again.show("0")
    assert (again.answered, again.marks) == ("marked", kinds(again, visual="this building"))
    again.show(2)
    assert (again.answered, again.reason, again.marks) == ("skipped", "It could be anything.", ["", "", ""])
    again.close()


def test_an_answer_can_be_changed(annotator, path):
    annotator.mark(visual="this building")
    annotator.save()
    annotator.show(0)
    say(annotator, "mark", marks=kinds(annotator, visual="building"))
    assert annotator.answered == "changed"
    say(annotator, "mark", marks=kinds(annotator, visual="this building"))
    assert annotator.answered == "marked"
    say(annotator, "save", marks=kinds(annotator, visual="building"))
    assert mw.datasets.load_annotations(path).questions()["0"].constraint == "building"
    assert (annotator.done, annotator.at) == (1, 1)
    annotator.show(0)
    annotator.skip("No.")  # and taken back altogether
    assert annotator.questions() == {}


def test_words_that_stand_apart_may_be_marked_together(annotator, path):
    annotator.show(1)
    say(annotator, "save", marks=kinds(annotator, visual="film this director"))
    assert annotator.table.loc["1", "visual_spans"] == "7-11 15-28"
    assert annotator.questions()["1"].constraint == "film by this director"
    assert "took 'film by this director'" in annotator.table.loc["1", "note"]


def test_going_on_keeps_what_was_marked(annotator):
    say(annotator, "mark", marks=kinds(annotator, visual="this building"))
    say(annotator, "go", step=1)
    assert (annotator.at, annotator.done) == (1, 1)
    say(annotator, "go", step=1)  # nothing was marked: nothing is kept
    assert (annotator.at, annotator.done) == (2, 1)
    say(annotator, "go", step=-1)
    say(annotator, "go", step=-1)
    say(annotator, "go", step=-1)  # there is none before the first
    assert (annotator.at, annotator.answered) == (0, "marked")
    say(annotator, "go", step="open")
    assert annotator.at == 1
    annotator.mark(visual="director")
    annotator.show(3)
    assert annotator.done == 2


def test_what_is_marked_and_not_saved_yet_outlives_reloading_and_closing(annotator, path):
    other = mw.ConstraintAnnotator(ASKED, path, annotator="anna")
    annotator.mark(visual="this building")
    other.show(1)
    other.mark(visual="this director")
    other.save()
    other.close()
    annotator.reload()
    assert list(mw.datasets.load_annotations(path)) == ["0", "1"]
    assert annotator.marks == kinds(annotator, visual="this building")
    annotator.show(2)
    annotator.mark(visual="that")
    annotator.close()
    assert list(mw.datasets.load_annotations(path)) == ["0", "1", "2"]


def test_a_reason_of_any_length_is_read_again(annotator, path):
    annotator.skip("w" * 200_000)  # Python's csv reads 131,072 by itself
    assert mw.datasets.load_annotations(path)["0"].marks.skipped == "w" * 200_000
    limit = csv.field_size_limit()
    mw.ConstraintAnnotator(ASKED, path).close()
    assert csv.field_size_limit() == limit


def test_after_the_last_question_the_first_open_one_comes(annotator):
    annotator.show(3)
    annotator.mark(visual="it")
    annotator.save()
    assert annotator.at == 0
    for _ in range(3):
        annotator.skip("Enough.")
    assert (annotator.done, annotator.at) == (4, 3)
    say(annotator, "go", step="open")  # there is none
    assert annotator.at == 3


def test_nothing_is_no_answer(annotator):
    say(annotator, "save", marks=[])
    assert annotator.error.startswith("no word is marked; mark the words")
    say(annotator, "mark", marks=kinds(annotator, visual="this"))
    assert annotator.error == ""
    say(annotator, "skip", reason="  ")
    assert (annotator.done, annotator.error) == (0, steps.NO_REASON)
    say(annotator, "skip", reason="")
    assert (annotator.done, annotator.error) == (0, steps.NO_REASON)
    with pytest.raises(WidgetError, match="there is no reason"):
        annotator.skip("")
    with pytest.raises(WidgetError, match="reason=None is no text"):
        annotator.skip(None)
    assert (annotator.done, annotator.answered) == (0, "")
    with pytest.raises(WidgetError, match="no word is marked"):
        mw.ConstraintAnnotator(ASKED, annotator.path).save()


def test_a_message_about_another_question_is_not_heard(annotator):
    old = annotator.generation
    annotator.show(1)
    hear(annotator, {"id": 9, "kind": "save", "generation": old, "marks": ["visual"]})
    assert (annotator.done, annotator.received, annotator.at) == (0, 9, 1)


@pytest.mark.parametrize("marks", [["visual"] * 99, ["<b>", None, 3, {}], []])
def test_marks_of_any_kind_are_taken_as_far_as_they_are_some(annotator, marks):
    say(annotator, "mark", marks=marks)
    assert len(annotator.marks) == len(annotator.words)
    assert set(annotator.marks) <= {"", "visual"}


def test_marks_by_hand_are_refused_where_no_such_words_stand(annotator):
    with pytest.raises(WidgetError, match=r"visual='that castle' does not stand in the question 'Which city"):
        annotator.mark(visual="that castle")
    with pytest.raises(WidgetError, match="text=None is no text; expected words of the question"):
        annotator.mark(text=None)
    with pytest.raises(
        WidgetError, match="question='x' is not there; expected a place from 0 to 3, or a name such as '0'"
    ):
        annotator.show("x")
    with pytest.raises(WidgetError, match="nothing is suggested"):
        annotator.accept()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"colour": 1}, WidgetError, "does not take colour"),
        ({"annotator": 3}, WidgetError, "annotator=3 is no name"),
        ({"suggest": "magic"}, WidgetError, "suggest='magic' is not known; expected 'rules', 'given'"),
        ({"path": "a.txt"}, SaveError, "ends in '.txt'"),
        ({"path": "/nowhere/a.csv"}, SaveError, "its folder does not exist"),
        ({"questions": []}, DatasetError, "questions is empty"),
    ],
)
def test_wrong_arguments_are_sentences(path, arguments, error, message):
    with pytest.raises(error, match=message):
        mw.ConstraintAnnotator(**{"questions": ASKED, "path": path, **arguments})
    assert not path.exists()


def test_a_file_of_other_questions_is_refused_and_stays(annotator, path):
    annotator.mark(visual="this building")
    annotator.save()
    data = path.read_bytes()
    with pytest.raises(DatasetError, match="was made from other questions"):
        mw.ConstraintAnnotator(ASKED[1:], path)
    with pytest.raises(DatasetError, match="has answers of 'anna'"):
        mw.ConstraintAnnotator(ASKED, path, annotator="ben")
    assert path.read_bytes() == data
    more = mw.ConstraintAnnotator([*ASKED, (None, "One more?")], path)  # questions that came later are no others
    assert (more.done, more.total) == (1, 5)
    more.close()


def test_text_constraints_make_the_multi_constraint_set(path, tmp_path):
    """Rows of OK-VQA are marked, and multi_constraint takes what was marked as it is."""
    (tmp_path / "okvqa.csv").write_text(
        ",question,main_entity,image_url\n3,What is the best known kind of this bread in Portugal?,this bread,./a.jpg\n"
    )
    data = mw.datasets.load_vqa_constraints(tmp_path, need_pictures=False)
    made = mw.ConstraintAnnotator(data, path)
    made.mark(visual="this bread", text="Portugal")
    made.save()
    [row] = mw.datasets.multi_constraint(data, marked=made.marked())
    assert (row.constraint, row.text_constraints) == ("this bread", ("Portugal",))
    made.close()


def test_what_is_counted_as_done_is_in_the_file(annotator, path):
    counts = []
    annotator.observe(lambda change: counts.append((change["new"], len(mw.datasets.load_annotations(path)))), "done")
    for words in ("this building", "this director"):
        say(annotator, "save", marks=kinds(annotator, visual=words))
    say(annotator, "skip", reason="Unclear.")
    assert counts == [(1, 1), (2, 2), (3, 3)]


def test_two_annotators_are_compared(annotator, tmp_path):
    other = mw.ConstraintAnnotator(ASKED, tmp_path / "ben.csv", annotator="ben")
    for each, words in (
        (annotator, ("this building", "this director", "that")),
        (other, ("building", "this director", "that")),
    ):
        for visual in words:
            each.mark(visual=visual)
            each.save()
    found = mw.datasets.agreement(annotator, other, draws=100)
    assert (found.questions, list(found.disagreements.index)) == (3, ["0"])
    assert found.f1 == pytest.approx(2 * 4 / 9)
    other.close()


# --- pictures --------------------------------------------------------------------------------------------------------------------


def test_a_picture_is_read_when_its_question_is_shown(path, tmp_path, monkeypatch):
    mw.datasets.demo_question("Big Ben").image.save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    asked = [("a.png", "Is this old?"), ("none.png", "Is this new?")]
    made = mw.ConstraintAnnotator(asked, path)
    assert Image.open(io.BytesIO(made.image)).size == (256, 256)
    assert made.trouble == ""
    made.show(1)
    assert (made.image, made.trouble.startswith("image='none.png' does not exist")) == (b"", True)
    made.skip("There is no picture.")  # it does not end the work
    made.mark(visual="this")
    made.save()
    assert made.questions()["0"].image.size == (256, 256)
    assert made.table.loc["1", "image_url"] == "none.png"
    made.close()


def test_its_own_picture_shows_what_is_marked(path):
    question = mw.datasets.demo_question("Eiffel Tower", "city")
    made = mw.ConstraintAnnotator(
        [question, question, (None, "x" * 3000), (None, "many words " * 300)], path, suggest="rules"
    )
    before = made.picture()
    assert before.size[0] == 1280
    made.accept()
    pixels = made.picture().convert("RGB").getcolors(1 << 24)
    assert pixels is not None
    assert sum(count for count, color in pixels if color == (0x0A, 0x58, 0xCA)) > 2000
    drawing = made.drawing()
    assert drawing.title == question.text
    assert "visual constraint: this building" in drawing.description
    assert "this" in made.to_svg()
    for place in (2, 3):  # neither runs out of the picture
        made.show(place)
        assert made.picture().size[1] < 2400
    assert "1 of 4 questions done" in repr(made)  # going on has kept the first
    assert len(made.to_html()) > 10_000
    made.close()


# --- suggestions -----------------------------------------------------------------------------------------------------------------


def test_rules_suggest_and_one_key_accepts(path):
    made = mw.ConstraintAnnotator(ASKED, path, suggest="rules")
    assert (made.suggesting, made.suggested) == ("done", kinds(made, visual="this building"))
    assert made.hint == "“this building” points at something"
    assert not any(made.marks)  # nothing is marked that nobody has accepted
    made.accept()
    made.save()
    say(made, "save", marks=kinds(made, visual="this director"))  # 1994 was suggested too
    made.skip("Unclear.")
    assert made.table["suggestion"].tolist() == ["accepted", "changed", "changed"]
    made.close()


def test_constraints_that_questions_come_with_are_suggested(path):
    questions = mw.datasets.demo(4)
    made = mw.ConstraintAnnotator(questions, path, suggest="given")
    for _ in questions:
        made.accept()
        made.save()
    kept = made.questions()
    assert [str(kept[str(i)].constraint).lower() for i in range(4)] == [q.constraint for q in questions]
    assert [kept[str(i)].text_constraints for i in range(4)] == [q.text_constraints for q in questions]
    assert [kept[str(i)].answer for i in range(4)] == [q.answer for q in questions]
    made.close()


def test_a_chat_model_is_asked_on_a_thread_and_one_question_ahead(path):
    asked: list[str] = []
    go = threading.Event()

    def model(messages):
        assert threading.current_thread() is not threading.main_thread()
        asked.append(messages[-1]["content"])
        assert go.wait(LONG)
        return json.dumps({"visual": ["this"], "text": ["1994", "Atlantis"]})

    made = mw.ConstraintAnnotator(ASKED, path, suggest=model)
    assert (made.suggesting, made.suggested) == ("running", [""] * 6)
    say(made, "mark", marks=kinds(made, visual="this building"))  # it is in nobody's way
    go.set()
    assert made.wait(LONG)
    assert (made.suggesting, made.suggested) == ("done", kinds(made, visual="this"))
    assert (
        made.hint
        == "“1994” does not stand in the question: left out; “Atlantis” does not stand in the question: left out"
    )
    assert made.marks == kinds(made, visual="this building")
    assert asked == TEXTS[:2]
    made.save()
    assert made.suggested == kinds(made, visual="this", text="1994")  # at once: it was there
    assert made.wait(LONG)
    assert asked == TEXTS[:3]
    made.show(0)
    assert made.wait(LONG)
    assert made.suggested == kinds(made, visual="this")
    assert asked == TEXTS[:3]  # nothing is asked twice
    made.close()


def test_a_suggestion_for_a_question_that_was_left_is_not_shown_in_the_next(path):
    go, began = threading.Event(), threading.Event()

    def model(messages):
        text = messages[-1]["content"]
        if text == TEXTS[0]:
            began.set()
            assert go.wait(LONG)
        return json.dumps({"visual": text.split()[:1]})

    made = mw.ConstraintAnnotator(ASKED, path, suggest=model)
    assert began.wait(LONG)
    made.show(2)
    assert not any(made.suggested)
    go.set()
    assert made.wait(LONG)
    assert made.suggested == ["visual", "", ""]
    made.show(0)
    assert made.suggested == ["visual", "", "", "", "", ""]  # and it was not made for nothing
    made.close()


def test_a_model_that_fails_is_told_and_can_be_asked_again(path):
    fail = [RuntimeError("CUDA out of memory."), KeyError(), None]

    def model(messages):
        error = fail.pop(0)
        if error is not None:
            raise error
        return '{"visual": ["this building"]}'

    made = mw.ConstraintAnnotator(ASKED[:1], path, suggest=model)
    assert made.wait(LONG)
    assert (made.suggesting, made.hint) == ("error", "No suggestion: RuntimeError: CUDA out of memory.")
    say(made, "again")
    assert made.wait(LONG)
    assert made.hint == "No suggestion: KeyError"
    say(made, "again")
    assert made.wait(LONG)
    assert (made.suggesting, made.suggested) == ("done", kinds(made, visual="this building"))
    made.close()


def test_answers_of_a_closed_annotators_model_go_nowhere(path):
    go, began = threading.Event(), threading.Event()

    def model(messages):
        began.set()
        assert go.wait(LONG)
        return '{"visual": ["this"]}'

    made = mw.ConstraintAnnotator(ASKED, path, suggest=model)
    assert began.wait(LONG)
    made.close()
    go.set()
    assert made.wait(LONG)
    assert not any(made.suggested)


# --- nothing is lost ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch):
    """A disk without room, until it has some again."""
    state = {"full": True}
    real = os.fsync

    def fsync(handle):
        if state["full"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(keeping.os, "fsync", fsync)
    monkeypatch.setattr(steps, "RETRY", 0.05)
    return state


def test_a_full_disk_loses_nothing_and_saving_is_tried_again(path, full):
    full["full"] = False
    made = mw.ConstraintAnnotator(ASKED, path)
    made.mark(visual="this building")
    made.save()
    data = path.read_bytes()
    full["full"] = True
    say(made, "save", marks=kinds(made, visual="this director"))
    assert (made.at, made.saved, made.answered, made.marks) == (
        1,
        "not saved",
        "marked",
        kinds(made, visual="this director"),
    )
    assert made.error == f"path={str(path)!r} cannot be written (No space left on device)."
    assert (path.read_bytes(), [*path.parent.iterdir()]) == (data, [path])
    assert made.questions()["1"].constraint == "this director"
    say(made, "go", step=1)  # one may go on
    assert (made.at, made.saved, bool(made.error)) == (2, "not saved", True)
    with pytest.raises(SaveError, match="No space left"):
        made.skip("Unclear.")
    assert made.at == 2
    full["full"] = False
    deadline = time.monotonic() + LONG
    while made.saved != "saved":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert made.error == ""
    assert list(mw.datasets.load_annotations(path)) == ["0", "1", "2"]
    made.close()


def test_saving_again_by_hand_and_at_the_end(path, full, monkeypatch):
    monkeypatch.setattr(steps, "RETRY", 1000.0)
    made = mw.ConstraintAnnotator(ASKED, path)
    say(made, "save", marks=kinds(made, visual="this"))
    say(made, "retry")
    assert made.saved == "not saved"
    with pytest.warns(UserWarning, match="No space left.* 1 answers are in annotator.table only"):
        made.close()
    assert len(made.table) == 1
    full["full"] = False
    other = mw.ConstraintAnnotator(ASKED, path)
    full["full"] = True
    say(other, "save", marks=kinds(other, visual="this"))
    full["full"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.close()
    assert len(mw.datasets.load_annotations(path)) == 1


def test_two_notebooks_on_one_file_do_not_write_over_each_other(annotator, path):
    other = mw.ConstraintAnnotator(ASKED, path, annotator="anna")
    annotator.mark(visual="this building")
    annotator.save()
    other.show(1)
    say(other, "save", marks=kinds(other, visual="this director"))
    assert "changed by another program or another notebook" in other.error
    assert list(mw.datasets.load_annotations(path)) == ["0"]
    other.reload()
    assert (other.saved, other.error, other.done) == ("saved", "", 2)
    assert list(mw.datasets.load_annotations(path)) == ["0", "1"]
    other.close()


KILLED = """
import sys
import mllm_widgets as mw
annotator = mw.ConstraintAnnotator([(None, f"Is this number {i}?") for i in range(int(sys.argv[2]))], sys.argv[1], annotator="anna")
print("begun", annotator.done, flush=True)
while annotator.done < annotator.total:
    annotator.mark(visual="this", text=str(annotator.at))
    annotator.save()
    print(annotator.done, flush=True)
print("all", flush=True)
"""


def test_killed_at_any_moment_no_answer_that_was_given_is_lost(path):
    """SIGKILL after a random number of answers, in whatever the process is doing then; the last one is left to end."""
    count, kills, rng = 300, 6, random.Random(1)
    acknowledged, runs = 0, 0
    while True:
        runs += 1
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(count)], stdout=subprocess.PIPE, text=True, cwd=Path(mw.__file__).parents[1])  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline().split() == ["begun", str(acknowledged)]  # it goes on where the file says
        stop = acknowledged + rng.randint(1, 40) if runs <= kills else count + 1
        for line in child.stdout:
            if line.strip() == "all":
                break
            if int(line) >= stop:
                time.sleep(rng.random() * 0.004)
                child.send_signal(signal.SIGKILL)
                break
        child.wait(LONG)
        kept = mw.datasets.load_annotations(path)  # whole, whatever happened
        assert len(kept) >= min(stop, count)
        assert [kept[name].marks.visual for name in kept] == [(1,)] * len(kept)
        acknowledged = len(kept)
        if acknowledged == count:
            break
    assert runs == kills + 1
    assert list(kept) == [str(i) for i in range(count)]
    assert [one.text for one in (mw.datasets.load_annotations(path)).values()] == [
        f"Is this number {i}?" for i in range(count)
    ]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


# --- the front end's side -----------------------------------------------------------------------------------------------------------


def test_the_front_end_knows_every_trait():
    assert sent_traits(mw.ConstraintAnnotator) == interface_fields("annotator/state.ts", "AnnotatorState")


def test_any_text_can_be_asked(path):
    text = EVERYTHING.replace("\0", "").replace("\ud800", "").replace("\udfff", "")
    made = mw.ConstraintAnnotator([(None, text)], path, annotator="=1+1", suggest="rules")
    assert made.question == unicodedata.normalize("NFC", text)
    made.mark(visual=made.words[0]["text"])
    made.skip("\0\ud800 <b>")
    again = mw.ConstraintAnnotator([(None, text)], path)
    assert (again.reason, again.annotator) == ("\\x00\\ud800 <b>", "=1+1")
    assert again.picture().size[0] == 1280
    made.close()
    again.close()


def test_a_frame_of_questions(path):
    frame = pd.DataFrame({"id": ["x", "y"], "question": TEXTS[:2], "answer": ["Paris", None]})
    made = mw.ConstraintAnnotator(frame, path)
    made.show("y")
    made.mark(visual="this director", text=["1994"])
    made.save()
    assert (made.name, made.questions()["y"].answer) == ("x", None)
    assert made.marked() == {"y": ("1994",)}
    made.close()

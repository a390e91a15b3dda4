"""Marked constraints without a widget: words and spans, the file, suggestions by rules and by a chat model, and agreement."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest

import mllm_widgets as mw
from mllm_widgets.datasets.annotations import chat
from mllm_widgets.datasets.annotations.entries import as_entries
from mllm_widgets.datasets.annotations.keeping import Keeper
from mllm_widgets.datasets.annotations.marks import Marks, as_question, phrases, spans, words_in, words_like
from mllm_widgets.datasets.annotations.rules import suggest_by_rules
from mllm_widgets.datasets.annotations.table import Annotation
from mllm_widgets.errors import DatasetError, SaveError
from mllm_widgets.vlm.spans import words_of

SUIT = "What make of coat is the woman in this painting wearing?"


def said(text: str, indices) -> str:
    words = words_of(text)
    return " ".join(words[i]["text"] for i in indices)


# --- marks ------------------------------------------------------------------------------------------------------------------


def test_marks_become_spans_phrases_and_words_again():
    marks = (3, 7, 8)
    assert phrases(SUIT, marks) == ["coat", "in this"]
    assert words_in(SUIT, spans(SUIT, marks)) == marks
    assert spans(SUIT, ()) == []


def test_a_phrase_is_found_as_somebody_wrote_it():
    assert said(SUIT, words_like(SUIT, "THIS painting,")) == "this painting"
    assert (
        said(SUIT, words_like(SUIT, "coat the woman")) == "coat the woman"
    )  # its words stand apart: only they are marked
    assert words_like(SUIT, "coat wearing") == ()  # too far apart
    assert words_like(SUIT, "coat the woman", between=0) == ()
    assert words_like(SUIT, "hat") == words_like(SUIT, "…") == ()


@pytest.mark.parametrize(
    ("visual", "text", "constraint", "narrowing", "note"),
    [
        ((7, 8), (), "in this", (), ""),
        ((3, 5, 6), (0,), "coat is the woman", ("What",), "took 'coat is the woman'"),
        ((0, 8, 9), (), "this painting", (), "took 'this painting'"),
        ((), (3,), None, ("coat",), ""),
    ],
)
def test_a_question_takes_what_a_question_can_hold(visual, text, constraint, narrowing, note):
    question, told = as_question(None, SUIT, Marks(visual, text))
    assert (question.constraint, question.text_constraints) == (constraint, narrowing)
    assert note in told
    assert bool(told) == bool(note)


def test_the_right_one_of_several_equal_words_is_meant():
    text = "Is the bird on the branch the bird that sings?"
    question, _ = as_question(None, text, Marks((6, 7)))
    assert (question.constraint, question.occurrence) == ("the bird", 1)
    _, note = as_question(None, text, Marks((6, 7), (4,)))
    assert "'the' stands there before" in note  # a text constraint has no occurrence


# --- questions ---------------------------------------------------------------------------------------------------------------


def test_questions_come_in_every_shape(tmp_path):
    mw.datasets.demo_question("Big Ben").image.save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    demo = mw.datasets.demo(2)
    [one, two] = as_entries(demo)
    assert (one.id, one.text, one.picture) == ("0", demo[0].text, demo[0].image)
    assert said(two.text, two.given.visual).lower() == demo[1].constraint
    [pair] = as_entries([(path, "  What\u0301 is this? ")])
    assert (pair.text, pair.picture_name) == ("What\u0301 is this?", path)
    image = pair.image()
    assert image is not None
    assert image.size == (256, 256)
    assert [entry.id for entry in as_entries({"x": demo[0], 7: (None, "Why?")})] == ["x", "7"]
    frame = pd.DataFrame({"question": ["Who is he?", "Is this new?"], "main_entity": ["he", None], "image_url": [path, float("nan")]}, index=[4, 9])  # fmt: skip
    first, second = as_entries(frame)
    assert (first.id, first.given.visual, first.picture_name) == ("4", (2,), path)
    assert (second.id, second.given, second.picture) == ("9", Marks(), None)


def test_rows_that_cannot_be_asked_can_be_marked(tmp_path):
    (tmp_path / "okvqa.csv").write_text(",question,main_entity,image_url\n3,What is this?,elephant,./val2014/x.jpg\n")
    data = mw.datasets.load_vqa_constraints(tmp_path)
    assert not data.usable
    [entry] = as_entries(data)
    assert (entry.id, entry.given, entry.picture_name) == ("okvqa/3", Marks(), "./val2014/x.jpg")


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([], "questions is empty"),
        ("Who?", "questions is a str; expected a list of mw.Question"),
        ([("Who is this?", None)], "is a tuple; .* Is the picture second in the pair"),
        ([3], r"questions\['0'\] is a int"),
        ([(None, "  ")], "has the text '  '"),
        ([(None, "a\0b")], "has a NUL"),
        ([(None, "a\ud800")], "half a character"),
        ({"a\0b": (None, "Who?")}, r"has the name 'a\\x00b', with a NUL"),
        ({"\ud800": (None, "Who?")}, r"has the name '\\ud800', with a NUL or half a character"),
        (pd.DataFrame({"q": ["Who?"]}), r"has the columns \['q'\]; expected one called 'question'"),
        (pd.DataFrame({"question": ["Who?", "Why?"], "id": [1, 1]}), "has '1' twice"),
    ],
)
def test_what_is_no_question_is_a_sentence(questions, message):
    with pytest.raises(DatasetError, match=message):
        as_entries(questions)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mw.datasets.load_annotations(None), "path=None is no path"),  # pyright: ignore[reportArgumentType]
        (lambda: mw.datasets.suggest_by_rules(None), "text=None is no question"),  # pyright: ignore[reportArgumentType]
        (lambda: mw.datasets.suggest_by_chat(str, 5), "text=5 is no question"),  # pyright: ignore[reportArgumentType]
        (lambda: mw.datasets.suggest_by_chat("gpt", "Who is this?"), "model='gpt' cannot be asked"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_wrong_arguments_are_sentences(call, message):
    with pytest.raises(DatasetError, match=message):
        call()


# --- rules -------------------------------------------------------------------------------------------------------------------

# questions of our own, with what is odd about those of the release: stems, quotes, words that stand apart, "this" alone
RULED = [
    ("Which city is this building in?", "this building", ""),
    ("This lighthouse is located in", "This lighthouse", ""),
    ("This cooking method, that began in", "This cooking method", ""),
    ("The capital of this historical kingdom is", "this historical kingdom", ""),
    ("In this town, the river is called", "this town", ""),
    ("This village's oldest church is the same as the", "This village's", ""),
    ("This dancer professionally performs the style of", "This dancer", ""),
    ("What sport can you play with this?", "this", ""),
    ("What breed of bird is that?", "that", ""),
    ("What is that woman doing with those red balls?", "that woman", ""),
    ("Is the game that is played here old?", "the game", ""),
    ("What do these wild animals eat?", "these wild animals", ""),
    ("Who would wear a hat like this?", "hat like this", ""),
    ("What brand of coat is the woman in the picture wearing?", "the woman in the picture", ""),
    ("What is the name of the tool on the bench?", "the tool", ""),
    ("What is he holding?", "he", ""),
    ("Name a film directed by this director in 1994?", "this director", "1994"),
    ("What is the best known type of this food in India?", "this food", "India"),
    ("How is this person related to Venus Williams?", "this person", "Venus Williams"),
    ("Who sang “Winter Harbour” before this singer?", "this singer", "Winter Harbour"),
    ("Did this actor win a Golden Globe in the 1980s?", "this actor", "Golden Globe 1980s"),
    ("Which century was this structure built in?", "this structure", ""),
    ("Is it raining?", "it", ""),
    ("Why?", "", ""),
    ("北京在哪里?", "", ""),
]


@pytest.mark.parametrize(("text", "visual", "narrowing"), RULED)
def test_rules_find_what_such_questions_say(text, visual, narrowing):
    found = suggest_by_rules(text)
    assert said(text, found.marks.visual) == visual
    assert sorted(said(text, found.marks.text).split()) == sorted(narrowing.split())
    assert found.notes  # it says why


def test_rules_find_every_constraint_of_the_demo_world():
    questions = [*mw.datasets.demo(40), *mw.datasets.demo(40, trained_wordings=True, seed=1)]
    for question in questions:
        found = suggest_by_rules(question.text)
        assert said(question.text, found.marks.visual).lower() == question.constraint
        assert tuple(said(question.text, [i]) for i in found.marks.text) == question.text_constraints


def test_rules_take_any_text():
    for text in (
        "",
        "?!",
        "this",
        "that that that",
        "the",
        "“",
        "'s 's",
        "in the picture",
        "of this picture the " * 50,
    ):
        found = suggest_by_rules(text)
        assert not set(found.marks.visual) & set(found.marks.text)


# --- a chat model ------------------------------------------------------------------------------------------------------------


def test_the_prompt_has_examples_whose_answers_are_right():
    messages = chat.prompt("Which city is this?")
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * len(chat.EXAMPLES), "user"]
    for (question, answer), asked, told in zip(chat.EXAMPLES, messages[1:-1:2], messages[2:-1:2], strict=True):
        assert asked["content"] == question
        found = chat.read_answer(question, told["content"])
        assert found.notes == ()
        assert [phrases(question, found.marks.visual), phrases(question, found.marks.text)] == [
            answer["visual"],
            answer["text"],
        ]


TEXT = "Name a film by this director in 1994?"


@pytest.mark.parametrize(
    ("answer", "visual", "narrowing", "note"),
    [
        ('{"visual": ["this director"], "text": ["1994"]}', "this director", "1994", ""),
        ('Here it is:\n```json\n{"visual": "This Director", "text": []}\n```', "this director", "", ""),
        ('<think>{"visual": ["film"]} no</think>{"visual": ["this director"]}', "this director", "", ""),
        ('{"visual": ["that actor"], "text": ["1994"]}', "", "1994", "“that actor” does not stand in the question"),
        ('{"visual": ["this director"], "text": ["director", "1994"]}', "this director", "1994", ""),
        ('{"visual": [3, null]}', "", "", "“3” does not stand"),
        ('{"visual": {"a": 1}}', "", "", "does not stand"),
        ('{"other": 1} {"text": ["1994"]}', "", "1994", ""),
        ("I cannot do that.", "", "", "did not answer with JSON: “I cannot do that.”"),
        ("", "", "", "answered nothing"),
        ("{" * 5000, "", "", "did not answer with JSON"),
        ('{"visual": ["' + "W" * 9000 + '"]}', "", "", "…” does not stand"),
    ],
)
def test_of_an_answer_what_stands_in_the_question_is_taken(answer, visual, narrowing, note):
    found = chat.suggest_by_chat(lambda messages: answer, TEXT)
    assert (said(TEXT, found.marks.visual), said(TEXT, found.marks.text)) == (visual, narrowing)
    assert note in "; ".join(found.notes)
    assert bool(note) == bool(found.notes)


def test_what_a_model_returns_may_be_a_text_a_message_or_a_pipelines_list():
    answer = '{"visual": ["this director"]}'
    for returned in (answer, {"content": answer}, [{"generated_text": answer}],
                     [{"generated_text": [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]}]):  # fmt: skip
        assert (
            said(TEXT, chat.suggest_by_chat(lambda _messages, said=returned: said, TEXT).marks.visual)
            == "this director"
        )
    with pytest.raises(DatasetError, match="suggest returned a int; expected the answer's text"):
        chat.suggest_by_chat(lambda messages: 3, TEXT)


def test_a_transformers_pipeline_is_asked_as_one():
    """A model with random weights: it answers nonsense, which is said; what it is asked goes through its own chat template."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, pipeline

    from tests.random_llava import build_tokenizer

    tokenizer = build_tokenizer()
    tokenizer = (
        tokenizer
        if isinstance(tokenizer, PreTrainedTokenizerFast)
        else PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    )
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=8192
    )  # fmt: skip
    model = pipeline("text-generation", model=LlamaForCausalLM(config), tokenizer=tokenizer, device="cpu")
    found = mw.datasets.suggest_by_chat(model, TEXT)
    assert not found.marks.any
    assert "did not answer with JSON" in found.notes[0] or "answered nothing" in found.notes[0]


# --- the file ------------------------------------------------------------------------------------------------------------------

ASKED = [
    (None, "Which city is this building in?"),
    (None, 'Who, in "1984",\nis she?'),
    (None, "Why, this?"),
    (None, "=1+1?"),
]


def answer(place: int, marks: Marks, **more) -> Annotation:
    return Annotation(place, str(place), as_entries(ASKED)[place].text, marks, **more)


@pytest.fixture
def keeper(tmp_path):
    return Keeper(tmp_path / "constraints.csv", as_entries(ASKED), "anna")


def test_what_is_kept_is_read_again(keeper):
    keeper.put(answer(1, Marks((4,), (2,)), suggestion="changed", annotator="anna", date="2026-01-01T00:00:00Z"))
    keeper.put(answer(0, Marks((3, 4)), annotator="anna"))
    keeper.put(answer(2, Marks(skipped='It says "no", ; = \n nothing'), annotator="anna"))
    keeper.save()
    read = mw.datasets.load_annotations(keeper.path)
    assert list(read) == ["0", "1", "2"]  # in the order of the questions
    assert [read[name] for name in read] == keeper.answers()
    questions = read.questions()
    assert list(questions) == ["0", "1"]
    assert (questions["1"].constraint, questions["1"].text_constraints) == ("she", ("1984",))
    assert read.table.loc["0", "main_entity"] == "this building"
    again = Keeper(keeper.path, as_entries(ASKED), "")
    assert (again.annotator, again.answers()) == ("anna", keeper.answers())
    assert "3 questions, 1 of them skipped" in repr(read)


def test_the_released_schema_is_there(keeper, tmp_path):
    """Called okvqa.csv it is a file of VQA-Constraints, with words that stand apart found as the released ones are."""
    keeper.put(answer(0, Marks((0, 3, 4)), annotator="anna"))
    keeper.put(answer(1, Marks(skipped="unclear"), annotator="anna"))
    keeper.save()
    (tmp_path / "okvqa.csv").write_bytes(keeper.path.read_bytes())
    data = mw.datasets.load_vqa_constraints(tmp_path, need_pictures=False)
    assert [row.id for row in data] == ["okvqa/0", "okvqa/1"]
    assert data["okvqa/0"].constraint == "Which city is this building"
    assert not data["okvqa/1"].usable


def test_pictures_are_read_from_beside_the_file(tmp_path):
    mw.datasets.demo_question("Big Ben").image.save(tmp_path / "a.png")
    asked = [("a.png", "Is this old?")]
    keeper = Keeper(tmp_path / "c.csv", as_entries(asked), "")
    keeper.put(Annotation(0, "0", "Is this old?", Marks((1,)), "a.png"))
    keeper.save()
    read = mw.datasets.load_annotations(tmp_path / "c.csv")
    assert read.questions()["0"].image.size == (256, 256)
    other = mw.datasets.demo(1)[0].image
    assert read.questions([(other, "Is this old?")])["0"].image.tobytes() == other.tobytes()
    with pytest.raises(mw.errors.QuestionError, match="does not exist"):
        read.questions(pictures=tmp_path / "elsewhere")


def lines_of(keeper: Keeper) -> list[list[str]]:
    with keeper.path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def rewritten(keeper: Keeper, lines: list[list[str]]) -> bytes:
    with keeper.path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return keeper.path.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [[*lines[0], "colour"], *([*line, "red"] for line in lines[1:])], "has 'colour', which are not known; .* It is left as it is"),
        (lambda lines: [line[:-1] for line in lines], "lacks 'date'"),
        (lambda lines: [lines[0][::-1], *lines[1:]], "has its columns in another order"),
        (lambda lines: [], "is empty; expected the columns"),
        (lambda lines: [*lines, lines[1]], "has '0' in lines 2 and 3; expected it once"),
        (lambda lines: [lines[0], lines[1][:5]], "line 2, has 5 fields; expected 12"),
        (lambda lines: [lines[0], ["x", *lines[1][1:]]], "line 2, begins with 'x'"),
        (lambda lines: [lines[0], [*lines[1][:6], "3-", *lines[1][7:]]], "has visual_spans '3-'"),
        (lambda lines: [lines[0], [*lines[1][:6], "3-999", *lines[1][7:]]], "has visual_spans '3-999'"),
        (lambda lines: [lines[0], [*lines[1][:7], lines[1][6], *lines[1][8:]]], "marks a word as both"),
        (lambda lines: [lines[0], [*lines[1][:1], "Which town is this building in?", *lines[1][2:]]],
         "was made from other questions: '0', which asks 'Which town.* asks 'Which city.* here. Nothing was changed"),
        (lambda lines: [lines[0], [*lines[1][:4], "77", *lines[1][5:]]], "was made from other questions: '77'.* is none of these"),
        (lambda lines: [lines[0], [*lines[1][:10], "ben", *lines[1][11:]]], "has answers of 'ben', and annotator='anna' would change them"),
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_left_as_it_is(keeper, change, message):
    keeper.put(answer(0, Marks((3, 4)), annotator="anna"))
    keeper.save()
    data = rewritten(keeper, change(lines_of(keeper)))
    with pytest.raises(DatasetError, match=message):
        Keeper(keeper.path, as_entries(ASKED), "anna")
    assert keeper.path.read_bytes() == data


def test_no_csv_at_all_is_a_sentence(keeper, tmp_path):
    for data, message in ((b"\xff\xfe", "is not UTF-8"), (b"PK\x03\x04", "lacks .*, 'question'"), (b'a,"b', "lacks")):
        keeper.path.write_bytes(data)
        with pytest.raises(DatasetError, match=message):
            Keeper(keeper.path, as_entries(ASKED), "anna")
    with pytest.raises(DatasetError, match="is not there"):
        mw.datasets.load_annotations(tmp_path / "none.csv")


def test_where_nothing_can_be_written_is_known_before_any_work(tmp_path, monkeypatch):
    for path, message in (
        (tmp_path / "none" / "c.csv", "its folder does not exist"),
        (tmp_path / "c.txt", "ends in '.txt'"),
        (3, "is no path"),
    ):
        with pytest.raises(SaveError, match=message):
            Keeper(path, as_entries(ASKED), "")  # type: ignore[arg-type]
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(SaveError, match="is a folder"):
        Keeper(tmp_path / "d.csv", as_entries(ASKED), "")

    def refused(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refused)
    with pytest.raises(SaveError, match=r"cannot be written \(Permission denied\); answers would be lost"):
        Keeper(tmp_path / "c.csv", as_entries(ASKED), "")


def test_what_another_program_has_written_is_not_written_over(keeper):
    other = Keeper(keeper.path, as_entries(ASKED), "anna")
    other.put(answer(1, Marks((4,)), annotator="anna"))
    other.save()
    keeper.put(answer(0, Marks((3, 4)), annotator="anna"))
    with pytest.raises(SaveError, match="was changed by another program or another notebook"):
        keeper.save()
    assert list(mw.datasets.load_annotations(keeper.path)) == ["1"]
    keeper.reload()
    keeper.save()
    assert list(mw.datasets.load_annotations(keeper.path)) == ["0", "1"]
    keeper.path.unlink()  # one that was removed is made anew
    keeper.save()
    assert len(mw.datasets.load_annotations(keeper.path)) == 2


def test_what_a_killed_program_left_is_tidied_up(keeper):
    part = keeper.path.with_name(f".{keeper.path.name}.99.1.part")
    part.write_bytes(b"half")
    Keeper(keeper.path, as_entries(ASKED), "anna")
    assert not part.exists()
    assert list(keeper.path.parent.iterdir()) == []  # and nothing is made before there is an answer


# --- agreement -----------------------------------------------------------------------------------------------------------------


def table_of(rows: dict[str, tuple[str, str, str, str]]) -> pd.DataFrame:
    """id -> question, visual words, text words, skipped."""
    found = {}
    for name, (text, visual, narrowing, skipped) in rows.items():
        places = [
            " ".join(f"{a}-{b}" for a, b in spans(text, words_like(text, phrase))) if phrase else ""
            for phrase in (visual, narrowing)
        ]
        found[name] = {"question": text, "visual_spans": places[0], "text_spans": places[1], "skipped": skipped}
    return pd.DataFrame.from_dict(found, orient="index")


def test_agreement_by_hand():
    """Ten words: a marks three, b two of them and none else; and one question on which they agree."""
    a = table_of(
        {"x": ("one two three four five", "two three four", "", ""), "y": ("six seven eight nine ten", "", "", "")}
    )
    b = table_of({"x": ("one two three four five", "two three", "", ""), "y": ("six seven eight nine ten", "", "", "")})
    found = mw.datasets.agreement(a, b, draws=500)
    assert (found.questions, found.words) == (2, 10)
    assert found.exact == 0.5
    assert found.f1 == pytest.approx(2 * 2 / (3 + 2))
    expected = 0.3 * 0.2 + 0.7 * 0.8
    assert found.kappa == pytest.approx((0.9 - expected) / (1 - expected))
    assert list(found.disagreements.index) == ["x"]
    assert found.disagreements.loc["x", ["visual_a", "visual_b"]].tolist() == ["two three four", "two three"]
    assert found.disagreements.loc["x", "f1"] == pytest.approx(0.8)
    table = found.to_dataframe()
    assert table.loc["visual", "kappa"] == table.loc["both", "kappa"]
    assert math.isnan(table.loc["text", "kappa"])  # nobody marked any
    assert table.loc["text", "exact"] == 1
    assert "They differ on 1 questions." in str(found)


def test_a_word_of_another_kind_is_a_disagreement():
    text = "this food in India"
    a, b = table_of({"x": (text, "this food", "India", "")}), table_of({"x": (text, "this food India", "", "")})
    table = mw.datasets.agreement(a, b).to_dataframe()
    assert table.loc["both", "f1"] == pytest.approx(2 * 2 / 6)
    assert table.loc["visual", "f1"] == pytest.approx(2 * 2 / 5)
    assert table.loc["text", "f1"] == 0
    assert table.loc["both", "exact"] == 0


def test_cohens_own_kind_of_example():
    """Fifty items, 20 yes by both, 5 and 10 by one, 15 no by both: kappa 0.4."""
    cells = [("w", "w")] * 20 + [("w", "")] * 5 + [("", "w")] * 10 + [("", "")] * 15
    a = table_of({str(i): ("w", mine, "", "") for i, (mine, _) in enumerate(cells)})
    b = table_of({str(i): ("w", theirs, "", "") for i, (_, theirs) in enumerate(cells)})
    found = mw.datasets.agreement(a, b)
    assert found.kappa == pytest.approx(0.4)
    low, high = found.values["both", "kappa"][1:]
    # the large-sample standard error of kappa is sqrt(po (1 - po) / n) / (1 - pe) = 0.13
    assert low == pytest.approx(0.4 - 1.96 * 0.13, abs=0.05)
    assert high == pytest.approx(0.4 + 1.96 * 0.13, abs=0.05)
    again = mw.datasets.agreement(a, b)
    assert found.values["both", "kappa"] == again.values["both", "kappa"]  # the same draws


def test_skipped_questions_and_those_of_one_only():
    asked = {"a": "this a", "b": "this b", "c": "this c", "d": "this d"}
    first = table_of({name: (text, "this", "", "") for name, text in asked.items() if name != "d"})
    second = table_of({name: (text, "" if name == "b" else "this", "", "unclear" if name == "b" else "") for name, text in asked.items() if name != "c"})  # fmt: skip
    found = mw.datasets.agreement(first, second)
    assert (found.questions, found.only_a, found.only_b) == (2, ("c",), ("d",))
    assert found.exact == 0.5
    assert found.disagreements.loc["b", "visual_b"] == "(skipped: unclear)"
    third = table_of({"b": ("this b", "", "", "no picture")})
    both = mw.datasets.agreement(second.loc[["b"]], third)
    assert (both.questions, both.both_skipped, len(both.disagreements)) == (0, 1, 0)
    assert math.isnan(both.kappa)
    assert "Both skipped 1 more." in str(both)


def test_files_tables_and_what_was_read_again_are_the_same(keeper, tmp_path):
    keeper.put(answer(0, Marks((3, 4)), annotator="anna"))
    keeper.put(answer(3, Marks((0,)), annotator="anna"))
    keeper.save()
    read = mw.datasets.load_annotations(keeper.path)
    plain = pd.read_csv(keeper.path)
    for other in (keeper.path, str(keeper.path), read, read.table, plain):
        found = mw.datasets.agreement(read, other, draws=20)
        assert (found.exact, found.f1, found.kappa, found.questions) == (1, 1, 1, 2)


def test_what_cannot_be_compared_is_a_sentence():
    a = table_of({"x": ("this a", "this", "", "")})
    for other, message in (
        (table_of({"y": ("this a", "this", "", "")}), "no question in common"),
        (table_of({"x": ("this b", "this", "", "")}), "asks 'this a' in a and 'this b' in b"),
        (a.drop(columns="text_spans"), "b lacks the columns 'text_spans'"),
        (3, "b is a int"),
        (a.assign(visual_spans="?"), "b has spans of 'x' that are none"),
        (pd.concat([a, a]), "b has 'x' twice"),
    ):
        with pytest.raises(DatasetError, match=message):
            mw.datasets.agreement(a, other)
    with pytest.raises(DatasetError, match="draws=0 is no count"):
        mw.datasets.agreement(a, a, draws=0)
    for seed in (-1, 1.5, "x", True):
        with pytest.raises(DatasetError, match="is no seed; expected a whole number"):
            mw.datasets.agreement(a, a, seed=seed)  # pyright: ignore[reportArgumentType]


def test_the_interval_of_a_share_is_the_binomials():
    rng = np.random.default_rng(0)
    text = "one two three four five six"
    words = text.split()

    def marked(seed_words):
        return table_of({str(i): (text, words[w], "", "") for i, w in enumerate(seed_words)})

    truth = rng.integers(6, size=400)
    other = np.where(rng.random(400) < 0.25, rng.integers(6, size=400), truth)
    found = mw.datasets.agreement(marked(truth), marked(other), draws=2000)
    value, low, high = found.values["both", "exact"]
    share = float((truth == other).mean())
    assert value == pytest.approx(share)
    half = 1.96 * math.sqrt(share * (1 - share) / 400)
    assert (low, high) == (pytest.approx(share - half, abs=0.01), pytest.approx(share + half, abs=0.01))
    assert json.dumps(found.to_dataframe().loc["both"].to_dict())

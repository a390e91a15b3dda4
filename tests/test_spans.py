"""Finding a constraint's words and tokens, with the quirks annotators leave; and the prompts the words stand in."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets.errors import ConstraintError, ModelError, QuestionError
from mllm_widgets.vlm import prompts
from mllm_widgets.vlm.spans import find_words

from .random_llava import build_model, build_processor, random_question, random_vlm

CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
)


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("The roof of This Barn is made of", "this barn", "This Barn"),
        ("this barn was painted in", "This barn", "this barn"),
        ("This instrument, an invention of", "This instrument,", "This instrument"),
        ("In this valley, people speak", "this valley,", "this valley"),
        ("This brewery's first owner was", "This brewery's", "This brewery's"),
        ("This brewery’s first owner was", "This brewery's", "This brewery’s"),
        ("This brewery's first owner was", "This brewery", "This brewery"),
        ("This steam engine was built in", "This steam", "This steam"),
        ("A woman is looking at a?", "a?", "a"),
        ("Who owns the boat (this one) here?", "(this one)", "this one"),
        ("What is  this   odd\tthing for?", "this odd thing", "this   odd\tthing"),
        ("Is this half-timbered house old?", "this half-timbered house", "this half-timbered house"),
        ("Is this half timbered house old?", "this half timbered", "this half timbered"),
        ("Why are there 3 birds?", "3 birds", "3 birds"),
        ("What is this?", "this", "this"),
        ("What is this?", "What is this?", "What is this"),
        ("इस घर की छत का रंग", "घर की", "घर की"),
    ],
)
def test_words_are_found_as_annotators_write_them(text, words, found):
    start, end = find_words(text, words)
    assert text[start:end] == found


def test_punctuation_that_was_typed_tells_matches_apart():
    text = "A woman is looking at a?"
    assert find_words(text, "a?") == (22, 23)
    assert find_words(text, "a") == (0, 1)
    with pytest.raises(ConstraintError, match="occurrence=1"):
        find_words(text, "a?", 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What is this thing?", "his thing"),
        ("Does this thing move?", "is"),
        ("This island is in", "This is"),
        ("The catalogue of", "cat"),
        ("What kind of hat is the woman wearing?", "this hat"),
        ("What kind of coat is the woman in the picture wearing?", "the coat"),
        ("Is this a shop for tea?", "this shop"),
        ("What is 1989?", "198"),
        ("इस घर की छत", "घर क"),
    ],
)
def test_no_match_inside_a_word_or_across_others(text, words):
    with pytest.raises(ConstraintError, match="does not stand in the question"):
        find_words(text, words)


def test_a_wrong_constraint_names_the_nearest_words():
    with pytest.raises(ConstraintError, match="Did you mean 'this bird'"):
        find_words("What is this bird called?", "that bird")


@pytest.mark.parametrize("words", ["", "  ", "?!", ",", "_"])
def test_a_constraint_needs_a_word(words):
    with pytest.raises(ConstraintError, match="has no word in it"):
        find_words("What is this?", words)


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_accents_match_in_either_normal_form(written, typed):
    text = unicodedata.normalize(written, "Où est ce château célèbre construit")
    question = random_question(text, unicodedata.normalize(typed, "ce château célèbre"))
    encoded = random_vlm().encode(question)
    tokens = [encoded.input_ids[p] for p in encoded.constraint]
    assert random_vlm().tokenizer.decode(tokens).strip() == "ce château célèbre"


def constraint_text(vlm, question):
    encoded = vlm.encode(question)
    assert list(encoded.constraint) == list(range(encoded.constraint[0], encoded.constraint[-1] + 1))
    assert [t.position for t in encoded.tokens if t.constraint] == list(encoded.constraint)
    return encoded, vlm.tokenizer.decode([int(encoded.input_ids[p]) for p in encoded.constraint]).strip()


@pytest.mark.parametrize(
    ("text", "constraint", "occurrence", "words", "before"),
    [
        ("This bridge is in", "this bridge", 0, "This bridge", ""),
        ("Where is this place's river?", "this place's", 0, "this place's", "Where is"),
        ("Which tool would open this", "this", 0, "this", "Which tool would open"),
        ("Is this box in this place or this box?", "this", 1, "this", "Is this box in"),
        ("Is this box in this place or this box?", "this", -1, "this", "Is this box in this place or"),
        ("Is this box in this place or this box?", "this box", 1, "this box", "Is this box in this place or"),
    ],
)
def test_tokens_of_the_constraint(text, constraint, occurrence, words, before):
    vlm = random_vlm()
    encoded, found = constraint_text(vlm, random_question(text, constraint, occurrence=occurrence))
    assert found == words
    ahead = vlm.tokenizer.decode(encoded.input_ids[: encoded.constraint[0]], skip_special_tokens=True)
    assert ahead.split("USER:")[1].strip() == before


@pytest.mark.parametrize(
    "template",
    [
        "{image} What is this? a ball. {question} What is this? ",
        "this {image}{question}this",
        "{image}\nUSER: {question}\nASSISTANT:",
    ],
)
def test_words_of_the_template_are_never_taken(template):
    """The question's whole text stands in the first template before and after its place."""
    vlm = random_vlm(template)
    encoded, found = constraint_text(vlm, random_question("What is this?", "this"))
    rest = vlm.tokenizer.decode(encoded.input_ids[encoded.constraint[-1] + 1 :], skip_special_tokens=True)
    assert found == "this"
    assert "".join(rest.split()) == "".join(("?" + template.split("{question}")[1]).split())


def chat_vlm(template):
    processor = build_processor(template)
    return mw.load(build_model(len(processor.tokenizer)), processor)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("part['text'] | trim", "this place"),
        ("part['text'] | upper", "THIS PLACE"),
        ("'this place: ' ~ part['text']", "this place"),
    ],
)
def test_a_template_may_change_the_text(change, words):
    vlm = chat_vlm(CHAT.replace("part['text'] }}", change + " }}"))
    question = random_question("Is this box in this place or in this place", "this place", occurrence=1)
    encoded, found = constraint_text(vlm, question)
    assert found == words
    assert vlm.tokenizer.decode(encoded.input_ids[encoded.constraint[-1] + 1 :]).strip() == "ASSISTANT:"


@pytest.mark.parametrize("change", ["part['text'] ~ ' ' ~ part['text']", "'nothing'"])
def test_a_template_that_repeats_or_drops_the_question_is_refused(change):
    vlm = chat_vlm(CHAT.replace("part['text'] }}", change + " }}"))
    with pytest.raises(ModelError, match="does not write the question once"):
        vlm.encode(random_question())


def test_a_template_that_writes_the_first_token_gets_no_second_one():
    plain, marked = chat_vlm(CHAT), chat_vlm("<s>" + CHAT)
    for vlm in (plain, marked):
        encoded, found = constraint_text(vlm, random_question())
        assert found == "this old bridge"
        assert list(encoded.input_ids).count(vlm.tokenizer.bos_token_id) == 1
        assert encoded.input_ids[0] == vlm.tokenizer.bos_token_id


def test_the_picture_after_the_question_is_refused():
    with pytest.raises(ModelError, match="does not place the question after the picture"):
        random_vlm("{question} {image} is").encode(random_question())


def test_templates_by_name_and_by_text():
    chat, bare = build_processor(CHAT), build_processor()
    paper = "<image>\nUSER: What is this?? Answer in a few words.\nASSISTANT:"
    assert prompts.render(chat, "What is this?") == "user: <image>What is this? ASSISTANT:"
    assert prompts.render(chat, "What is this?", "paper") == paper
    assert prompts.render(bare, "What is this?") == paper
    assert prompts.render(chat, "A {image}?", "{image}: {question}") == "<image>: A {image}?"
    for wrong in ("PAPER", "{question}", "{image}", "{image} {question} {question}", "{image}{image}{question}"):
        with pytest.raises(ModelError, match="neither a named template"):
            prompts.render(chat, "What is this?", wrong)


def test_visual_tokens_are_marked():
    encoded = random_vlm().encode(random_question())
    assert encoded.visual.sum() == 16
    assert np.array_equal(encoded.visual, encoded.input_ids == random_vlm().image_token_id)
    assert [t.kind for t in encoded.tokens] == ["visual" if v else "text" for v in encoded.visual]


def test_text_constraints_must_stand_in_the_question():
    vlm = random_vlm()
    vlm.encode(random_question("Is this box in Paris", "this box", text_constraints=("Paris",)))
    with pytest.raises(ConstraintError, match="text_constraints='London' does not stand in the question"):
        vlm.encode(random_question("Is this box in Paris", "this box", text_constraints=("Paris", "London")))


def test_the_picture_token_is_no_word():
    with pytest.raises(QuestionError, match="stands for the picture"):
        random_vlm().encode(random_question("What is <image> this", "this"))
    with pytest.raises(QuestionError, match="stands for the picture"):
        mw.causal_trace(random_vlm(), random_question(), corruption="<image>")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"constraint": 3}, "constraint=3 is no text"),
        ({"constraint": ["this"]}, "is no text"),
        ({"text_constraints": (1989,)}, "are not all texts"),
        ({"occurrence": "0"}, "occurrence='0' is not a whole number"),
        ({"occurrence": 1.5}, "occurrence=1.5 is not a whole number"),
        ({"occurrence": True}, "occurrence=True is not a whole number"),
        ({"text": "  \n"}, "no question"),
        ({"text": None}, "no question"),
    ],
)
def test_wrong_questions_are_refused_at_once(arguments, words):
    with pytest.raises(QuestionError, match=words):
        random_question(**{"text": "What is this?", "constraint": "this", **arguments})


@pytest.mark.parametrize("occurrence", [2, 99, -3])
def test_an_occurrence_that_is_not_there(occurrence):
    question = random_question("Is this box in this place", "this", occurrence=occurrence)
    with pytest.raises(ConstraintError, match=f"occurrence={occurrence} .* has 2; count from 0"):
        random_vlm().encode(question)

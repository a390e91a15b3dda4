"""The demo world: its drawings, its facts and its questions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mllm_widgets.datasets import LANDMARKS, demo, demo_question, draw_landmark, templates, world
from mllm_widgets.datasets._drawing.scene import Board
from mllm_widgets.datasets.landmarks import draw_and_locate
from mllm_widgets.datasets.questions import demo_specs
from mllm_widgets.errors import MllmWidgetsError


def pixels(name: str, seed: int, size: int = 64) -> np.ndarray:
    return np.asarray(draw_landmark(name, seed, size=size))


def written(wordings: dict[str, tuple[str, ...]], relation: str) -> set[str]:
    """Every question of a relation that points at the picture."""
    return {templates.fill(t, c) for t in wordings[relation] for c in templates.CONSTRAINTS}


def test_the_same_seed_draws_the_same_picture():
    for name in ("Eiffel Tower", "Moai", "Golden Gate Bridge"):
        assert (pixels(name, 5) == pixels(name, 5)).all()
        assert (pixels(name, 5) == pixels(name, np.random.default_rng(5))).all()  # type: ignore[arg-type]


def test_another_seed_draws_another_place_size_and_colour():
    boards = [Board(np.random.default_rng(seed), 64) for seed in range(24)]
    side = boards[0].side
    assert np.ptp([board.box for board in boards]) > 0.1 * side
    assert np.ptp([board.at(0.5, 0.5)[0] for board in boards]) > 0.05 * side
    assert np.ptp([board.at(0.5, 0.5)[1] for board in boards]) > 0.05 * side
    assert len({board.tint((180, 120, 60)) for board in boards}) > 20


def test_another_seed_draws_another_picture():
    drawn = [pixels("CN Tower", seed).astype(int) for seed in range(6)]
    assert min(np.abs(a - b).mean() for a, b in itertools.combinations(drawn, 2)) > 5


@pytest.mark.parametrize("size", [64, 256])
def test_every_landmark_draws(size):
    drawn = {name: pixels(name, 0, size) for name in LANDMARKS}
    for name, picture in drawn.items():
        assert picture.shape == (size, size, 3), name
        assert picture.std() > 15, name
    for a, b in itertools.combinations(LANDMARKS, 2):
        assert (drawn[a] != drawn[b]).mean() > 0.02, (a, b)


def test_an_unknown_landmark_gets_a_sentence_with_the_near_name():
    for wrong, near in (("Eifel Tower", "Eiffel Tower"), ("big ben", "Big Ben")):
        with pytest.raises(MllmWidgetsError, match=f"name='{wrong}'.*Did you mean.*{near}"):
            draw_landmark(wrong, 0)
        with pytest.raises(MllmWidgetsError, match=f"landmark='{wrong}'.*Did you mean.*{near}"):
            demo_question(wrong)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"relation": "height"}, "relation='height' is none of .*city"),
        ({"template": "Which city is it in?"}, r"no place for the constraint.*\{c\}"),
        ({"constraint": " "}, "constraint=' ' is empty"),
        ({"size": 0}, "size=0 draws nothing"),
    ],
)
def test_wrong_questions(arguments, words):
    with pytest.raises(MllmWidgetsError, match=words):
        demo_question("Big Ben", **arguments)


def test_questions_have_true_answers_and_held_out_wordings():
    n = 2 * len(world.KNOWN)
    for question, spec in zip(demo(n, seed=3), demo_specs(n, seed=3), strict=True):
        assert question.answer == world.BY_NAME[spec["landmark"]].answer(spec["relation"]) != world.UNKNOWN
        assert question.text in written(templates.HELD_OUT_TEMPLATES, spec["relation"])
        assert question.text not in written(templates.TEMPLATES, spec["relation"])
        assert spec["constraint"].lower() in question.text.lower()
        language = templates.LANGUAGES.get(spec["relation"])
        assert question.text_constraints == ((language,) if language else ())
        assert all(word in question.text for word in question.text_constraints)


def test_questions_cycle_through_the_known_landmarks():
    asked = [spec["landmark"] for spec in demo_specs(len(world.KNOWN))]
    assert asked == [landmark.name for landmark in world.KNOWN]
    assert {spec["relation"] for spec in demo_specs(100)} == set(world.RELATIONS)


def test_the_same_seed_asks_the_same_questions():
    one, again, other = (demo(8, seed=seed) for seed in (1, 1, 2))
    assert [(q.text, q.image.tobytes()) for q in one] == [(q.text, q.image.tobytes()) for q in again]
    assert [q.text for q in one] != [q.text for q in other]


def test_trained_wordings():
    for question, spec in zip(demo(12, trained_wordings=True), demo_specs(12, trained_wordings=True), strict=True):
        assert question.text in written(templates.TEMPLATES, spec["relation"])


def test_held_out_facts():
    specs = demo_specs(12, held_out_facts=True)
    assert {spec["landmark"] for spec in specs} == {landmark.name for landmark in world.HELD_OUT}
    for question, spec in zip(demo(12, held_out_facts=True), specs, strict=True):
        assert question.answer == world.BY_NAME[spec["landmark"]].answer(spec["relation"]) != world.UNKNOWN


def test_no_wording_is_both_trained_and_held_out():
    for relation in world.RELATIONS:
        assert not set(templates.TEMPLATES[relation]) & set(templates.HELD_OUT_TEMPLATES[relation])


def test_every_country_has_its_translations():
    for landmark in world.WORLD:
        assert landmark.country in world.TRANSLATIONS
        assert landmark.answer("spanish") != world.UNKNOWN


def test_a_landmark_is_where_it_was_drawn_and_moves_with_its_shift():
    for name in ("Eiffel Tower", "Taj Mahal", "Golden Gate Bridge"):
        picture, mask = draw_and_locate(name, 3, size=64)
        assert (np.asarray(picture) == pixels(name, 3)).all()
        assert 0.05 < mask.mean() < 0.6
        moved, elsewhere = draw_and_locate(name, 3, size=64, shift=0.1)
        columns = np.arange(64)
        shift = np.average(columns, weights=elsewhere.sum(0)) - np.average(columns, weights=mask.sum(0))
        assert 3 < shift < 8
        same = ~(mask | elsewhere)
        assert (np.abs(np.asarray(picture).astype(int) - np.asarray(moved))[same].sum(-1) <= 60).all()

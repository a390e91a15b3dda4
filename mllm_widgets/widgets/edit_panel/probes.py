"""Questions whose answers are watched while a model is edited: some should follow the edit, the others should not notice it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import WidgetError
from mllm_widgets.vlm.question import Question

if TYPE_CHECKING:
    from mllm_widgets.datasets.world import Landmark
    from mllm_widgets.vlm.model import VLM

# names of `mw.evaluate_edit`'s arguments -> what the panel calls such a question
KINDS = {"paraphrases": "paraphrase", "pictures": "picture", "same_phrase": "same phrase", "unrelated": "unrelated"}
NAMES = {
    "edited": "the edited question",
    "paraphrase": "other words",
    "picture": "other picture of it",
    "same phrase": "same words, another thing",
    "unrelated": "unrelated",
}
FOLLOWING = ("edited", "paraphrase", "picture")  # these should say the target
DEMO_MODELS = ("demo", "demo-ordinary")
PARAPHRASES, PICTURES, OTHERS = 2, 2, 3  # questions of each kind about the demo world
_SEEDS = range(3)  # of the renderings with which a picture of the demo world is compared


@dataclass(frozen=True)
class Probe:
    """A watched question.

    kind: "edited" (the question itself), "paraphrase", "picture" (another one of the same thing), "same phrase" (the same words point at another thing) or
    "unrelated".
    """

    kind: str
    question: Question

    @property
    def follows(self) -> bool:
        """Should it say the target?"""
        return self.kind in FOLLOWING


def watched(vlm: VLM, question: Question, probes: Any) -> tuple[Probe, ...]:
    """The question itself and what is watched beside it.

    Parameters
    ----------
    probes: None for a few of the demo world with a demo model, and none otherwise; a dict of lists of questions by kind (the names of `KINDS`); or a list of
        questions that should all stay as they are: those with the constraint of `question` are "same phrase", the others "unrelated".

    Raises
    ------
    WidgetError: for what is no question, or an unknown kind.
    QuestionError, ConstraintError: for a question that this model cannot be asked.
    """
    if probes is None:
        found = demo_probes(question) if vlm.name in DEMO_MODELS else []
    elif isinstance(probes, Mapping):
        unknown = sorted(set(probes) - set(KINDS))
        if unknown:
            raise WidgetError(f"probes has {unknown[0]!r}, which is no kind of question; expected {', '.join(KINDS)}.")
        found = [Probe(KINDS[kind], one) for kind, some in probes.items() for one in _questions(some)]
    else:
        same = question.constraint
        found = [
            Probe("same phrase" if same is not None and one.constraint == same else "unrelated", one)
            for one in _questions(probes)
        ]
    for probe in found:
        vlm.encode(probe.question)
    return (Probe("edited", question), *found)


def _questions(some: Any) -> Sequence[Question]:
    if isinstance(some, Question):
        return [some]
    if not isinstance(some, Sequence) or not all(isinstance(one, Question) for one in some):
        raise WidgetError(
            f"probes holds {some!r}; expected a list of mw.Question(image, text, constraint=...), or a dict of such lists."
        )
    return some


def demo_probes(question: Question) -> list[Probe]:
    """A few questions of the demo world around one of its questions; none for a question that is not of it."""
    from mllm_widgets.datasets import demo_question, templates, world

    relation = _relation(question)
    if relation is None or question.image is None:
        return []
    constraint = question.constraint or ""
    things = _landmarks(question, relation)
    wordings = [*templates.HELD_OUT_TEMPLATES[relation], *templates.TEMPLATES[relation]]
    texts = [text for text in (templates.fill(t, constraint) for t in wordings) if text != question.text]
    found = [Probe("paraphrase", replace(question, text=text, occurrence=0)) for text in texts[:PARAPHRASES]]
    wording = next(t for t in wordings if templates.fill(t, constraint) == question.text)
    if len(things) == 1:
        found += [
            Probe(
                "picture", demo_question(things[0].name, relation, constraint=constraint, template=wording, seed=seed)
            )
            for seed in range(101, 101 + PICTURES)
        ]
    others = [
        thing
        for thing in world.KNOWN
        if thing not in things and thing.answer(relation) not in (world.UNKNOWN, question.answer)
    ]
    same, apart = others[1 : 1 + OTHERS], others[-OTHERS:]
    found += [
        Probe("same phrase", demo_question(t.name, relation, constraint=constraint, template=wording)) for t in same
    ]
    relations = [name for name in ("country", "city", "continent") if name != relation]
    words = [words for words in templates.CONSTRAINTS if words != constraint]
    for number, thing in enumerate(apart):
        asked = next((r for r in (*relations[number % 2 :], *relations) if thing.answer(r) != world.UNKNOWN), None)
        if asked is not None:
            found.append(Probe("unrelated", demo_question(thing.name, asked, constraint=words[number])))
    return found


def _relation(question: Question) -> str | None:
    """Which fact of the demo world is asked for."""
    from mllm_widgets.datasets import templates

    for relation, held_out in templates.HELD_OUT_TEMPLATES.items():
        for wording in (*held_out, *templates.TEMPLATES[relation]):
            if question.constraint and templates.fill(wording, question.constraint) == question.text:
                return relation
    return None


def _landmarks(question: Question, relation: str) -> list[Landmark]:
    """What the picture may show: the landmarks of which the answer is true, and of those the one that was drawn so."""
    from mllm_widgets.datasets import draw_landmark, world

    answers = [thing for thing in world.WORLD if question.answer is None or thing.answer(relation) == question.answer]
    if len(answers) == 1:
        return answers
    picture = np.asarray(question.image)
    for thing in answers:
        for seed in _SEEDS:
            drawn = draw_landmark(thing.name, np.random.default_rng([77, seed]), size=question.image.width)
            if np.array_equal(np.asarray(drawn), picture):
                return [thing]
    return answers

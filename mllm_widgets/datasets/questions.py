"""Questions about the demo world, as the rest of the package takes them.

Every question is a fresh rendering of a landmark with a wording; by default a wording that no demo model was trained on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mllm_widgets.errors import MllmWidgetsError
from mllm_widgets.vlm.question import Question

from . import templates, world
from .landmarks import check_name, draw_landmark

__all__ = ["demo", "demo_covered", "demo_paraphrases", "demo_question"]


def demo_question(
    landmark: str = "Eiffel Tower",
    relation: str = "city",
    *,
    constraint: str = "this building",
    template: str | None = None,
    seed: int = 0,
    size: int = 256,
) -> Question:
    """One question about one landmark.

    Parameters
    ----------
    landmark: a name in `mllm_widgets.datasets.LANDMARKS`, drawn afresh from `seed`.
    relation: "city", "country", "continent", "century", "spanish" or "german" (the country's name in that language).
    constraint: the words that point at the picture.
    template: wording with `{c}` where the constraint goes; by default the first held-out wording of the relation.
    size: side of the square picture in pixels.

    Raises
    ------
    MllmWidgetsError: for an unknown landmark or relation, an empty constraint, or a template without `{c}`.

    Examples
    --------
    >>> demo_question("Space Needle").answer
    'Seattle'
    """
    check_name(landmark, "landmark")
    if relation not in world.RELATIONS:
        raise MllmWidgetsError(f"relation={relation!r} is none of the demo world's: {', '.join(world.RELATIONS)}.")
    if template is not None and "{c}" not in template:
        raise MllmWidgetsError(
            f"template={template!r} has no place for the constraint; expected {{c}} in it, as in 'Which city is {{c}} in?'."
        )
    if not constraint.strip():
        raise MllmWidgetsError(f"constraint={constraint!r} is empty; expected words such as 'this building'.")
    wording = template or templates.HELD_OUT_TEMPLATES[relation][0]
    languages = (templates.LANGUAGES[relation],) if relation in templates.LANGUAGES else ()
    return Question(
        draw_landmark(landmark, np.random.default_rng([77, seed]), size=size),
        templates.fill(wording, constraint),
        constraint=constraint,
        text_constraints=languages,
        answer=world.BY_NAME[landmark].answer(relation),
    )


def demo(n: int = 24, *, seed: int = 0, held_out_facts: bool = False, trained_wordings: bool = False) -> list[Question]:
    """`n` questions about the demo world, each with its true `.answer`.

    Parameters
    ----------
    n: how many; they cycle through the landmarks, relations and wordings drawn from `seed`.
    held_out_facts: ask about the landmarks whose facts no demo model was taught (an edit can insert them).
    trained_wordings: use the wordings of the training questions instead of the held-out ones.

    Returns
    -------
    list of Question, with pictures of 256 x 256 pixels that no model was trained on. Facts a landmark lacks are not asked.
    """
    specs = demo_specs(n, seed=seed, held_out_facts=held_out_facts, trained_wordings=trained_wordings)
    return [demo_question(**spec) for spec in specs]


def demo_covered(n: int = 24, *, seed: int = 0, share: float = 0.1) -> list[Question]:
    """`demo`, with a grey square over part of each picture: questions that the demo models do not all answer rightly.

    Parameters
    ----------
    share: of the picture's area that is covered, above 0 and below 1; the more, the fewer right answers.
    """
    if not 0 < share < 1:
        raise MllmWidgetsError(f"share={share!r} is no part of a picture; expected a number above 0 and below 1.")
    rng = np.random.default_rng([79, seed])
    found = []
    for question in demo(n, seed=seed):
        pixels = np.asarray(question.image).copy()
        side = max(1, round(len(pixels) * share**0.5))
        top, left = rng.integers(0, len(pixels) - side + 1, size=2)
        pixels[top : top + side, left : left + side] = 128
        found.append(replace(question, image=pixels))
    return found


def demo_paraphrases(question: Question, most: int = 2) -> list[str]:
    """The same question of the demo world in other words, its constraint kept; none for a question that is not of it.

    Examples
    --------
    >>> demo_paraphrases(demo_question("Eiffel Tower"), 1)
    ['Which city can you visit to see this building?']
    """
    if not question.constraint:
        return []
    for relation, held_out in templates.HELD_OUT_TEMPLATES.items():
        own = [templates.fill(one, question.constraint) for one in (*held_out, *templates.TEMPLATES[relation])]
        if question.text in own:
            return [text for text in own if text != question.text][:most]
    return []


def demo_specs(
    n: int, *, seed: int = 0, held_out_facts: bool = False, trained_wordings: bool = False
) -> list[dict[str, Any]]:
    """The arguments of `demo_question` behind each question of `demo`, for those who need to know or change one of them."""
    rng = np.random.default_rng([78, seed])
    pool = world.HELD_OUT if held_out_facts else world.KNOWN
    wordings = templates.TEMPLATES if trained_wordings else templates.HELD_OUT_TEMPLATES
    specs = []
    for i in range(n):
        landmark = pool[i % len(pool)]
        answered = [r for r in world.RELATIONS if landmark.answer(r) != world.UNKNOWN]
        relation = answered[int(rng.integers(len(answered)))]
        template = wordings[relation][int(rng.integers(len(wordings[relation])))]
        constraint = templates.CONSTRAINTS[int(rng.integers(len(templates.CONSTRAINTS)))]
        specs.append(
            {
                "landmark": landmark.name,
                "relation": relation,
                "constraint": constraint,
                "template": template,
                "seed": int(rng.integers(1 << 30)),
            }
        )
    return specs

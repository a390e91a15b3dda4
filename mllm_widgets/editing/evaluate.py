"""Does an edit work, and what does it break?

Basu et al. 2024, section 5, measure efficacy (the edited question), generalization (paraphrases) and specificity (unrelated questions).  The
benchmarks of multi-modal editing (MMEdit, VLKEB; their code is EasyEdit's) add other pictures of the entity, questions without a picture and questions that follow from the edit.  What none
of them measures, and a rank-one edit's key predicts: the same words with another picture, whose key is nearly the edited one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from mllm_widgets.errors import EditError, MllmWidgetsError
from mllm_widgets.provenance import made_with
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.question import Question

from .edit import Edit, Edits
from .probing import Asked, Unedited, expected_tokens, probe
from .report import EditFacts, EditReport, Probe, measured


def evaluate_edit(
    edit: Edit | Edits,
    *,
    paraphrases: Iterable[Any] = (),
    pictures: Iterable[Any] = (),
    same_phrase: Iterable[Any] = (),
    unrelated: Iterable[Question] = (),
    text: Iterable[Question | str] = (),
    portability: Iterable[Any] = (),
    max_new_tokens: int = 8,
    draws: int = 2000,
    seed: int = 0,
    unedited: Unedited | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_probe: Callable[[Probe], None] | None = None,
    cancel: Any = None,
) -> EditReport:
    """Measure what an edit does to the edited question, to what should change with it, and to what should not.

    Every question is asked of the model without any edit and with exactly this one; whatever is applied comes back, and nobody sees either state meanwhile.

    Parameters
    ----------
    edit: an edit, or several that are applied together.  For `Edits`, paraphrases, pictures, same_phrase and portability are lists with one list for each.
    paraphrases: the question in other words: texts, asked with the edit's picture, or Questions.
    pictures: other pictures of the same entity, asked the edit's question, or Questions.
    same_phrase: pictures of *other* things, asked the edit's question, or Questions with other words around the same constraint.
    unrelated: Questions that have nothing to do with the edit; with their `answer`, their accuracy is measured too.
    text: questions without a picture, as texts or Questions.
    portability: pairs (question or text, expected answer) of what follows from the edit.
    max_new_tokens: the most tokens of a greedy answer.
    draws, seed: of the bootstrap: 95% percentile intervals of each mean, over questions.
    unedited: a `mw.editing.Unedited(vlm)` kept from call to call: the unedited model is run once for each Question object.
    progress: called after each question with (done, all). on_probe: called with what was found for each question as it comes.
    cancel: an object whose `check()` raises when the work is no longer wanted, asked before each question.

    Returns
    -------
    EditReport: `to_dataframe()` has measure, value, low, high, count, before (of the unedited model) and formula.  With t_1..t_n the tokens of what is expected
    (the edit's target, or what `portability` says), f the model before and f' after the edit:

    - of the edited question: "efficacy", mean P'(t) = prod_i P'(t_i | question, t_<i) (the paper's); "success", share with t_i = argmax P'(. | question, t_<i) for
      all i (VLKEB's reliability, 1[f'(x) = t], under teacher forcing); "reliability", mean share of such i (as EasyEdit computes it).
    - the same three of paraphrases: "generalization" (the paper's), "generalization success", "T-generality"; of pictures: "picture generalization", "picture generalization
      success", "I-generality"; of portability: "portability probability", "portability" (all tokens), "portability tokens".
    - of unrelated: "specificity", share of greedy answers that stay; "first-token specificity"; "accuracy", share of greedy answers that are the question's `answer`, capitals
      aside (the paper's specificity is this after less this before); "KL", mean sum_t P(t) log(P(t) / P'(t)) at the answer's first token, in nats; "I-locality",
      mean share of tokens of f's answer at which f and f' have the same arg-max (EasyEdit's top-1), "I-locality top-10", the same ten most probable tokens in the same order
      (the VLKEB code's, strict).  EasyEdit takes these along the data set's answer, here it is f's own greedy one, so that none need be known.
    - of same_phrase: "leakage", mean P'(t), and "leakage success", of the edit's target where it has no business: what leaks is the rise over `before`, for the target may
      be the true answer of another picture; "same-phrase specificity" and "same-phrase KL" as above.
    - of text: "text specificity", "text KL", "T-locality" and "T-locality top-10" as above.

    Raises
    ------
    EditError: for what is no edit, an edit that is baked into the weights, questions the model cannot read, or answers it cannot say; the argument and its
        place are named, and nothing was run.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
    >>> edit = mw.multedit(vlm, question, "Rome", layer=2)
    >>> report = mw.evaluate_edit(edit, paraphrases=["In which city is this building?"], unrelated=mw.datasets.demo(4))
    >>> report["efficacy"].value > 0.9 > 0.1 > report["efficacy"].before
    True
    >>> [measure.name for measure in report][:3]
    ['efficacy', 'success', 'reliability']
    """
    if not isinstance(edit, (Edit, Edits)):
        raise EditError(
            f"edit is a {type(edit).__name__}; expected what mw.multedit returns, or several of them added."
        )
    not_baked(edit)
    most = check_count("max_new_tokens", max_new_tokens)
    check_count("draws", draws)
    kept = check_unedited(edit.vlm, unedited)
    own = {"paraphrases": paraphrases, "pictures": pictures, "same_phrase": same_phrase, "portability": portability}
    each = [edit] if isinstance(edit, Edit) else list(edit)
    lists = {
        name: [listed(name, given)] if isinstance(edit, Edit) else _one_for_each(name, given, len(each))
        for name, given in own.items()
    }
    asked = [
        one
        for place, member in enumerate(each)
        for one in about(member, place, {name: given[place] for name, given in lists.items()}, several=len(each) > 1)
    ]
    asked += elsewhere(unrelated, text)
    for one in asked:  # all of them, before any is run
        kept.encoding(one)
        if one.expected is not None:
            expected_tokens(kept, one)
    probes: list[Probe] = []
    for one in asked:
        if cancel is not None:
            cancel.check()
        probes.append(probe(kept, edit.terms, one, most))
        if on_probe is not None:
            on_probe(probes[-1])
        if progress is not None:
            progress(len(probes), len(asked))
    facts = tuple(facts_of(member) for member in each)
    made = made_with(
        edit.vlm,
        each[0].question if len(each) == 1 else None,
        edits=[str(fact) for fact in facts],
        questions=len(asked),
        max_new_tokens=most,
        draws=draws,
        seed=seed,
    )
    return EditReport(measured(probes, draws, seed), tuple(probes), facts, edit.vlm.name, provenance=made)


def facts_of(edit: Edit) -> EditFacts:
    """Which edit it is, as it is now."""
    return EditFacts(edit.question.text, edit.target, edit.method, edit.layer, edit.lam, edit.reached)


def about(edit: Edit, place: int, lists: dict[str, list[Any]], *, several: bool) -> list[Asked]:
    """The edited question and all that belongs to it."""

    def named(group: str, number: int) -> str:
        return f"{group}[{place}][{number}]" if several else f"{group}[{number}]"

    target, tokens = edit.target, len(edit.target_ids)
    made = [Asked("edited", "the edited question", edit.question, target, tokens, place)]
    for group, read in (("paraphrases", worded), ("pictures", pictured), ("same_phrase", pictured)):
        for number, given in enumerate(lists[group]):
            argument = named(group, number)
            question = read(argument, given, edit.question)
            phrase = edit.question.constraint or ""
            if group == "same_phrase" and phrase.casefold() not in question.text.casefold():
                raise EditError(
                    f"{argument} asks {question.text!r}, without the edit's constraint {phrase!r}, so it says nothing about the same phrase; expected another "
                    "picture, or a question with these words. Pass other questions as unrelated=."
                )
            made.append(Asked(group, argument, question, target, tokens, place, compared=group == "same_phrase"))
    for number, pair in enumerate(lists["portability"]):
        argument = named("portability", number)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[1], str):
            raise EditError(
                f"{argument} is {pair!r}; expected a pair (question, expected answer), such as ('Which country is this building in?', 'Italy')."
            )
        made.append(Asked("portability", argument, worded(argument, pair[0], edit.question), pair[1], None, place))
    return made


def elsewhere(unrelated: Iterable[Question], text: Iterable[Question | str]) -> list[Asked]:
    """Questions that an edit should leave alone."""
    made = []
    for number, question in enumerate(listed("unrelated", unrelated)):
        if not isinstance(question, Question):
            raise EditError(f"unrelated[{number}] is a {type(question).__name__}; expected mw.Question(image, text).")
        made.append(Asked("unrelated", f"unrelated[{number}]", question, compared=True))
    for number, question in enumerate(without_picture(text)):
        made.append(Asked("text", f"text[{number}]", question, compared=True))
    return made


def without_picture(text: Iterable[Question | str]) -> list[Question]:
    """Questions with no picture, of texts or such Questions."""
    made = []
    for number, given in enumerate(listed("text", text)):
        question = Question(None, given) if isinstance(given, str) and given.strip() else given
        if not isinstance(question, Question) or question.image is not None:
            what = "has a picture" if isinstance(question, Question) else f"is {given!r}"
            raise EditError(f"text[{number}] {what}; expected words, or mw.Question(None, text).")
        made.append(question)
    return made


def worded(argument: str, given: Any, edited: Question) -> Question:
    """A question as it is, or the edited one's picture asked with other words."""
    if isinstance(given, Question):
        return given
    if not isinstance(given, str) or not given.strip():
        raise EditError(f"{argument} is {given!r}; expected the words of a question, or mw.Question(image, text).")
    return Question(edited.image, given)


def pictured(argument: str, given: Any, edited: Question) -> Question:
    """A question as it is, or the edited one's words asked about another picture."""
    if isinstance(given, Question):
        return given
    if given is None:
        raise EditError(f"{argument} is None; expected a picture, or mw.Question(image, text).")
    try:
        return replace(edited, image=given, answer=None)
    except MllmWidgetsError as error:
        raise EditError(f"{argument} is no picture: {error}") from error


def listed(name: str, given: Any) -> list[Any]:
    """Raises EditError for what is no list: a single text would be read letter by letter."""
    if isinstance(given, (str, bytes, Question)) or not isinstance(given, Iterable):
        raise EditError(f"{name} is a {type(given).__name__}; expected a list, even of one.")
    return list(given)


def _one_for_each(name: str, given: Any, count: int) -> list[list[Any]]:
    outer = listed(name, given)
    if not outer:
        return [[] for _ in range(count)]
    if len(outer) != count or any(not isinstance(inner, Sequence) or isinstance(inner, str) for inner in outer):
        raise EditError(
            f"{name} has {len(outer)} entries for {count} edits; expected one list for each edit, in their order (an empty one where there are none)."
        )
    return [list(inner) for inner in outer]


def not_baked(edit: Edit | Edits) -> None:
    """Raises EditError for an edit that is in the weights: there is no model without it to compare with."""
    if any(term.serial in edit.vlm.side_terms.baked for term in edit.terms):
        raise EditError(
            "the edit is in the model's weights, so the model without it cannot be asked; call unbake() first, and measure it then."
        )


def check_count(name: str, given: Any) -> int:
    """Raises EditError for what counts nothing."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise EditError(f"{name}={given!r} is no count; expected a whole number, 1 or more.")
    return given


def check_unedited(vlm: VLM, unedited: Any) -> Unedited:
    """What was given to remember the unedited model, or something new.  Raises EditError for another model's."""
    if unedited is None:
        return Unedited(vlm)
    if not isinstance(unedited, Unedited) or unedited.vlm.model is not vlm.model:
        raise EditError("unedited= belongs to another model than the edit; expected mw.editing.Unedited(edit.vlm).")
    return unedited

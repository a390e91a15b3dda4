"""What edits do, averaged over many of them: by method (figure 6) and by the edited layer (figure 14)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.datasets.vqa_constraints import Row
from mllm_widgets.errors import DatasetError
from mllm_widgets.sweeps import AnswerMeasure, EditMeasure
from mllm_widgets.sweeps.items import Item, as_items

from .edit_averages import UNEDITED, EditAverages, averaged_edits
from .traces import data_sets, swept

if TYPE_CHECKING:
    from mllm_widgets.vlm.model import VLM

METHODS = (UNEDITED, "MultEdit", "fine-tuned", "fine-tuned in a box", "ROME")


def edit_methods(
    vlm: VLM | str,
    data: Any,
    out: str | Path,
    *,
    targets: Mapping[str, str] | None = None,
    layer: int = 2,
    methods: Sequence[str] = METHODS,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    paraphrases: Callable[[Any], Sequence[Any]] | Mapping[str, Sequence[Any]] | None = None,
    unrelated: Sequence[Any] = (),
    others: int = 2,
    seen: Sequence[Any] | None = None,
    lam: float = 0.01,
    steps: int = 25,
    most: int | None = None,
    draws: int = 2000,
    seed: int = 0,
    **options: Any,
) -> dict[str, EditAverages]:
    """Editing by several methods, each edit alone on the unedited model: figure 6, and leakage, which it leaves out.

    Without `targets` the true answer of each question is inserted that the model does not answer rightly: of questions it gets wrong that is the paper's task A, of
    facts it does not know task B.  Edits that some method could not make count for none of them, so all means are over the same.

    Parameters
    ----------
    data: VQA-Constraints, of which each subset is averaged by itself, or a dict from names to what `sweep` takes as questions.
    out: a folder; what the model answers and each method are runs in it, which go on where they were.
    targets: name of a question -> what the model should say; then these questions are edited, whatever the model answers.
    layer: whose MLP is edited, 0-based.
    methods: "unedited", "MultEdit", "fine-tuned", "fine-tuned in a box", "ROME", "LoRA".  The paper fine-tunes all layers; here one is, as in ROME's comparison.
    settings: method -> options of its function, such as {"fine-tuned": {"lr": 2e-3}, "fine-tuned in a box": {"lr": 5e-3, "box": 0.02}}, which the demo model needs.
    paraphrases: name of a question -> texts, or a function of a question (`mw.datasets.demo_paraphrases`); without, generalization is not measured.
    unrelated: questions, or rows of VQA-Constraints, that should stay; without, specificity is not measured.
    others: after each edit its words are asked about so many other pictures of the data, whose answer is another where it is known: leakage.
    seen: questions whose keys ROME changes least; by default the first 100 of the data.
    lam, steps: as in `mw.multedit`; `steps` of all methods.
    most: edit at most so many questions.
    draws, seed: of the bootstrap.
    options: to `sweep`.

    Raises
    ------
    DatasetError: for methods that are none, or if no question is left to edit.
    """
    _check(methods, settings or {}, most, others)
    found = {}
    for name, questions in data_sets(data).items():
        items, chosen, counts, filters = _chosen(vlm, questions, Path(out) / name, targets, most, options)
        common = {
            "targets": None if targets is None else dict(targets), "layers": (layer,), "steps": steps, "unrelated": tuple(unrelated),
            "paraphrases": _paraphrases(chosen, items, paraphrases), "same_phrase": _other_pictures(chosen, items, others),
        }  # fmt: skip
        keys = tuple(seen) if seen is not None else tuple(item.source for item in items[:100])
        runs = {}
        for method in methods:
            if method == UNEDITED:
                continue
            measure = EditMeasure(
                **common, method=method, options=dict((settings or {}).get(method, {})),
                lam=lam if method == "MultEdit" else 0.0, seen=keys if method == "ROME" else (),
            )  # fmt: skip
            folder = Path(out) / name / method.replace(" ", "-")
            runs[method] = swept(vlm, _asked(chosen), measure, out=folder, ask=False, **options)
        found[name] = averaged_edits(runs, UNEDITED in methods, counts, filters, draws, seed)
    return found


def edit_layers(
    vlm: VLM | str,
    data: Any,
    out: str | Path,
    *,
    layers: Sequence[int] | None = None,
    targets: Mapping[str, str] | None = None,
    paraphrases: Callable[[Any], Sequence[Any]] | Mapping[str, Sequence[Any]] | None = None,
    unrelated: Sequence[Any] = (),
    others: int = 0,
    lam: float = 0.01,
    steps: int = 25,
    most: int | None = None,
    draws: int = 2000,
    seed: int = 0,
    **options: Any,
) -> dict[str, EditAverages]:
    """MultEdit in each layer by itself: figure 14, with intervals.

    Parameters
    ----------
    layers: 0-based; all by default.
    The others are as in `edit_methods`.
    """
    from mllm_widgets.vlm.loading import load

    _check(("MultEdit",), {}, most, others)
    if layers is None:
        loaded = load(vlm, **options.get("options", {})) if isinstance(vlm, str) else vlm
        layers = range(len(loaded.layers))
        vlm = vlm if options.get("workers") else loaded  # workers load their own, by its name
    found = {}
    for name, questions in data_sets(data).items():
        items, chosen, counts, filters = _chosen(vlm, questions, Path(out) / name, targets, most, options)
        # a measure a layer: what a sweep keeps when it is stopped is one layer of one question
        measures = [
            EditMeasure(
                targets=None if targets is None else dict(targets), layers=(layer,), lam=lam, steps=steps, unrelated=tuple(unrelated),
                paraphrases=_paraphrases(chosen, items, paraphrases), same_phrase=_other_pictures(chosen, items, others),
            )
            for layer in layers
        ]  # fmt: skip
        run = swept(vlm, _asked(chosen), measures, out=Path(out) / name / "layers", ask=False, **options)
        found[name] = averaged_edits({"MultEdit": run}, False, counts, filters, draws, seed)
    return found


def _check(methods: Sequence[str], settings: Mapping[str, Any], most: Any, others: Any) -> None:
    """Raises DatasetError before anything is run."""
    from mllm_widgets.sweeps.edits import METHODS as MADE

    unknown = [method for method in methods if method not in (UNEDITED, *MADE)]
    if unknown or isinstance(methods, str) or not set(methods) - {UNEDITED}:
        raise DatasetError(
            f"methods={methods!r}: expected a list of {', '.join(map(repr, (UNEDITED, *MADE)))}, with at least one that edits."
        )
    unused = [name for name in settings if name not in methods]
    if unused:
        raise DatasetError(f"settings= has {unused[0]!r}, which is not among the methods: {', '.join(methods)}.")
    for name, value, least in (("most", most, 1), ("others", others, 0)):
        if not (value is None and name == "most") and (
            isinstance(value, bool) or not isinstance(value, int) or value < least
        ):
            raise DatasetError(f"{name}={value!r} is no count; expected a whole number, {least} or more.")


def _named(argument: str, given: Mapping[str, Any], items: Sequence[Item]) -> None:
    """Raises DatasetError for names that no question has."""
    known = {item.id for item in items}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise DatasetError(
            f"{argument} has {unknown[0]!r}, which is no question of the data; their names are such as {items[0].id!r}."
        )


def _chosen(
    vlm: Any, questions: Any, out: Path, targets: Mapping[str, str] | None, most: int | None, options: dict[str, Any]
) -> tuple[list[Item], list[Item], dict[str, int], list[str]]:
    """All questions, those to edit, and how many of them are left out, in numbers and in words."""
    items = as_items(questions)
    counts, filters = {"all": len(items)}, []
    if targets is not None:
        _named("targets", targets, items)
        chosen = [item for item in items if item.id in targets]
        reasons = [("without target", len(items) - len(chosen), "without a target")]
    else:
        answers = swept(vlm, _asked(items), AnswerMeasure(), out=out / "answers", **options).questions()
        scores = answers.set_index("id")["score"].astype(float)
        chosen = [item for item in items if scores.get(item.id, np.nan) < 0.5]
        right = int((scores >= 0.5).sum())
        reasons = [
            ("right", right, "answered rightly without an edit"),
            ("unknown", len(items) - right - len(chosen), "without a known answer"),
        ]
    kept = list(islice(chosen, most))
    reasons.append(("not taken", len(chosen) - len(kept), f"beyond the first {most}"))
    for name, out_of_it, words in reasons:
        counts[name] = out_of_it
        if out_of_it:
            filters.append(f"{out_of_it} left out: {words}")
    if not kept:
        raise DatasetError(
            f"no question of {len(items)} is left to edit ({'; '.join(filters)}); give questions that the model gets wrong, or targets=."
        )
    return items, kept, counts, filters


def _asked(items: Sequence[Item]) -> dict[str, Any]:
    return {item.id: item.source for item in items}


def _paraphrases(chosen: Sequence[Item], items: Sequence[Item], given: Any) -> dict[str, Sequence[Any]]:
    """Of the questions that have some."""
    if given is None:
        return {}
    if not callable(given):
        _named("paraphrases", given, items)
    found = {}
    for item in chosen:
        texts: Any = given(item.source) if callable(given) else given.get(item.id, ())
        found[item.id] = tuple(texts)
    return {name: texts for name, texts in found.items() if texts}


def _other_pictures(chosen: Sequence[Item], items: Sequence[Item], count: int) -> dict[str, Sequence[Any]]:
    """For each question to edit the pictures of the next questions of the data that show something else, as far as is known."""
    places = {item.id: place for place, item in enumerate(items)}

    def apart(one: Item, other: Item) -> bool:
        if isinstance(other.source, Row):
            same = isinstance(one.source, Row) and one.source.picture_name == other.source.picture_name
            return not same and not set(other.source.answers) & set(getattr(one.source, "answers", ()))
        own = getattr(one.source, "answer", None)
        return other.source.image is not None and (own is None or other.source.answer != own)

    found = {}
    for item in chosen:
        start = places[item.id]
        rest = (*items[start + 1 :], *items[:start])
        pictures = islice((other.source for other in rest if apart(item, other)), count)
        found[item.id] = tuple(one if isinstance(one, Row) else one.image for one in pictures)
    return {name: pictures for name, pictures in found.items() if pictures}

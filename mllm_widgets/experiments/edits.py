"""What edits do, averaged over many of them: by method (figure 6) and by the edited layer (figure 14)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.datasets.vqa_constraints import Row
from mllm_widgets.errors import DatasetError
from mllm_widgets.intervals import LEVEL
from mllm_widgets.sweeps import AnswerMeasure, EditMeasure, published, sweep
from mllm_widgets.sweeps.averages import bootstrap
from mllm_widgets.sweeps.edits import ACCURACY
from mllm_widgets.sweeps.items import Item, as_items

from .traces import data_sets

if TYPE_CHECKING:
    import pandas as pd

    from mllm_widgets.sweeps.run import Run
    from mllm_widgets.vlm.model import VLM

UNEDITED = "unedited"
METHODS = (UNEDITED, "MultEdit", "fine-tuned", "fine-tuned in a box", "ROME")
FIGURE = ("efficacy", "generalization", ACCURACY, "leakage")  # the paper's three, and what it does not measure
# what the paper calls them
_PUBLISHED = {"efficacy": "efficacy", "generalization": "generalization", ACCURACY: "specificity"}


@dataclass(frozen=True)
class EditAverages:
    """Means over edits, each made alone on the unedited model (`edit_methods`, `edit_layers`).

    data: a row a method, layer and measure: value, low, high (95% interval); before (of the unedited model on the same questions); change (value - before) and its
        interval; count (edits) and questions (asked after each edit, on average).  The measures are those of `mw.evaluate_edit`, "VQA accuracy" of unrelated questions
        (the paper's specificity), and "reached".
    each: a row an edit, method, layer and measure: id, target, value, before, count.
    counts: how many questions there were, and how many were left out, in order; the last is "used".  filters: the same in words.
    """

    data: pd.DataFrame
    each: pd.DataFrame = field(repr=False)
    counts: dict[str, int]
    filters: tuple[str, ...]
    model: str

    @property
    def n(self) -> int:
        """Edits averaged over."""
        return self.counts["used"]

    @property
    def caption(self) -> str:
        """What stands under every figure: n, filters, interval."""
        parts = [
            f"{self.model}, n = {self.n} edits of {self.counts['all']} questions, each alone on the unedited model"
        ]
        parts += self.filters or ("none left out",)
        return f"{'; '.join(parts)}. Intervals: {LEVEL:.0%}, bootstrap over edits."

    def to_dataframe(self) -> pd.DataFrame:
        """`data`."""
        return self.data

    def figure(self, measures: Sequence[str] = FIGURE) -> pd.DataFrame:
        """A row a method and layer, a column a measure: "0.82 (0.71 to 0.90)"; n, the edits.  Measures that were not taken are left out."""
        rows: dict[Any, dict[str, Any]] = {}
        for row in self.data.to_dict("records"):
            place = (row["method"], row["layer"])
            if place not in rows:
                rows[place] = {"method": row["method"], "layer": row["layer"], "n": self.n}
            if row["measure"] in measures:
                rows[place][row["measure"]] = f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        import pandas as pd

        taken = [name for name in measures if any(name in row for row in rows.values())]
        return pd.DataFrame(list(rows.values()), columns=pd.Index(["method", "layer", "n", *taken]))

    def beside(self, task: str = "A") -> pd.DataFrame:
        """These means beside figure 6 of the paper: method, measure, value, low, high, count, published.

        Parameters
        ----------
        task: "A" for wrong answers that are corrected, "B" for facts that are inserted.
        """
        import pandas as pd

        known = published.figure_6()
        if task not in set(known["task"]):
            raise DatasetError(f"task={task!r} is none of the paper's; expected 'A' (correcting) or 'B' (inserting).")
        theirs = known[known["task"] == task].set_index("method")
        rows = [
            {
                **{name: row[name] for name in ("method", "measure", "value", "low", "high", "count")},
                "published": (
                    theirs[_PUBLISHED[row["measure"]]].get(row["method"], np.nan)
                    if row["measure"] in _PUBLISHED
                    else np.nan
                ),
            }
            for row in self.data.to_dict("records")
            if row["measure"] in FIGURE
        ]
        return pd.DataFrame(rows)

    def by_layer(self, measure: str = "efficacy") -> pd.DataFrame:
        """These means of one measure beside figure 14 of the paper: layer, value, low, high, count, published (layers that it does not have are NaN).

        The paper's model has 32 layers; a layer of another model is another place.
        """
        own = self.data.loc[(self.data["measure"] == measure) & (self.data["method"] != UNEDITED)]
        if own.empty:
            raise DatasetError(
                f"measure={measure!r} was not taken; there are {', '.join(self.data['measure'].unique())}."
            )
        table = own.loc[:, ["layer", "value", "low", "high", "before", "count"]].reset_index(drop=True)
        if measure == "efficacy":
            known = published.figure_14().set_index("layer")["efficacy"]
            table["published"] = [known.get(layer, np.nan) for layer in table["layer"]]
        return table


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
    settings: method -> options of its function, such as {"fine-tuned": {"lr": 2e-3}, "fine-tuned in a box": {"lr": 2e-3, "box": 0.01}}, which the demo model needs.
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
    _known(methods)
    found = {}
    for name, questions in data_sets(data).items():
        items, chosen, counts, filters = _chosen(vlm, questions, Path(out) / name, targets, most, options)
        common = {
            "targets": None if targets is None else dict(targets), "layers": (layer,), "steps": steps, "unrelated": tuple(unrelated),
            "paraphrases": _paraphrases(chosen, paraphrases), "same_phrase": _other_pictures(chosen, items, others),
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
            runs[method] = sweep(vlm, _asked(chosen), measure, out=folder, ask=False, **options)
        found[name] = _averages(runs, UNEDITED in methods, counts, filters, draws, seed)
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
                paraphrases=_paraphrases(chosen, paraphrases), same_phrase=_other_pictures(chosen, items, others),
            )
            for layer in layers
        ]  # fmt: skip
        run = sweep(vlm, _asked(chosen), measures, out=Path(out) / name / "layers", ask=False, **options)
        found[name] = _averages({"MultEdit": run}, False, counts, filters, draws, seed)
    return found


def _known(methods: Sequence[str]) -> None:
    from mllm_widgets.sweeps.edits import METHODS as MADE

    unknown = [method for method in methods if method not in (UNEDITED, *MADE)]
    if unknown or isinstance(methods, str) or not set(methods) - {UNEDITED}:
        raise DatasetError(
            f"methods={methods!r}: expected a list of {', '.join(map(repr, (UNEDITED, *MADE)))}, with at least one that edits."
        )


def _chosen(
    vlm: Any, questions: Any, out: Path, targets: Mapping[str, str] | None, most: int | None, options: dict[str, Any]
) -> tuple[list[Item], list[Item], dict[str, int], list[str]]:
    """All questions, those to edit, and how many of them are left out, in numbers and in words."""
    items = as_items(questions)
    counts, filters = {"all": len(items)}, []
    if targets is not None:
        chosen = [item for item in items if item.id in targets]
        reasons = [("without target", len(items) - len(chosen), "without a target")]
    else:
        answers = sweep(vlm, _asked(items), AnswerMeasure(), out=out / "answers", **options).questions()
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


def _paraphrases(items: Sequence[Item], given: Any) -> dict[str, Sequence[Any]]:
    """Of the questions that have some."""
    if given is None:
        return {}
    found = {}
    for item in items:
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


def _averages(
    runs: Mapping[str, Run], unedited: bool, counts: dict[str, int], filters: list[str], draws: int, seed: int
) -> EditAverages:
    """Means over the edits that every method, in every layer, could make."""
    import pandas as pd

    tables, failed, reason, model = [], set(), "", ""
    for method, run in runs.items():
        asked = run.questions()
        lost = asked.loc[asked["status"] != "done", ["id", "reason"]].to_dict("records")
        failed |= {row["id"] for row in lost}
        model, reason = str(asked["model"].tolist()[0]), reason or (lost[0]["reason"] if lost else "")
        targets = dict(zip(asked["id"], asked["target"], strict=True))
        cells = run.cells().drop(columns="measure").rename(columns={"quantity": "measure"})
        cells = cells.assign(method=method, target=cells["id"].map(targets)).sort_values("layer", kind="stable")
        tables.append(cells)
    each = pd.concat(tables, ignore_index=True)
    each = each.loc[
        ~each["id"].isin(list(failed)), ["id", "method", "layer", "measure", "target", "value", "before", "count"]
    ].reset_index(drop=True)
    if failed:
        filters = [*filters, f"{len(failed)} left out: could not be made ({reason})"]
    if each.empty:
        raise DatasetError(f"none of {len(failed)} edits could be made; the first reason: {reason}.")
    if unedited:
        first = each[(each["method"] == next(iter(runs))) & each["before"].notna()]
        own = first.assign(method=UNEDITED, value=first["before"])
        each = pd.concat([own, each], ignore_index=True)
    counts = {**counts, "failed": len(failed), "used": each["id"].nunique()}
    return EditAverages(_means(each, draws, seed), each, counts, tuple(filters), model)


def _means(each: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    import pandas as pd

    keys = ["method", "layer", "measure"]
    cells = list(dict.fromkeys(zip(*(each[key] for key in keys), strict=True)))
    edits = list(dict.fromkeys(each["id"]))
    full = each.set_index(["id", *keys])[["value", "before", "count"]]
    full = full.reindex(pd.MultiIndex.from_tuples([(edit, *cell) for edit in edits for cell in cells]))
    value, before, asked = full.to_numpy(dtype=np.float64).T.reshape(3, len(edits), len(cells))
    mean, low, high = bootstrap(value, draws, seed)
    change, change_low, change_high = bootstrap(value - before, draws, seed)
    return pd.DataFrame(
        {
            **dict(zip(keys, zip(*cells, strict=True), strict=True)),
            "value": mean, "low": low, "high": high, "before": mean - change,
            "change": change, "change_low": change_low, "change_high": change_high,
            "count": np.isfinite(value).sum(axis=0), "questions": np.nanmean(asked, axis=0),
        }
    )  # fmt: skip

"""Means over edits, by method, layer and measure, with what was left out and the paper's figures beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import DatasetError
from mllm_widgets.intervals import LEVEL
from mllm_widgets.sweeps import published
from mllm_widgets.sweeps.averages import bootstrap
from mllm_widgets.sweeps.edits import ACCURACY

if TYPE_CHECKING:
    import pandas as pd

    from mllm_widgets.sweeps.run import Run

UNEDITED = "unedited"
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


def averaged_edits(
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

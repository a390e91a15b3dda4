"""From rows to findings: effects averaged over questions, with how many there were, which were left out, and how sure the mean is.

The paper's figures average traces by what a token is to its question (first or last token of the constraint, last token of the prompt); its reviewers asked for numbers
per layer and intervals, which it does not give.  Here every mean has an interval by a bootstrap over questions, and every filter says how many it left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import DatasetError
from mllm_widgets.intervals import LEVEL

from .roles import ROLES
from .run import Run, load_run

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

QUANTITIES = ("effect", "recovery", "restored")
LEAST_EFFECT = 0.1  # of the total effect, below which a recovery rate divides by next to nothing


@dataclass(frozen=True)
class Averages:
    """Means over questions (`mw.aggregate`).

    data: xarray Dataset over (module, layer, role): for each of "effect" (average indirect effect), "recovery" (its share of the total effect) and "restored" the
        mean, its `_low` and `_high` (95% interval), and `count`, the questions that have such a token.
    total_effect: mean and interval of the total effect: (value, low, high).
    counts: how many questions there were, and how many each filter left out, in order; the last is "used".
    filters: the same filters in words.
    each: (question, module, layer, role), the effects of single questions; coordinate `question` holds their names.
    model, measure: whose; settings: of the measure.
    """

    data: xr.Dataset
    total_effect: tuple[float, float, float]
    counts: dict[str, int]
    filters: tuple[str, ...]
    each: xr.DataArray = field(repr=False)
    model: str
    measure: str
    settings: dict[str, Any] = field(repr=False)

    @property
    def n(self) -> int:
        """Questions averaged over."""
        return self.counts["used"]

    @property
    def caption(self) -> str:
        """What stands under every figure: n, filters, interval."""
        parts = [f"{self.model}, n = {self.n} of {self.counts['all']} questions"]
        parts += self.filters or ("none left out",)
        low, high = self.total_effect[1:]
        parts.append(f"total effect {self.total_effect[0]:.3f} ({low:.3f} to {high:.3f})")
        return f"{'; '.join(parts)}. Intervals: {LEVEL:.0%}, bootstrap over questions."

    def to_dataframe(self) -> pd.DataFrame:
        """One row a module, layer and role that occurs: its means, intervals and count."""
        table = self.data.to_dataframe().reset_index()
        return table.loc[table["count"] > 0].reset_index(drop=True)

    def peak(self, module: str, role: str) -> tuple[int, float]:
        """The layer with the largest mean effect, and that effect.

        Raises
        ------
        DatasetError: for a module or role that these averages do not have.
        """
        effects = self._row(module, role)
        return int(effects.layer.values[effects.values.argmax()]), float(effects.max())

    def compare(self, control: Averages, *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
        """These effects minus those of a control on the same questions, cell by cell.

        Controls are runs of the same questions without the picture (`control="text-only"`), with another phrase, or with noise in the place of words.

        Returns
        -------
        One row a module, layer and role: difference, low, high, count, and two p-values, both two-sided and by flipping the sign of each question's difference: `p`
        of the cell by itself, and `p_all` of a difference as large, in units of what flipping makes of its cell, anywhere in the map.  With many cells some `p` are
        small by chance; `p_all` is not.

        Raises
        ------
        DatasetError: if the two have no question in common, or other modules, layers or roles.
        """
        if not isinstance(control, Averages):
            raise DatasetError(f"control is a {type(control).__name__}; expected what mw.aggregate returns.")
        shared = [name for name in self.each.question.values if name in set(control.each.question.values)]
        if not shared:
            raise DatasetError(
                "control has no question in common with these averages; run both over questions of the same names."
            )
        both = [one.each.sel(question=shared) for one in (self, control)]
        for name in ("module", "layer", "role"):
            there, here = ([*one[name].values.tolist()] for one in both)
            if there != here:
                raise DatasetError(
                    f"control has the {name}s {here}, and these averages have {there}; expected the same."
                )
        differences = both[0] - both[1].values
        values = differences.values.reshape(len(shared), -1)
        mean, low, high = bootstrap(values, draws, seed)
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(draws, len(shared)))
        flipped = _weighted(signs, values, signed=True)
        extreme = (np.abs(flipped) >= np.abs(mean) - 1e-12).sum(axis=0)
        spread = np.sqrt(np.mean(flipped**2, axis=0))
        with np.errstate(invalid="ignore", divide="ignore"):
            sizes, own = (np.nan_to_num(np.abs(one) / spread) for one in (flipped, mean))
        anywhere = (sizes.max(axis=1)[:, None] >= own - 1e-9).sum(axis=0)
        table = {
            "difference": mean, "low": low, "high": high, "p": (extreme + 1) / (draws + 1), "p_all": (anywhere + 1) / (draws + 1),
            "count": np.isfinite(values).sum(axis=0),
        }  # fmt: skip
        import xarray as xr

        coords = {name: differences[name] for name in ("module", "layer", "role")}
        shape = differences.shape[1:]
        data = xr.Dataset(
            {name: (("module", "layer", "role"), one.reshape(shape)) for name, one in table.items()}, coords=coords
        )
        frame = data.to_dataframe().reset_index()
        return frame.loc[frame["count"] > 0].reset_index(drop=True)

    def _row(self, module: str, role: str) -> xr.DataArray:
        for name, value in (("module", module), ("role", role)):
            known = [str(one) for one in self.data[name].values]
            if value not in known:
                raise DatasetError(f"{name}={value!r} is not in these averages; they have {known}.")
        return self.data["effect"].sel(module=module, role=role).fillna(-np.inf)


def aggregate(
    run: Run | str,
    *,
    model: str | None = None,
    measure: str | None = None,
    correct: bool | None = True,
    least_effect: float = LEAST_EFFECT,
    only: Sequence[str] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Averages:
    """Average the traces of a run by layer and by what a token is to its question.

    Where a question has several tokens of one role, their mean counts, so that each question weighs the same.

    Parameters
    ----------
    run: what `mw.sweep` returned, or its folder.
    model, measure: which, where the run has several; a measure's key as in `run.measures`.
    correct: True takes the questions that the model answers rightly (those without a known answer are taken, and counted), False those it does not; None all.
    least_effect: questions with a smaller total effect are left out: their corruption changed too little for a recovery rate to mean anything.
    only: names of questions to take.
    draws, seed: of the bootstrap.

    Raises
    ------
    DatasetError: for a run without traces, a model or measure that it does not have, or filters that leave no question.
    """
    if isinstance(only, str):
        raise DatasetError(f"only={only!r} is one text; expected a list of names of questions: [{only!r}].")
    if isinstance(least_effect, bool) or not isinstance(least_effect, Real):
        raise DatasetError(
            f"least_effect={least_effect!r} is no number; expected a probability, such as {LEAST_EFFECT}."
        )
    run = run if isinstance(run, Run) else load_run(run)
    questions, measure, model = _chosen(run, model, measure)
    counts: dict[str, int] = {"all": len(questions)}
    filters: list[str] = []

    def keep(kept: Any, name: str, words: str) -> None:
        nonlocal questions
        out = int((~kept).sum())
        counts[name] = out
        if out:
            filters.append(f"{out} left out: {words}")
        questions = questions[kept]

    if only is not None:
        keep(questions["id"].isin(list(only)), "not chosen", "not among those chosen")
    keep(questions["status"] == "done", "failed", "could not be measured")
    if correct is not None and "score" in questions:
        if correct:
            keep(~(questions["score"] < 0.5), "wrong", "answered wrongly")
        else:
            if questions["score"].isna().any():
                keep(questions["score"].notna(), "unknown", "without a known answer")
            keep(questions["score"] < 0.5, "right", "answered rightly")
    keep(questions["total_effect"].abs() >= least_effect, "weak", f"total effect below {least_effect:g}")
    unknown = int(questions["score"].isna().sum()) if correct and "score" in questions else 0
    if unknown:
        filters.append(f"{unknown} of the {len(questions)} without a known answer")
    counts["used"] = len(questions)
    if not len(questions):
        raise DatasetError(
            f"no question is left of {counts['all']} ({'; '.join(filters)}); loosen correct= or least_effect=."
        )
    each, restored = _by_role(run, questions, model, measure)
    return _averaged(run, each, restored, questions, counts, tuple(filters), model, measure, draws, seed)


def bootstrap(values: np.ndarray, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (cells,) of values (questions, cells) and its interval; NaN values are left out, cell by cell.

    Of fewer than two values there is no interval: NaN.
    """
    if isinstance(draws, bool) or not isinstance(draws, Integral) or draws < 1:
        raise DatasetError(f"draws={draws!r} is no count of draws; expected 1 or more, such as 2000.")
    count = len(values)
    random = np.random.default_rng(seed)
    weights = random.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    means = _weighted(weights, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # cells that no question has
        low, high = np.nanquantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    enough = np.isfinite(values).sum(axis=0) >= 2
    mean = _weighted(np.ones((1, count)), values)[0]
    return mean, np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def _weighted(weights: np.ndarray, values: np.ndarray, signed: bool = False) -> np.ndarray:
    """Weighted means (draws, cells), without NaN values."""
    there = np.isfinite(values)
    total = weights @ np.where(there, values, 0.0)
    count = (np.abs(weights) if signed else weights) @ there.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)


def _chosen(run: Run, model: str | None, measure: str | None) -> tuple[pd.DataFrame, str, str]:
    questions = run.questions()
    traces = [key for key, settings in run.measures.items() if settings["kind"] == "trace"]
    if not traces:
        raise DatasetError(f"the run in {str(run.folder)!r} has no traces to average; it has {list(run.measures)}.")
    models = [one["name"] for one in run.config["models"]]
    for name, given, known in (("measure", measure, traces), ("model", model, models)):
        if given is None and len(known) > 1:
            raise DatasetError(f"the run has several {name}s: say which, {name}= one of {known}.")
        if given is not None and given not in known:
            raise DatasetError(f"{name}={given!r} is not in this run; it has {known}.")
    measure, model = measure or traces[0], model or models[0]
    return questions.loc[(questions["measure"] == measure) & (questions["model"] == model)], measure, str(model)


def _by_role(run: Run, questions: pd.DataFrame, model: str, measure: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Effects and restored scores (question, module, layer, role)."""
    import xarray as xr

    columns = ["id", "model", "measure", "module", "layer", "role", "effect", "restored"]
    cells = run.cells(columns)
    cells = cells[(cells["measure"] == measure) & (cells["model"] == model) & cells["id"].isin(questions["id"])]
    means = cells.groupby(["id", "module", "layer", "role"], sort=False)[["effect", "restored"]].mean()
    modules = list(dict.fromkeys(cells["module"]))
    axes = [list(questions["id"]), modules, list(range(int(cells["layer"].max()) + 1)), list(ROLES)]
    import pandas as pd

    full = means.reindex(pd.MultiIndex.from_product(axes, names=["id", "module", "layer", "role"]))
    shape = tuple(len(axis) for axis in axes)
    coords = dict(zip(("question", "module", "layer", "role"), axes, strict=True))
    arrays = [
        xr.DataArray(full[name].to_numpy(dtype=np.float64).reshape(shape), dims=tuple(coords), coords=coords, name=name)
        for name in ("effect", "restored")
    ]
    return arrays[0], arrays[1]


def _averaged(
    run: Run,
    each: xr.DataArray,
    restored: xr.DataArray,
    questions: pd.DataFrame,
    counts: dict[str, int],
    filters: tuple[str, ...],
    model: str,
    measure: str,
    draws: int,
    seed: int,
) -> Averages:
    import xarray as xr

    total = questions["total_effect"].to_numpy(dtype=np.float64)
    found: dict[str, np.ndarray] = {}
    shape = each.shape[1:]
    quantities = {
        "effect": each.values,
        "recovery": each.values / total[:, None, None, None],
        "restored": restored.values,
    }
    for name, values in quantities.items():
        mean, low, high = bootstrap(values.reshape(len(values), -1), draws, seed)
        found.update(
            {name: mean.reshape(shape), f"{name}_low": low.reshape(shape), f"{name}_high": high.reshape(shape)}
        )
    found["count"] = np.isfinite(each.values).sum(axis=0)
    data = xr.Dataset(
        {name: (("module", "layer", "role"), values) for name, values in found.items()},
        coords={name: each[name] for name in ("module", "layer", "role")},
    )
    effect, low, high = (float(one[0]) for one in bootstrap(total[:, None], draws, seed))
    return Averages(data, (effect, low, high), counts, filters, each, model, measure, run.measures[measure])

"""Does what the constraint writes into the last token foretell a wrong answer?  Figures 15 to 17, with intervals and with layers chosen on other questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.contributions import auroc
from mllm_widgets.contributions.result import Auroc
from mllm_widgets.errors import DatasetError
from mllm_widgets.intervals import LEVEL
from mllm_widgets.sweeps import ContributionMeasure, published
from mllm_widgets.sweeps.averages import bootstrap
from mllm_widgets.sweeps.roles import LAST_OF_CONSTRAINT

from .traces import data_sets, swept

if TYPE_CHECKING:
    import pandas as pd

    from mllm_widgets.sweeps.run import Run
    from mllm_widgets.vlm.model import VLM

PAIR = 2  # layers that the paper's score is the mean of


@dataclass(frozen=True)
class FailurePrediction:
    """Contributions of the constraint's last token to the prompt's last token, of right and of wrong answers (`failure_prediction`).

    by_layer: a row a layer: right, wrong (mean norms), their 95% intervals (right_low, ...), gap (right - wrong) and its interval; auroc of that layer alone, and its interval.
    score: AUROC of the mean norm of `layers`. confidence: AUROC of the probability of the model's own answer, which the score has to beat.
    advantage: score minus confidence in AUROC: (value, low, high), from the same draws of questions.
    held_out: AUROC when, for each part of the questions, the two neighbouring layers are chosen on the other parts; chosen: which they were.  None with too few answers of a kind.
    best: AUROC of the two neighbouring layers that look best on all these questions, which flatters them; best_layers: which.
    each: a row a question: id, answer, correct, confidence, score, and the norm in each layer (a column each).
    counts: how many questions there were, and how many were left out; filters: the same in words.
    """

    by_layer: pd.DataFrame
    score: Auroc
    confidence: Auroc
    advantage: tuple[float, float, float]
    held_out: Auroc | None
    chosen: tuple[tuple[int, ...], ...]
    best: Auroc
    best_layers: tuple[int, ...]
    layers: tuple[int, ...]
    each: pd.DataFrame = field(repr=False)
    counts: dict[str, int]
    filters: tuple[str, ...]
    model: str

    @property
    def n(self) -> int:
        """Questions judged by."""
        return len(self.each)

    @property
    def caption(self) -> str:
        """What stands under every figure: n of each kind, filters, interval."""
        parts = [
            f"{self.model}, n = {self.score.right} right and {self.score.wrong} wrong answers of {self.counts['all']} questions"
        ]
        parts += self.filters or ("none left out",)
        return f"{'; '.join(parts)}. Intervals: {LEVEL:.0%}, bootstrap over questions."

    def to_dataframe(self) -> pd.DataFrame:
        """`by_layer`."""
        return self.by_layer

    def beside(self) -> pd.DataFrame:
        """AUROCs beside the paper's: signal, layers, auroc, low, high, right, wrong, published."""
        import pandas as pd

        known = published.printed()
        signals = [
            ("constraint to last", self.layers, self.score, known["AUROC, constraint to last"]),
            ("constraint to last, layers chosen on other questions", sorted({*sum(self.chosen, ())}), self.held_out, np.nan),
            ("constraint to last, layers chosen on these questions", self.best_layers, self.best, np.nan),
            ("confidence", (), self.confidence, known["AUROC, confidence"]),
        ]  # fmt: skip
        return pd.DataFrame(
            [
                {
                    "signal": name, "layers": " ".join(map(str, layers)), "auroc": found.value, "low": found.low, "high": found.high,
                    "right": found.right, "wrong": found.wrong, "published": theirs,
                }
                for name, layers, found, theirs in signals
                if found is not None
            ]
        )  # fmt: skip

    def layers_beside(self) -> pd.DataFrame:
        """`by_layer` beside figures 15 to 17 of the paper: published_right, published_wrong, NaN for layers that it does not give.

        The paper's model has 32 layers; a layer of another model is another place, and its norms have another scale.
        """
        known = published.figure_17().rename(columns={"right": "published_right", "wrong": "published_wrong"})
        return self.by_layer.merge(known, on="layer", how="left")


def failure_prediction(
    vlm: VLM | str,
    data: Any,
    out: str | Path,
    *,
    layers: Sequence[int] | None = None,
    parts: int = 5,
    draws: int = 2000,
    seed: int = 0,
    **options: Any,
) -> dict[str, FailurePrediction]:
    """Contributions of the constraint to the last token by layer, of right and of wrong answers, and how well they tell the two apart, beside confidence.

    Parameters
    ----------
    data: VQA-Constraints, of which each subset is judged by itself, or a dict from names to what `sweep` takes as questions.  Their true answers must be known, and
        the model must answer some of them wrongly (of the demo world: `mw.datasets.demo_covered`).
    out: a folder; each data set is a run in it, which goes on where it was.
    layers: whose mean norm is the score; by default the two in the middle, which in the paper's model are 15 and 16.
    parts: the questions are split into so many parts, and for each the two layers are chosen on the others.
    draws, seed: of the bootstrap and of the split.
    options: to `sweep`.

    Raises
    ------
    DatasetError: if all answers are right, or all wrong, or the layers are not there.
    """
    if isinstance(parts, bool) or not isinstance(parts, int) or parts < 2:
        raise DatasetError(f"parts={parts!r}: expected a whole number, 2 or more, for layers are chosen on the others.")
    found = {}
    for name, questions in data_sets(data).items():
        run = swept(vlm, questions, ContributionMeasure("last"), out=Path(out) / name, **options)
        found[name] = _predicted(run, layers, parts, draws, seed)
    return found


def _predicted(run: Run, layers: Sequence[int] | None, parts: int, draws: int, seed: int) -> FailurePrediction:
    each, counts, filters = _norms(run)
    names = [column for column in each.columns if isinstance(column, int)]
    norms, correct = each[names].to_numpy(dtype=np.float64), each["correct"].to_numpy(dtype=bool)
    confidence = each["confidence"].to_numpy(dtype=np.float64)
    right, wrong = int(correct.sum()), int((~correct).sum())
    if not right or not wrong:
        raise DatasetError(
            f"{right} answers are right and {wrong} are wrong of {counts['all']} questions ({'; '.join(filters) or 'none left out'}); there must be some of both. Harder "
            "questions, or pictures that are harder to see, make some wrong (mw.datasets.demo_covered)."
        )
    count = max(names) + 1
    chosen = tuple(layers) if layers is not None else tuple(sorted({max(0, count // 2 - 1), count // 2}))
    missing = [layer for layer in chosen if layer not in names]
    if missing or not chosen:
        raise DatasetError(f"layers={chosen!r} are not all there; there are {names[0]} to {names[-1]} (0-based).")
    score = norms[:, [names.index(layer) for layer in chosen]].mean(axis=1)
    each = each.assign(score=score)
    pairs = [tuple(names[place : place + PAIR]) for place in range(max(1, len(names) - PAIR + 1))]
    means = np.stack([norms[:, [names.index(layer) for layer in pair]].mean(axis=1) for pair in pairs], axis=1)
    best = _best(means, correct)
    held_out, own = _held_out(means, correct, parts, seed)
    judged = auroc(score, correct, draws, seed), auroc(confidence, correct, draws, seed)
    return FailurePrediction(
        _by_layer(norms, correct, names, draws, seed), *judged, _advantage(score, confidence, correct, draws, seed),
        None if held_out is None else auroc(held_out, correct, draws, seed), tuple(pairs[one] for one in own),
        auroc(means[:, best], correct, draws, seed), pairs[best], chosen, each, counts, tuple(filters), str(run.config["models"][0]["name"]),
    )  # fmt: skip


def _norms(run: Run) -> tuple[pd.DataFrame, dict[str, int], list[str]]:
    """A row a question with its norm in each layer, without those that cannot be judged."""
    import pandas as pd

    questions, cells = run.questions(), run.cells(["id", "layer", "role", "norm"])
    counts: dict[str, int] = {"all": len(questions)}
    filters = []
    own = cells.loc[cells["role"] == LAST_OF_CONSTRAINT]
    for name, kept, words in (
        ("failed", questions["status"] == "done", "could not be measured"),
        ("unknown", questions["score"].notna(), "without a known answer"),
        (
            "no constraint",
            questions["id"].isin(list(own["id"].unique())),
            "without a constraint before the last token",
        ),
    ):
        kept = kept.reindex(questions.index)
        counts[name] = int((~kept).sum())
        if counts[name]:
            filters.append(f"{counts[name]} left out: {words}")
        questions = questions.loc[kept]
    table = own.pivot_table(index="id", columns="layer", values="norm")
    norms = table.reindex(questions["id"])
    norms.columns = [int(layer) for layer in norms.columns]
    told = pd.DataFrame(
        {
            "id": questions["id"].tolist(),
            "answer": questions["answer"].tolist(),
            "correct": (questions["score"] >= 0.5).tolist(),
            "confidence": questions["probability"].tolist(),
        }
    )
    counts["used"] = len(told)
    if not len(told):
        raise DatasetError(f"no question of {counts['all']} can be judged ({'; '.join(filters)}).")
    return pd.concat([told, norms.reset_index(drop=True)], axis=1), counts, filters


def _by_layer(norms: np.ndarray, correct: np.ndarray, layers: list[int], draws: int, seed: int) -> pd.DataFrame:
    import pandas as pd

    kinds = norms[correct], norms[~correct]
    of_right, of_wrong = (bootstrap(kind, draws, seed) for kind in kinds)
    # the two kinds are drawn apart, so that there are always as many of each
    random = np.random.default_rng(seed)
    gaps = np.array(
        [
            np.subtract(*(kind[random.integers(len(kind), size=len(kind))].mean(axis=0) for kind in kinds))
            for _ in range(draws)
        ]
    )
    ends = np.quantile(gaps, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    singles = [auroc(norms[:, place], correct, draws, seed) for place in range(len(layers))]
    return pd.DataFrame(
        {
            "layer": layers,
            **{f"right{end}": values for end, values in zip(("", "_low", "_high"), of_right, strict=True)},
            **{f"wrong{end}": values for end, values in zip(("", "_low", "_high"), of_wrong, strict=True)},
            "gap": of_right[0] - of_wrong[0], "gap_low": ends[0], "gap_high": ends[1],
            "auroc": [one.value for one in singles], "auroc_low": [one.low for one in singles], "auroc_high": [one.high for one in singles],
        }
    )  # fmt: skip


def _area(scores: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """AUROC (columns,) of scores (questions, columns)."""
    right, wrong = scores[correct], scores[~correct]
    above = (right[:, None] > wrong[None]) + 0.5 * (right[:, None] == wrong[None])
    return above.mean(axis=(0, 1))


def _best(means: np.ndarray, correct: np.ndarray) -> int:
    return int(_area(means, correct).argmax())


def _held_out(means: np.ndarray, correct: np.ndarray, parts: int, seed: int) -> tuple[np.ndarray | None, list[int]]:
    """Scores of all questions, each by the pair that is best on the other parts, in units of those parts' spread; and the pairs.  None if a part has no other answers of a kind."""
    random = np.random.default_rng(seed)
    part = np.empty(len(correct), dtype=int)
    for kind in (correct, ~correct):  # each part has as many of each kind as it can
        places = random.permutation(np.flatnonzero(kind))
        part[places] = np.arange(len(places)) % parts
    scores, pairs = np.full(len(correct), np.nan), []
    for one in np.unique(part):
        others = part != one
        if correct[others].all() or not correct[others].any():
            return None, []
        pair = _best(means[others], correct[others])
        spread = means[others, pair].std() or 1.0
        scores[part == one] = (means[part == one, pair] - means[others, pair].mean()) / spread
        pairs.append(pair)
    return scores, pairs


def _advantage(
    score: np.ndarray, confidence: np.ndarray, correct: np.ndarray, draws: int, seed: int
) -> tuple[float, float, float]:
    """AUROC of the score minus that of confidence, and its interval, from the same draws."""
    random = np.random.default_rng(seed)
    both = np.stack([score, confidence], axis=1)
    areas = [
        np.subtract(*_area(both[drawn], correct[drawn]))
        for drawn in (
            np.concatenate([random.choice(np.flatnonzero(kind), int(kind.sum())) for kind in (correct, ~correct)])
            for _ in range(draws)
        )
    ]
    low, high = np.quantile(areas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.subtract(*_area(both, correct))), float(low), float(high)

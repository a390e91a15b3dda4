"""The same facts asked with a picture and in words: does a vision-language model keep them in other layers than a language model?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import DatasetError
from mllm_widgets.intervals import LEVEL
from mllm_widgets.sweeps import Averages, TraceMeasure, aggregate, published
from mllm_widgets.sweeps.roles import LAST_OF_CONSTRAINT

from .traces import MODULES, swept

if TYPE_CHECKING:
    import pandas as pd

    from mllm_widgets.datasets.vqa_constraints import VqaConstraints
    from mllm_widgets.sweeps.run import Run
    from mllm_widgets.vlm.model import VLM

PICTURE, WORDS = "picture", "words"
ALSO = "facts that are answered rightly both ways"
SUFFIX = "-text"  # of the subsets that `mw.datasets.text_only` makes


@dataclass(frozen=True)
class PictureAgainstWords:
    """Traces of the same facts, asked with a picture and in words (`llm_against_mllm`).

    data: a row a data set, way of asking, window and module: model, layer with the largest mean effect at the constraint's (or the subject's) last token, and the interval of
        that layer over draws of questions (layer_low, layer_high); effect there, its interval (low, high); recovery, its share of the total effect; total, the total effect; n;
        note, what was left out, or why there is nothing.
    averages: (data set, "picture" or "words", window) -> `Averages`, of those that have questions.
    facts: which facts were taken, in words.
    """

    data: pd.DataFrame
    averages: dict[tuple[str, str, int], Averages] = field(repr=False)
    facts: str = "all facts"

    def to_dataframe(self) -> pd.DataFrame:
        """`data`."""
        return self.data

    @property
    def caption(self) -> str:
        """What stands under every figure: n, filters, interval."""
        return self.told()

    def told(self, data: str | None = None) -> str:
        """The caption, of one data set or of all."""
        parts = []
        for name in dict.fromkeys(name for name, _, _ in self.averages if data in (None, name)):
            for asked in (PICTURE, WORDS):
                own = [one for (other, way, _), one in self.averages.items() if (other, way) == (name, asked)]
                if own:
                    counts = sorted({one.n for one in own})
                    least = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
                    parts.append(f"{name}, {asked}: n = {least} of {own[0].counts['all']}")
        return f"{'; '.join(parts)}. Of {self.facts}, without those of a total effect that is too small. Intervals: {LEVEL:.0%}, bootstrap over questions."

    def beside(self) -> pd.DataFrame:
        """The MLP's rows beside what the paper prints of LLaVA and LLaMA: the window from which effects are seen, and the layers that have them."""
        known = published.llm_against_mllm().set_index("asked")
        table = self.data.loc[self.data["module"].isin(["mlp"])].reset_index(drop=True)
        for name in known.columns:
            table[f"published_{name}"] = [known[name][asked] for asked in table["asked"]]
        return table


def llm_against_mllm(
    vlm: VLM | str,
    llm: VLM | str,
    data: VqaConstraints,
    out: str | Path,
    *,
    windows: Sequence[int] = (1, 3, 5),
    both: bool = True,
    least_effect: float = 0.1,
    draws: int = 2000,
    seed: int = 0,
    **options: Any,
) -> PictureAgainstWords:
    """Facts asked about a picture, and the same in words with the subject's name in the place of the picture, traced with several windows.

    Parameters
    ----------
    vlm: asked with the pictures. llm: a language model, or a vision-language model (the same, too), asked without.
    data: VQA-Constraints; subsets that name no subject (OK-VQA) are left out.
    out: a folder; each data set and way of asking is a run in it, which goes on where it was.
    windows: numbers of layers that are restored.
    both: take only facts that are answered rightly with the picture and in words; False takes all.
    least_effect, draws, seed: as in `aggregate`.
    options: to `sweep`.

    Raises
    ------
    DatasetError: for data without subjects, or what `sweep` cannot take.
    """
    import pandas as pd

    from mllm_widgets.datasets import text_only

    worded = text_only(data)
    if not worded.sources:
        raise DatasetError("data names no subjects, so its facts cannot be asked in words; Known and Movies do.")
    measures = [TraceMeasure(window=window, modules=MODULES) for window in windows]
    rows, averages = [], {}
    for words in worded.sources:
        name = words.removesuffix(SUFFIX)
        if not data.subset(name).usable or not worded.subset(words).usable:
            rows.append({"data": name, "n": 0, "note": "no question can be asked both ways: are there no pictures?"})
            continue
        runs = {
            asked: swept(model, some, measures, out=Path(out) / f"{name}-{asked}", **options)
            for asked, model, some in ((PICTURE, vlm, data.subset(name)), (WORDS, llm, worded.subset(words)))
        }
        shared = None if not both else set.intersection(*(_right(run) for run in runs.values()))
        for asked, run in runs.items():
            subset = name if asked == PICTURE else words
            only = None if shared is None else [f"{subset}/{number}" for number in sorted(shared)]
            for measure in measures:
                place = {"data": name, "asked": asked, "window": measure.window}
                try:
                    found = aggregate(
                        run, measure=measure.key, correct=None, least_effect=least_effect, only=only, draws=draws, seed=seed
                    )  # fmt: skip
                except DatasetError as error:
                    rows.append({**place, "model": run.config["models"][0]["name"], "n": 0, "note": str(error)})
                    continue
                averages[name, asked, measure.window] = found
                rows += [{**place, **_peak(found, module, draws, seed)} for module in MODULES]
    columns = ["data", "asked", "model", "window", "module", "layer", "layer_low", "layer_high", "effect", "low", "high", "recovery", "total", "n", "note"]  # fmt: skip
    return PictureAgainstWords(
        pd.DataFrame(rows, columns=pd.Index(columns)), averages, "all facts" if not both else ALSO
    )


def _right(run: Run) -> set[int]:
    """Numbers of the rows that are answered rightly."""
    table = run.questions()
    rows = table.loc[table["score"].astype(float) >= 0.5, "id"].tolist()
    return {int(row.rsplit("/", 1)[1]) for row in rows}


def _peak(found: Averages, module: str, draws: int, seed: int) -> dict[str, Any]:
    layer, effect = found.peak(module, LAST_OF_CONSTRAINT)
    at = found.data.sel(module=module, layer=layer, role=LAST_OF_CONSTRAINT)
    each = found.each.sel(module=module, role=LAST_OF_CONSTRAINT)
    values = each.transpose("question", "layer").values
    count = len(values)
    low_layer = high_layer = np.nan
    if count > 1:
        drawn = np.random.default_rng(seed).integers(count, size=(draws, count))
        peaks = each.layer.values[np.array([np.nan_to_num(values[one], nan=-np.inf).mean(axis=0).argmax() for one in drawn])]  # fmt: skip
        low_layer, high_layer = np.quantile(peaks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    return {
        "model": found.model, "module": module, "layer": layer, "layer_low": low_layer, "layer_high": high_layer, "effect": effect,
        "low": float(at.effect_low), "high": float(at.effect_high), "recovery": float(at.recovery), "total": found.total_effect[0], "n": found.n,
        "note": "; ".join(found.filters) or "none left out",
    }  # fmt: skip

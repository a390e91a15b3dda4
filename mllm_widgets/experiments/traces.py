"""Averaged traces: of one constraint, of several, without a picture, with noise in the place of words, and of what a token is alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_widgets.sweeps import Averages, Run, TraceMeasure, aggregate, sweep
from mllm_widgets.sweeps.items import as_items

if TYPE_CHECKING:
    import pandas as pd

    from mllm_widgets.datasets.vqa_constraints import VqaConstraints
    from mllm_widgets.vlm.model import VLM

MODULES = ("mlp", "self_attn")


def averaged_traces(
    vlm: VLM | str,
    data: VqaConstraints | Mapping[str, Any],
    out: str | Path,
    *,
    window: int = 3,
    corruption: Any = None,
    modules: Sequence[str] = MODULES,
    correct: bool | None = True,
    least_effect: float = 0.1,
    **options: Any,
) -> dict[str, Averages]:
    """Where the answers of each data set are stored: figure 3.

    Parameters
    ----------
    data: VQA-Constraints, of which each subset is averaged by itself, or a dict from names to what `sweep` takes as questions.
    out: a folder; each data set is a run in it, which goes on where it was.
    window, corruption, modules: of the traces; 3 is the figure's.
    correct, least_effect: as in `aggregate`.
    options: to `sweep` (progress, workers, every, ...).

    Returns
    -------
    Averages by data set.
    """
    found = {}
    for name, questions in data_sets(data).items():
        measure = TraceMeasure(corruption=corruption, window=window, modules=tuple(modules))
        run = swept(vlm, questions, measure, out=Path(out) / name, **options)
        found[name] = aggregate(run, correct=correct, least_effect=least_effect)
    return found


def multi_constraint_traces(
    vlm: VLM | str,
    data: VqaConstraints | Mapping[str, Any],
    out: str | Path,
    *,
    window: int = 6,
    phrase: str = "Taj Mahal",
    **options: Any,
) -> dict[str, Averages]:
    """Questions with a visual and a text constraint, both swapped: figures 4, 12 and 13, where window 6 is needed.

    `data`: what `mw.datasets.multi_constraint` gives, or demo questions with `text_constraints`.
    """
    from mllm_widgets.tracing import TokenSwap

    both = TokenSwap(phrase, positions=("constraint", "text_constraints"))
    return averaged_traces(vlm, data, out, window=window, corruption=both, **options)


def gaussian_traces(
    vlm: VLM | str,
    data: VqaConstraints | Mapping[str, Any],
    out: str | Path,
    *,
    window: int = 3,
    sigma: float = 3.0,
    draws: int = 10,
    seed: int = 0,
    **options: Any,
) -> dict[str, Averages]:
    """Gaussian noise on the embeddings of the picture and of the constraint, as ROME corrupts: figure 7, which finds nothing stored."""
    from mllm_widgets.tracing import EmbeddingNoise

    noise = EmbeddingNoise(sigma=sigma, draws=draws, positions=("visual", "constraint"), seed=seed)
    return averaged_traces(vlm, data, out, window=window, corruption=noise, **options)


def text_only_traces(
    llm: VLM | str, data: VqaConstraints, out: str | Path, *, window: int = 5, **options: Any
) -> dict[str, Averages]:
    """The same facts asked in words, the subject's name in the place of the picture: LLaMA beside LLaVA, which needs window 5 and finds layers 4 to 7.

    llm: a language model, or a vision-language model, which is then asked without a picture.
    """
    from mllm_widgets.datasets import text_only

    return averaged_traces(llm, text_only(data), out, window=window, **options)


def token_identity(
    vlm: VLM | str,
    data: VqaConstraints | Mapping[str, Any],
    out: str | Path,
    *,
    windows: Sequence[int] = (1, 3),
    **options: Any,
) -> pd.DataFrame:
    """Is "early layers" a property of the model, or of the corruption?  The same questions, corrupted by a swap and by noise, with the picture and without.

    A swap changes which words stand there; the earliest layers may give the answer back because they tell which token it is.  Noise keeps the picture of that, and a
    text-only control shows what the words alone do.

    Returns
    -------
    One row a data set, corruption, control and window: for each module the layer of the largest effect at the constraint's last token, that effect, its interval, and n.
    """
    import pandas as pd

    from mllm_widgets.errors import DatasetError
    from mllm_widgets.sweeps.roles import LAST_OF_CONSTRAINT
    from mllm_widgets.tracing import EmbeddingNoise

    corruptions = {"swap": None, "noise": EmbeddingNoise(sigma=3.0, draws=5, positions="constraint")}
    rows = []
    for set_name, questions in data_sets(data).items():
        for name, corruption in corruptions.items():
            for control in (None, "text-only"):
                measures = [TraceMeasure(corruption=corruption, window=window, control=control) for window in windows]
                run = swept(
                    vlm, questions, measures, out=Path(out) / f"{set_name}-{name}-{control or 'picture'}", **options
                )
                for measure in measures:
                    row = {"data": set_name, "corruption": name, "control": control or "", "window": measure.window}
                    try:
                        found = aggregate(run, measure=measure.key, correct=None)
                    except DatasetError as error:  # nothing left: this corruption changes no answer
                        rows.append({**row, "n": 0, "note": str(error)})
                        continue
                    for module in MODULES:
                        layer, effect = found.peak(module, LAST_OF_CONSTRAINT)
                        at = found.data.sel(module=module, layer=layer, role=LAST_OF_CONSTRAINT)
                        rows.append(
                            {
                                **row, "module": module, "layer": layer, "effect": effect, "low": float(at.effect_low), "high": float(at.effect_high),
                                "n": found.n, "note": found.caption,
                            }
                        )  # fmt: skip
    return pd.DataFrame(rows)


class _Given(Run):
    """A run, but for questions of its folder that were not given."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        super().__init__(folder)
        self.config = {**self.config, "ids": names}

    def _read(self, kind: str, columns: list[str] | None = None) -> pd.DataFrame:
        frame = super()._read(kind, columns)
        return frame.loc[frame["id"].isin(self.config["ids"])].reset_index(drop=True)


def swept(vlm: Any, questions: Any, measure: Any, *, out: Path, **options: Any) -> Run:
    """`sweep`, and of its run the questions that were given: the folder may have more, of an earlier call."""
    run = sweep(vlm, questions, measure, out=out, **options)
    names = [item.id for item in as_items(questions)]
    return run if set(names) == set(run.config["ids"]) else _Given(run.folder, names)


def data_sets(data: Any) -> dict[str, Any]:
    """The data sets by name; questions by name are one set."""
    from mllm_widgets.datasets.vqa_constraints import Row, VqaConstraints
    from mllm_widgets.vlm.question import Question

    if isinstance(data, VqaConstraints):
        return {name: data.subset(name) for name in data.sources}
    if isinstance(data, Mapping) and not any(isinstance(one, (Question, Row)) for one in data.values()):
        return dict(data)
    return {"questions": data}

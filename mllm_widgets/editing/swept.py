"""The same edit at many lambdas, and in many layers, as plain, frozen, labelled arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from mllm_widgets.saving.result import Result

if TYPE_CHECKING:
    import pandas as pd

    from .edit import Edit


@dataclass(frozen=True)
class LambdaSweep(Result):
    """What an edit does to some questions at many lambdas (`lambda_sweep`).

    target: (question, lam), P(target), all its tokens. agrees: (question, lam), does the first token stay the unedited model's?
    kl: (question, lam), KL(before || after) of the first token's distribution, in nats. kept: (question, lam), P(the unedited model's first token).
    says: (question, lam), the first token's text. top, top_p: (question, lam, rank), the likeliest first tokens and their probabilities. before: (question,), P(target) of the unedited model.
    answers: the unedited model's first token for each question.
    lams: ascending. strength: (lam,), |k|^2 / (lam + |k|^2), of the weakest key.
    questions: their texts. edit: the edit's target.
    """

    target: xr.DataArray = field(repr=False)
    kept: xr.DataArray = field(repr=False)
    agrees: xr.DataArray = field(repr=False)
    kl: xr.DataArray = field(repr=False)
    says: xr.DataArray = field(repr=False)
    top: xr.DataArray = field(repr=False)
    top_p: xr.DataArray = field(repr=False)
    before: np.ndarray = field(repr=False)
    answers: tuple[str, ...]
    lams: np.ndarray = field(repr=False)
    strength: np.ndarray = field(repr=False)
    questions: tuple[str, ...]
    edit: str

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each question and lambda: question (its number), text, lam, target, kept, agrees, kl, says."""
        values = (self.target, self.kept, self.agrees, self.kl, self.says)
        table = xr.merge(values).to_dataframe().reset_index()
        table.insert(1, "text", [self.questions[i] for i in table["question"]])
        return table


@dataclass(frozen=True)
class Made:
    """What is kept in numbers of an edit that a sweep has made.

    steps: of its search. key: its norm. moved: |z* - z0| / |z0|. residual: |z* - z0|.
    """

    layer: int
    steps: int
    key: float
    moved: float
    residual: float


@dataclass(frozen=True)
class LayerSweep(Result):
    """The same edit made in many layers (`layer_sweep`).

    edits: layer -> Edit; none in one that was read from a file, for edits belong to a model (`edit.save`, `mw.load_edit`).
    reached: (layer,), P(target) with the value itself in place. efficacy: (layer,), P(target) after the edit of the weight.
    before: P(target) of the unedited model. made: the edits in numbers.
    """

    edits: dict[int, Edit] = field(repr=False)
    reached: xr.DataArray
    efficacy: xr.DataArray
    before: float
    made: tuple[Made, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.made:
            made = (
                Made(layer, len(edit.losses) - 1, edit.key_norm, edit.moved, float(edit.residual.norm()))
                for layer, edit in self.edits.items()
            )
            object.__setattr__(self, "made", tuple(made))

    @property
    def best(self) -> int:
        """The layer with the highest efficacy; of those within 0.01 of it, the one whose value lies nearest to what the projection gave."""
        near = [
            one for one in self.made if float(self.efficacy.sel(layer=one.layer)) >= float(self.efficacy.max()) - 0.01
        ]
        return min(near, key=lambda one: one.residual).layer

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each layer: layer, reached, efficacy, steps, key (its norm), moved (|z* - z0| / |z0|)."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "layer": one.layer,
                    "reached": float(self.reached.sel(layer=one.layer)),
                    "efficacy": float(self.efficacy.sel(layer=one.layer)),
                    "steps": one.steps,
                    "key": one.key,
                    "moved": one.moved,
                }
                for one in self.made
            ]
        )

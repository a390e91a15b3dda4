"""What the model would say, as plain, frozen, labelled arrays: with some attention blocked, and layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mllm_widgets.errors import FlowError
from mllm_widgets.results import Answer, TokenInfo
from mllm_widgets.saving.result import Result

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@dataclass(frozen=True)
class Knockout(Result):
    """The answer's probability with attention edges blocked (`attention_knockout`).

    probability: (layer,), P(answer) when the edges are blocked in the window around each layer; with `window=None` one entry, at the first of the layers.
    before: P(answer) with nothing blocked. answer, answer_token: the model's answer, and the token that is followed.
    blocked: of each entry, the layers in which the edges were blocked.
    top: of each entry, the five first tokens that the model would say then, as (text, probability).
    sources, targets: positions; source, target: as they were asked for.
    """

    probability: xr.DataArray = field(repr=False)
    before: float
    answer: Answer
    answer_token: str
    source: str
    target: str
    sources: tuple[int, ...] = field(repr=False)
    targets: tuple[int, ...] = field(repr=False)
    window: int | None
    blocked: tuple[tuple[int, ...], ...] = field(repr=False)
    top: tuple[tuple[tuple[str, float], ...], ...] = field(repr=False)
    question: str
    model: str
    warnings: tuple[str, ...] = ()

    @property
    def change(self) -> xr.DataArray:
        """(layer,) P(answer) with the edges blocked, minus that with nothing blocked."""
        return (self.probability - self.before).rename("change")

    @property
    def relative(self) -> xr.DataArray:
        """(layer,) the change in percent of P(answer) with nothing blocked, as Zhang et al. 2025 draw it."""
        return (100 * self.change / max(self.before, 1e-12)).rename("relative")

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each window: layer, blocked (layers), probability, change, relative, says (the first token then), its probability."""
        import pandas as pd

        return pd.DataFrame(
            {
                "layer": self.probability.layer.values,
                "blocked": [list(layers) for layers in self.blocked],
                "probability": self.probability.values,
                "change": self.change.values,
                "relative": self.relative.values,
                "says": [first[0][0] for first in self.top],
                "says_probability": [first[0][1] for first in self.top],
            }
        )


@dataclass(frozen=True)
class Lens(Result):
    """The words each layer would say (`logit_lens`).

    tokens: (layer, token, rank), ids of the most probable words, best first; coordinate `token` holds positions.
    probabilities: (layer, token, rank), theirs. answer_probability: (layer, token), that of the model's answer.
    answer, answer_token: the model's answer, and its first token.
    rows: a `TokenInfo` for each position of the sequence.
    """

    tokens: xr.DataArray = field(repr=False)
    probabilities: xr.DataArray = field(repr=False)
    answer_probability: xr.DataArray = field(repr=False)
    answer: Answer
    answer_token: str
    rows: tuple[TokenInfo, ...] = field(repr=False)
    question: str
    model: str

    def words(self, layer: int, position: int) -> list[tuple[str, float]]:
        """What a layer would say at a position: (text, probability), best first.

        Raises FlowError for a layer or a position that was not computed.
        """
        for argument, value, known in (("layer", layer, self.tokens.layer), ("position", position, self.tokens.token)):
            if value not in known.values:
                raise FlowError(f"{argument}={value!r} was not computed; there are {known.values.tolist()}.")
        ids, sizes = (array.sel(layer=layer, token=position).values for array in (self.tokens, self.probabilities))
        return [(self.answer.vocabulary[i], float(p)) for i, p in zip(ids, sizes, strict=True)]

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each layer, position and rank: layer, token (position), kind, at (its text), rank, word, probability, answer_probability."""
        table = self.probabilities.rename("probability").to_dataframe().reset_index()
        table.insert(2, "kind", [self.rows[at].kind for at in table["token"]])
        table.insert(3, "at", [self.rows[at].text for at in table["token"]])
        table.insert(5, "word", [self.answer.vocabulary[i] for i in self.tokens.values.ravel()])
        table["answer_probability"] = np.repeat(self.answer_probability.values.ravel(), self.tokens.sizes["rank"])
        return table

"""What the computations return: plain, frozen, labelled objects.

They need no torch; widgets, pictures and tables are views of them.  Only a `Trace` keeps hold of the runs it came from, and so of the model;
its copies and pickles do not.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

BEFORE_CONSTRAINT = "before the constraint: clean and corrupted runs are identical here, so the effect is exactly 0"
BEFORE_CORRUPTION = BEFORE_CONSTRAINT.replace("the constraint", "the corrupted tokens")


@dataclass(frozen=True)
class TokenInfo:
    """One row of a token axis: a token, or a run of tokens folded into one row.

    `position` is the (first) position in the sequence the model sees, `count` how many tokens the row stands for; `traced` is
    False where an intervention cannot matter, and `reason` says why.
    """

    position: int
    token_id: int
    text: str
    kind: str = "text"
    constraint: bool = False
    traced: bool = True
    reason: str = ""
    count: int = 1


def fold_untraced(rows: tuple[TokenInfo, ...], most: int = 40) -> tuple[TokenInfo, ...]:
    """Rows for a picture: where there are more than `most`, runs of untraced text tokens become one row each.

    A long prompt would otherwise be mostly rows in which nothing can happen.
    """
    if len(rows) <= most:
        return rows
    folded: list[TokenInfo] = []
    for untraced, run in itertools.groupby(rows, key=lambda row: row.kind == "text" and not row.traced):
        members = list(run)
        if untraced and len(members) > 3:
            first, count = members[0], len(members)
            members = [replace(first, text=f"[{count} tokens]", count=count)]
        folded += members
    return tuple(folded)


@dataclass(frozen=True)
class Answer:
    """A model's answer.

    `text` is the greedy answer up to its end, `token` / `token_id` / `probability` describe its first token, and
    `probabilities` (vocabulary,) is the whole next-token distribution at the last prompt position.
    """

    text: str
    token: str
    token_id: int
    probability: float
    probabilities: np.ndarray = field(repr=False)
    vocabulary: tuple[str, ...] = field(repr=False)

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most probable first tokens as (text, probability), best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.vocabulary[i], float(self.probabilities[i])) for i in order]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class CellBatch:
    """Cells that have just been computed, handed to `on_cells`.

    `module`, `layer` and `token` are index arrays (n,) into the trace's axes, `restored` (n,) the restored probabilities; `done` of
    `total` cells are finished.
    """

    module: np.ndarray
    layer: np.ndarray
    token: np.ndarray
    restored: np.ndarray
    done: int
    total: int


@dataclass(frozen=True)
class Trace:
    """A MultimodalCausalTrace map (Basu et al. 2024, section 3).

    restored: xarray (module, layer, token), probability of the answer token in the restored run; coordinate `token` holds
    sequence positions of the text tokens, and positions before the first corrupted one hold `corrupted`, which is exact by causality.
    clean, corrupted: probability of the answer token in those two runs.
    corrupted_positions: sequence positions the corruption changes; those of the constraint, usually.
    control: "text-only" where the picture was left out of both runs.
    """

    restored: xr.DataArray = field(repr=False)
    clean: float
    corrupted: float
    answer: Answer
    answer_token: str
    window: int
    warnings: tuple[str, ...]
    rows: tuple[TokenInfo, ...] = field(repr=False)
    constraint: tuple[int, ...]
    input_ids: np.ndarray = field(repr=False)
    corrupted_input_ids: np.ndarray = field(repr=False)
    corruption: str
    fitted: str
    question: str
    model: str
    corrupted_positions: tuple[int, ...] = field(default=(), repr=False)
    control: str | None = None
    _setup: Any = field(default=None, repr=False, compare=False)

    @property
    def modules(self) -> tuple[str, ...]:
        """The sub-blocks traced, in the order of the `module` axis."""
        return tuple(str(m) for m in self.restored.module.values)

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return self.restored.sizes["layer"]

    @property
    def indirect_effect(self) -> xr.DataArray:
        """IE = P_restored - P_corrupted, (module, layer, token)."""
        return (self.restored - self.corrupted).rename("indirect_effect")

    @property
    def total_effect(self) -> float:
        """TE = P_clean - P_corrupted."""
        return self.clean - self.corrupted

    @property
    def recovery_rate(self) -> xr.DataArray:
        """IE / TE; NaN where the corruption changed nothing."""
        scale = self.total_effect if abs(self.total_effect) > 1e-12 else np.nan
        return (self.indirect_effect / scale).rename("recovery_rate")

    def token_text(self, position: int) -> str:
        """The text of the token at a sequence position."""
        return next(row.text for row in self.rows if row.position <= position < row.position + row.count)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a cell: module, layer, token, text, constraint, restored, indirect_effect."""
        table = self.restored.rename("restored").to_dataframe().reset_index()
        table.insert(3, "text", [self.token_text(t) for t in table["token"]])
        table.insert(4, "constraint", table["token"].isin(self.constraint))
        table["indirect_effect"] = table["restored"] - self.corrupted
        return table

    def top(self, n: int = 10) -> pd.DataFrame:
        """The `n` cells with the largest indirect effect."""
        return self.to_dataframe().nlargest(n, "indirect_effect").reset_index(drop=True)

    def to_code(self, layer: int, token: int, module: str = "mlp") -> str:
        """A short nnsight script that, run on its own, prints this cell's restored probability.

        Store it in a file or paste it into a notebook cell: nnsight reads the source of what it runs, which `exec` of a text does not have.
        Raises TraceError if the cell is not in the map or the model it came from is gone.
        """
        from .tracing.code import cell_code

        return cell_code(self, layer=layer, token=token, module=module)

    @property
    def setup(self) -> Any:
        """The prepared runs this trace came from, or None once they are gone."""
        return self._setup

    def __getstate__(self) -> dict[str, Any]:
        # a copy or a pickle is of the numbers: a model has a lock, and may fill a GPU
        return {**self.__dict__, "_setup": None}

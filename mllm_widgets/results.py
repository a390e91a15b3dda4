"""What the computations return: plain, frozen, labelled objects.

They need no torch; widgets, pictures and tables are views of them.  Only a `Trace` keeps hold of the runs it came from, and so of the model;
its copies and pickles do not.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import TraceError
from .saving.result import Result

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from .vlm.geometry import VisualGeometry

BEFORE_CONSTRAINT = "before the constraint: clean and corrupted runs are identical here, so the effect is exactly 0"
IN_GROUPS = "visual tokens are restored together, not one by one: trace.groups"
BEFORE_CORRUPTION = BEFORE_CONSTRAINT.replace("the constraint", "the corrupted tokens")


@dataclass(frozen=True)
class TokenInfo:
    """One row of a token axis: a token, or a run of tokens folded into one row.

    `position` is the (first) position in the sequence the model sees, `count` how many tokens the row stands for; `kind` is "text",
    "visual", or "answer" for a token of the answer that was written after the prompt; `traced` is False where an intervention cannot matter, and `reason` says why.
    """

    position: int
    token_id: int
    text: str
    kind: str = "text"
    constraint: bool = False
    traced: bool = True
    reason: str = ""
    count: int = 1


def window_layers(centre: int, window: int, layers: int) -> range:
    """The layers a window restores: `window` of them centred at `centre`, clipped to the model; an even window leans left, as ROME's.

    Examples
    --------
    >>> list(window_layers(2, 3, 8)), list(window_layers(0, 3, 8)), list(window_layers(4, 4, 8))
    ([1, 2, 3], [0, 1], [2, 3, 4, 5])
    """
    first = centre - window // 2
    return range(max(0, first), min(layers, first + window))


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
class Answer(Result):
    """A model's answer.

    `text` is the greedy answer up to its end (in a trace, which does not decode further, its first token's), `token` / `token_id` / `probability` describe its first token, and
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

    def to_dataframe(self) -> pd.DataFrame:
        """One row a first token, the most probable first: token_id, token, probability."""
        import pandas as pd

        order = np.argsort(-self.probabilities, kind="stable")
        words = [self.vocabulary[i] for i in order]
        return pd.DataFrame({"token_id": order, "token": words, "probability": self.probabilities[order]})

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class CellBatch:
    """Cells that have just been computed, handed to `on_cells`.

    `module`, `layer` and `token` are index arrays (n,) into the trace's axes, `restored` (n,) the restored scores; `done` of
    `total` cells are finished; single patches, chosen by what larger groups gave, are added to `total` last.  With `groups` these are cells of groups of tokens, and `token` counts groups.
    """

    module: np.ndarray
    layer: np.ndarray
    token: np.ndarray
    restored: np.ndarray
    done: int
    total: int
    groups: bool = False


@dataclass(frozen=True)
class Group:
    """Tokens restored together.

    name: for a reader, such as "row 0-3, column 4-7".
    positions: sequence positions, ascending.
    kind: "visual" (all visual tokens), "block" or "patch" of a patch grid, "region", "constraint", "text_constraints" or "tokens".
    box: (left, top, right, bottom) in pixels of the picture, of what has a place on it.
    """

    name: str
    positions: tuple[int, ...] = field(repr=False)
    kind: str
    box: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Trace(Result):
    """A MultimodalCausalTrace map (Basu et al. 2024, section 3).

    restored: xarray (module, layer, token), score of the restored run; coordinate `token` holds sequence positions of the text
        tokens, and positions before the first corrupted one hold `corrupted`, which is exact by causality.
    clean, corrupted: score of those two runs.
    score: "probability" of the answer token (or of a whole target), its "log-probability" (base e), or "logit-difference" to `contrast`.
    scored: the answer's tokens, as text: one, or those of `target`, the whole answer that is scored where one was given.
    groups: tokens restored together; looked for coarse to fine, the single patches are those of blocks with an effect.
    group_restored: xarray (module, layer, group), score of runs with all tokens of one of `groups` restored; None where none was asked for.
    geometry: where the visual tokens lie on the picture; None where no group has any, or nothing is known of it.
    sever: sub-blocks above the restored layers that were kept from following, or None.
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
    score: str = "probability"
    scored: tuple[str, ...] = ()
    target: str | None = None
    contrast: str | None = None
    sever: str | None = None
    groups: tuple[Group, ...] = field(default=(), repr=False)
    group_restored: xr.DataArray | None = field(default=None, repr=False)
    geometry: VisualGeometry | None = field(default=None, repr=False)
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
    def scored_answer(self) -> str:
        """What is scored, in words: the whole target, or the answer's first token."""
        return self.target or self.answer_token

    @property
    def indirect_effect(self) -> xr.DataArray:
        """IE = restored - corrupted, (module, layer, token); of probabilities, P_restored - P_corrupted."""
        return (self.restored - self.corrupted).rename("indirect_effect")

    @property
    def total_effect(self) -> float:
        """TE = clean - corrupted; of probabilities, P_clean - P_corrupted."""
        return self.clean - self.corrupted

    @property
    def group_effect(self) -> xr.DataArray:
        """IE of each group, (module, layer, group).

        Raises TraceError if no groups were asked for.
        """
        if self.group_restored is None:
            raise TraceError(
                "this trace restored no groups of tokens; trace with groups=('visual', 'blocks'), or corrupt the picture."
            )
        return (self.group_restored - self.corrupted).rename("indirect_effect")

    def patches(self, layer: int, module: str = "mlp") -> tuple[np.ndarray, ...]:
        """IE over the picture: an array (rows, columns) for each of its patch grids.

        Each patch has the effect of the smallest group it was restored in: of its own, of its block, or of all visual tokens; NaN
        where it was in none.

        Raises TraceError if no groups were asked for, none of the picture's tokens was in one, nothing is known of where they lie, or the
        trace has no such layer or module.
        """
        effects = self.group_effect
        if self.geometry is None:
            raise TraceError(
                "this trace restored no visual tokens, or nothing is known of where they lie; trace with groups=('visual', 'blocks')."
            )
        if module not in self.modules:
            raise TraceError(f"module={module!r} is not in this trace; it has {self.modules}.")
        if layer not in range(self.layers):
            raise TraceError(f"layer={layer!r} is outside 0 to {self.layers - 1}; layers are counted from 0.")
        effect = effects.sel(module=module, layer=layer).values
        visual = [row for row in self.rows if row.kind == "visual"]
        positions = [p for row in visual for p in range(row.position, row.position + row.count)]
        best: dict[int, float] = dict.fromkeys(positions, np.nan)
        for group, value in sorted(zip(self.groups, effect, strict=True), key=lambda pair: -len(pair[0].positions)):
            best.update(dict.fromkeys(set(group.positions) & set(positions), float(value)))
        values = np.array(list(best.values()))
        return tuple(values[grid.tokens] for grid in self.geometry.grids)

    def restored_layers(self, layer: int) -> range:
        """The layers that a cell of this map at `layer` restored: its window, clipped to the model."""
        return window_layers(layer, self.window, self.layers)

    def without_runs(self) -> Trace:
        """The numbers alone: what stays of a trace when it is pickled.

        A trace keeps the keys and values of its runs, for `to_code` and for widgets that compute more windows; many traces kept
        would fill a GPU.
        """
        return replace(self, _setup=None)

    @property
    def recovery_rate(self) -> xr.DataArray:
        """IE / TE; NaN where the corruption changed nothing."""
        scale = self.total_effect if abs(self.total_effect) > 1e-12 else np.nan
        return (self.indirect_effect / scale).rename("recovery_rate")

    def token_text(self, position: int) -> str:
        """The text of the token at a sequence position."""
        return next(row.text for row in self.rows if row.position <= position < row.position + row.count)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a cell: module, layer, token, text, constraint, restored, indirect_effect, and the layers restored, first to last."""
        table = self.restored.rename("restored").to_dataframe().reset_index()
        table.insert(3, "text", [self.token_text(t) for t in table["token"]])
        table.insert(4, "constraint", table["token"].isin(self.constraint))
        table["indirect_effect"] = table["restored"] - self.corrupted
        spans = {layer: self.restored_layers(layer) for layer in range(self.layers)}
        table["first_layer"] = [spans[layer][0] for layer in table["layer"]]
        table["last_layer"] = [spans[layer][-1] for layer in table["layer"]]
        return table

    def top(self, n: int = 10) -> pd.DataFrame:
        """The `n` cells with the largest indirect effect."""
        return self.to_dataframe().nlargest(n, "indirect_effect").reset_index(drop=True)

    def to_code(self, layer: int, token: int, module: str = "mlp") -> str:
        """A short nnsight script that, run on its own, prints this cell's restored score.

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

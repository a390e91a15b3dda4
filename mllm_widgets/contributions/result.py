"""What tokens write into others, as plain, frozen, labelled arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import FlowError
from mllm_widgets.results import TokenInfo
from mllm_widgets.saving.result import Result

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from PIL import Image

    from mllm_widgets.vlm.geometry import VisualGeometry


@dataclass(frozen=True)
class Sink:
    """A token that takes attention whatever it holds.

    attention: its share of the targets' attention, mean over layers and heads.
    contribution: its share of the sum of contributions, mean over layers.
    layers: at which part of the layers it stands out, 0..1.
    reason: "attention" or "activation", see `find_sinks`.
    """

    position: int
    text: str
    kind: str
    attention: float
    contribution: float
    layers: float
    reason: str


@dataclass(frozen=True)
class CrossContributions:
    """What vision states write into the targets at cross-attention layers (Mllama), where the picture is no part of the sequence.

    Arrays as in `Contributions`, over the axis `state` instead of `token`: states are those of the vision tower, tile after tile.  `tile` and `patch`
    are coordinates of it; patch 0 of a tile is its class token, and the others lie in reading order.  What is given is the attention's own
    output: the layer multiplies it by its gate (a number for the layer) before it adds it to the residual stream.
    """

    norms: xr.DataArray
    per_target: xr.DataArray = field(repr=False)
    attention: xr.DataArray = field(repr=False)
    heads: xr.DataArray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Contributions(Result):
    """What every token writes into some targets through attention (Basu et al. 2024, eq. 1; `attention_contributions`).

    norms: (layer, token), ||a_ij|| of source token j, in units of the residual stream; mean over the targets. Coordinate `token` holds positions.
    per_target: (target, layer, token), the same for each target position; coordinate `target`.
    attention: (layer, head, token), attention probabilities, mean over the targets: what attention maps show, for comparison.
    heads: (layer, head, token), the norm of each head's own contribution, mean over the targets; None unless asked for.
    targets: the positions that receive. target: what was asked for, in words.
    rows: a `TokenInfo` for each position. image: the picture, or None; image_size: its (width, height) in pixels.
    geometry: where visual tokens lie on the picture; None where nothing is known about it (`no_geometry` says why).
    sinks: tokens that take attention whatever they hold; `masked()` leaves them out.
    warnings: why this may mean nothing, in sentences.
    control: the same question about a picture with nothing to see in it, if asked for. control_kind: "blank", "shuffled" or "flipped".
    cross: cross-attention layers (Mllama), which `norms` does not have: their sources are no tokens.
    """

    norms: xr.DataArray
    per_target: xr.DataArray = field(repr=False)
    attention: xr.DataArray = field(repr=False)
    heads: xr.DataArray | None = field(repr=False)
    targets: tuple[int, ...]
    target: str
    rows: tuple[TokenInfo, ...] = field(repr=False)
    constraint: tuple[int, ...]
    geometry: VisualGeometry | None = field(repr=False)
    image: Image.Image | None = field(repr=False, compare=False)
    question: str
    model: str
    warnings: tuple[str, ...] = ()
    sinks: tuple[Sink, ...] = ()
    control: Contributions | None = field(default=None, repr=False)
    control_kind: str | None = None
    cross: CrossContributions | None = field(default=None, repr=False)
    no_geometry: str = field(default="", repr=False)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of `norms`, 0-based."""
        return tuple(int(layer) for layer in self.norms.layer.values)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(width, height) of the picture in pixels; None without one."""
        return None if self.image is None else self.image.size

    @property
    def visual(self) -> np.ndarray:
        """Positions of the visual tokens, in the order that `geometry` counts."""
        return np.array([row.position for row in self.rows if row.kind == "visual"], dtype=int)

    @property
    def peak_layer(self) -> int:
        """The layer at which the visual tokens together write most into the targets; of all tokens where there are none."""
        sources = self.visual if len(self.visual) else self.norms.token.values
        return self.layers[int(np.argmax(self.norms.sel(token=sources).sum("token").values))]

    @property
    def control_correlation(self) -> xr.DataArray | None:
        """(layer,) Pearson correlation of the visual tokens' contributions with those of the control's picture; None without a control.

        Near 1, a layer's map shows where patches lie rather than what they hold.
        """
        if self.control is None or not len(self.visual):
            return None
        import xarray as xr

        own, other = (flow.norms.sel(token=self.visual) for flow in (self, self.control))
        return xr.corr(own, other, dim="token").rename("control_correlation")

    def patches(self, layer: int, grid: int = 0) -> np.ndarray:
        """Contributions of the visual tokens of one layer, as they lie on the picture: (rows, columns).

        A model may see a picture several times, whole and in tiles: `flow.geometry.grids` lists the grids with their kind ("picture", "tile",
        "thumbnail") and their box in pixels, and `grid` is an index into it.  Sinks are NaN in what `masked()` gives.

        Raises
        ------
        FlowError: without visual tokens or their geometry, or for a layer or a grid that is not there.
        """
        if not len(self.visual):
            raise FlowError(
                f"{self.model!r} has no visual tokens in its sequence, so there are no patches to show"
                + (
                    "; its picture is seen by cross-attention: see `.cross.norms` (layer, state)."
                    if self.cross is not None
                    else "; ask about a picture with a model whose picture is a run of tokens."
                )
            )
        if self.geometry is None:
            raise FlowError(
                f"where the visual tokens of {self.model!r} lie on the picture is not known: {self.no_geometry}"
            )
        if (
            isinstance(grid, bool)
            or not isinstance(grid, (int, np.integer))
            or not 0 <= grid < len(self.geometry.grids)
        ):
            raise FlowError(
                f"grid={grid!r} is not one of the {len(self.geometry.grids)} grids of this picture; they count from 0, see `.geometry.grids`."
            )
        values = self._layer(layer).sel(token=self.visual).values
        return values[self.geometry.grids[grid].tokens]

    def top(self, layer: int, k: int = 10, kind: str | None = None) -> pd.DataFrame:
        """The `k` sources that write most at a layer, best first.

        Columns: token (position), text, kind, value, share (of the sum over all sources), attention (mean over heads), sink, visual (its index among
        the visual tokens, -1 for text), left, top, right, bottom (pixels of the picture; NaN for what is no patch).

        Parameters
        ----------
        kind: "visual" or "text" for those alone.
        """
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise FlowError(f"k={k!r} is not a count of tokens; expected a whole number, 1 or more.")
        if kind not in (None, "visual", "text"):
            raise FlowError(f"kind={kind!r} is no kind of token; expected 'visual', 'text' or None for both.")
        table = self._table(layer)
        table = table if kind is None else table.loc[table["kind"] == kind]
        return (
            table.dropna(subset=["value"])
            .sort_values("value", ascending=False, kind="stable")
            .head(int(k))
            .reset_index(drop=True)
        )

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each layer and source: layer, then the columns of `top`."""
        import pandas as pd

        tables = [self._table(layer) for layer in self.layers]
        for layer, table in zip(self.layers, tables, strict=True):
            table.insert(0, "layer", layer)
        return pd.concat(tables, ignore_index=True)

    def masked(self) -> Contributions:
        """The same without its sinks, which are NaN in every array."""
        away = [sink.position for sink in self.sinks]

        def without(array: xr.DataArray | None) -> Any:
            return None if array is None else array.where(~array.token.isin(away))

        return replace(
            self,
            norms=without(self.norms),
            per_target=without(self.per_target),
            attention=without(self.attention),
            heads=without(self.heads),
        )

    def token_text(self, position: int) -> str:
        """The text of the token at a position; empty for a visual token."""
        return self.rows[position].text

    def _layer(self, layer: int) -> xr.DataArray:
        """(token,) contributions at one layer."""
        if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)) or layer not in self.layers:
            crosses = self.cross is not None and layer in self.cross.norms.layer
            raise FlowError(
                f"layer={layer!r} "
                + (
                    "is a cross-attention layer, whose sources are vision states and no tokens: see `.cross`."
                    if crosses
                    else f"was not computed; there are {_listed(self.layers)} (0-based)."
                )
            )
        return self.norms.sel(layer=int(layer))

    def _table(self, layer: int) -> pd.DataFrame:
        import pandas as pd

        values = self._layer(layer).values
        visual = np.full(len(self.rows), -1)
        visual[self.visual] = np.arange(len(self.visual))
        boxes = np.full((len(self.rows), 4), np.nan)
        if self.geometry is not None:
            boxes[self.visual] = self.geometry.boxes
        sinks = {sink.position for sink in self.sinks}
        table = pd.DataFrame(
            {
                "token": [row.position for row in self.rows],
                "text": [row.text for row in self.rows],
                "kind": [row.kind for row in self.rows],
                "value": values,
                "share": values / max(float(np.nansum(values)), 1e-12),
                "attention": self.attention.sel(layer=int(layer)).mean("head").values,
                "sink": [row.position in sinks for row in self.rows],
                "visual": visual,
            }
        )
        return table.assign(**dict(zip(("left", "top", "right", "bottom"), boxes.T, strict=True)))


@dataclass(frozen=True)
class Auroc:
    """How well a score tells right from wrong: 0.5 is chance, 1 is perfect.

    low, high: 95% interval, by a bootstrap over questions. right, wrong: how many questions of each.
    """

    value: float
    low: float
    high: float
    right: int
    wrong: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class CorrectnessSignal(Result):
    """Scores of many questions, and what they are worth (`correctness_signal`).

    table: a row for each question: question, answer, correct, score, confidence.
    score, confidence: AUROC of the contribution score, and of the probability of the model's own answer.
    layers: those whose mean the score is.
    """

    table: pd.DataFrame = field(repr=False)
    score: Auroc
    confidence: Auroc
    layers: tuple[int, ...]
    model: str
    warnings: tuple[str, ...] = ()

    def to_dataframe(self) -> pd.DataFrame:
        """The table: question, answer, correct, score, confidence."""
        return self.table


def _listed(layers: tuple[int, ...]) -> str:
    """Layers in few words."""
    if len(layers) > 2 and layers == tuple(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]} to {layers[-1]}"
    return "layers " + ", ".join(map(str, layers)) if layers else "no layers"

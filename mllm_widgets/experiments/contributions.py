"""What the picture's tokens write into the constraint, layer by layer and place by place: figure 5."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import DatasetError
from mllm_widgets.intervals import LEVEL
from mllm_widgets.sweeps import ContributionMeasure, published
from mllm_widgets.sweeps.averages import bootstrap
from mllm_widgets.sweeps.roles import VISUAL

from .traces import data_sets, swept

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from mllm_widgets.sweeps.run import Run
    from mllm_widgets.vlm.model import VLM


OF = 576  # visual tokens of the paper's model
FEW = 16  # the first and the last sixteenth of the visual tokens: 36 of 576, the last 36 of which the paper names


@dataclass(frozen=True)
class PictureContributions:
    """Means over questions.

    norms: (layer, patch), what each visual token writes, mean over questions; `low` and `high` are its 95% interval. share: (layer,), the picture's share of all that is written, mean.
    n: questions averaged over. left_out: those whose pictures have another number of visual tokens, or that failed.
    """

    norms: xr.DataArray
    low: xr.DataArray
    high: xr.DataArray
    share: xr.DataArray
    n: int
    left_out: int
    model: str = ""

    @property
    def caption(self) -> str:
        """What stands under every figure: n, filter, interval."""
        return caption_of(self.model, self.n, self.left_out)

    @property
    def last_against_first(self) -> xr.DataArray:
        """(layer,), mean norm of the last sixteenth of the visual tokens over that of the first: the paper finds about 5 in layer 0 (tokens 540 to 576 of 576)."""
        return _last_against_first(self.norms).rename("last_against_first")

    def beside(self, layer: int = 0) -> pd.DataFrame:
        """A layer's profile beside figure 5 of the paper (layer 0 of LLaVA), by the same parts of the visual tokens: first, end (as in the paper, of 576), norm, relative (to
        the first part), published, published_relative.

        Norms of another model have another scale; what can be compared is how they rise.
        """
        return beside_figure_5(self.norms, layer)


def picture_to_constraint(
    vlm: VLM | str,
    data: Any,
    out: str | Path,
    *,
    target: str = "constraint",
    draws: int = 500,
    seed: int = 0,
    **options: Any,
) -> dict[str, PictureContributions]:
    """Which visual tokens the constraint takes from, averaged by their place: figure 5 ("late visual tokens").

    Whether that is the pictures or the places only a control tells: `position_bias`.

    Raises
    ------
    DatasetError: if no question has visual tokens.
    """
    import xarray as xr

    found = {}
    for name, questions in data_sets(data).items():
        run = swept(vlm, questions, ContributionMeasure(target), out=Path(out) / name, ask=False, **options)
        cells = run.cells()
        names, layers, values = profiles_of(cells)
        mean, low, high = (layers_by_patches(one, layers) for one in means_of(values, draws, seed))
        share = cells.loc[(cells["role"] == VISUAL) & cells["id"].isin(names)].groupby("layer")["share"].mean()
        found[name] = PictureContributions(
            mean.rename("norms"), low, high,
            xr.DataArray(share.to_numpy(), dims=("layer",), coords={"layer": layers}, name="share"),
            len(names), len(run.questions()) - len(names), model_of(run),
        )  # fmt: skip
    return found


def late(profile: np.ndarray) -> np.ndarray:
    """(..., patch) -> (...): the last sixteenth over the first."""
    few = max(1, profile.shape[-1] // FEW)
    return profile[..., -few:].mean(axis=-1) / profile[..., :few].mean(axis=-1)


def profiles_of(cells: pd.DataFrame) -> tuple[list[str], list[int], np.ndarray]:
    """Names of the questions, layers, and norms (question, layer, patch) of those with the usual number of visual tokens."""
    picture = cells.loc[cells["role"] == VISUAL]
    if not len(picture):
        raise DatasetError("no question has visual tokens in its sequence, so there is nothing to average by place.")
    counts = picture.groupby("id")["tokens"].first()
    usual = int(counts.mode()[0])
    own = picture.loc[picture["id"].isin(list(counts.index[counts == usual]))].sort_values(
        ["id", "layer"], kind="stable"
    )
    layers = sorted(own["layer"].unique().tolist())
    values = np.stack(own["patches"].to_list()).astype(np.float64).reshape(-1, len(layers), usual)
    return list(dict.fromkeys(own["id"])), layers, values


def means_of(values: np.ndarray, draws: int, seed: int) -> list[np.ndarray]:
    """Mean, low and high (layer, patch)."""
    return [one.reshape(values.shape[1:]) for one in bootstrap(values.reshape(len(values), -1), draws, seed)]


def layers_by_patches(values: np.ndarray, layers: list[int]) -> xr.DataArray:
    """With names for its axes."""
    import xarray as xr

    return xr.DataArray(values, dims=("layer", "patch"), coords={"layer": layers, "patch": range(values.shape[1])})


def _last_against_first(norms: xr.DataArray) -> xr.DataArray:
    return norms.isel(patch=0, drop=True).copy(data=late(norms.transpose(..., "patch").values))


def beside_figure_5(norms: xr.DataArray, layer: int) -> pd.DataFrame:
    """One layer's profile by the parts of the visual tokens that the paper's figure was read off at."""
    if layer not in norms.layer.values:
        raise DatasetError(f"layer={layer!r} is not there; there are {norms.layer.values.tolist()} (0-based).")
    own, table = norms.sel(layer=layer).values, published.figure_5()
    ends = (table[["first", "end"]].to_numpy() * len(own) / OF).round().astype(int)
    table["published"] = table.pop("norm")
    table.insert(2, "norm", [own[first : max(end, first + 1)].mean() for first, end in ends])
    table.insert(3, "relative", table["norm"] / table["norm"].iloc[0])
    table["published_relative"] = table["published"] / table["published"].iloc[0]
    return table


def caption_of(model: str, n: int, left_out: int) -> str:
    """n, filter, interval."""
    out = f"{left_out} left out: failed, or another number of visual tokens" if left_out else "none left out"
    return f"{model}, n = {n} of {n + left_out} questions; {out}. Intervals: {LEVEL:.0%}, bootstrap over questions."


def model_of(run: Run) -> str:
    """Its name."""
    return str(run.config["models"][0]["name"])

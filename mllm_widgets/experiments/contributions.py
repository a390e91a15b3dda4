"""What the picture's tokens write into the constraint, layer by layer and place by place: figure 5."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.errors import DatasetError
from mllm_widgets.sweeps import ContributionMeasure, sweep
from mllm_widgets.sweeps.averages import bootstrap
from mllm_widgets.sweeps.roles import VISUAL

from .traces import _sets

if TYPE_CHECKING:
    import xarray as xr

    from mllm_widgets.vlm.model import VLM


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

    @property
    def last_against_first(self) -> xr.DataArray:
        """(layer,), mean norm of the last sixteenth of the visual tokens over that of the first: the paper finds about 5 in layer 0 (tokens 540 to 576 of 576)."""
        count = self.norms.sizes["patch"]
        few = max(1, count // 16)
        first = self.norms.isel(patch=slice(0, few)).mean("patch")
        last = self.norms.isel(patch=slice(count - few, count)).mean("patch")
        return (last / first).rename("last_against_first")


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

    Whether that is the pictures or the places only a control tells: run it on blank or flipped pictures of the same questions, too (see
    `mw.attention_contributions(control="blank")`).

    Raises
    ------
    DatasetError: if no question has visual tokens.
    """
    found = {}
    for name, questions in _sets(data).items():
        run = sweep(vlm, questions, ContributionMeasure(target), out=Path(out) / name, ask=False, **options)
        found[name] = _mean(run.cells(), len(run.questions()), draws, seed)
    return found


def _mean(cells: Any, asked: int, draws: int, seed: int) -> PictureContributions:
    import xarray as xr

    picture = cells[cells["role"] == VISUAL]
    if not len(picture):
        raise DatasetError("no question has visual tokens in its sequence, so there is nothing to average by place.")
    counts = picture.groupby("id")["tokens"].first()
    count = int(counts.mode()[0])
    own = picture[picture["id"].isin(counts[counts == count].index)].sort_values(["id", "layer"], kind="stable")
    layers = sorted(own["layer"].unique())
    values = np.stack(own["patches"].to_list()).astype(np.float64).reshape(-1, len(layers), count)
    mean, low, high = bootstrap(values.reshape(len(values), -1), draws, seed)
    coords = {"layer": layers, "patch": range(count)}

    def array(flat: np.ndarray) -> xr.DataArray:
        return xr.DataArray(flat.reshape(len(layers), count), dims=("layer", "patch"), coords=coords)

    share = own.groupby("layer")["share"].mean()
    return PictureContributions(
        array(mean).rename("norms"), array(low), array(high),
        xr.DataArray(share.to_numpy(), dims=("layer",), coords={"layer": layers}, name="share"), len(values), asked - len(values),
    )  # fmt: skip

"""Are "late visual tokens" the pictures, or the places?  Figure 5 with controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets.contributions import CONTROLS
from mllm_widgets.errors import DatasetError
from mllm_widgets.intervals import LEVEL
from mllm_widgets.sweeps import ContributionMeasure

from .contributions import beside_figure_5, caption_of, late, layers_by_patches, means_of, model_of, profiles_of
from .traces import data_sets, swept

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from mllm_widgets.sweeps.run import Run
    from mllm_widgets.vlm.model import VLM

OWN = "own"  # the question's own picture


@dataclass(frozen=True)
class PositionBias:
    """What visual tokens write into the constraint, of the pictures and of controls with nothing to see, or with everything elsewhere (`position_bias`).

    data: a row a layer and picture ("own", "blank", "shuffled", "flipped"): norm (mean of a visual token); late (mean of the last sixteenth of the tokens over that of
        the first), and its 95% interval; of controls correlation, of the mean profile by place with that of the questions' own pictures, and its interval (low, high);
        of "flipped" by_content, the same with the profile turned back, so that each token is compared with the one that saw the same, and its interval (content_low,
        content_high); it means something for models that see a picture as one grid, and nothing where it is seen whole and in tiles.
        Position shows as a correlation near 1 whatever is seen; content as one that is higher by content than by place.
    profiles: (picture, layer, patch), mean norms; low, high: their interval.
    n: questions averaged over. left_out: those with another number of visual tokens, or that failed with one of the pictures.
    """

    data: pd.DataFrame
    profiles: xr.DataArray = field(repr=False)
    low: xr.DataArray = field(repr=False)
    high: xr.DataArray = field(repr=False)
    n: int
    left_out: int
    model: str

    @property
    def caption(self) -> str:
        """What stands under every figure: n, filter, interval."""
        return caption_of(self.model, self.n, self.left_out)

    def to_dataframe(self) -> pd.DataFrame:
        """`data`."""
        return self.data

    def beside(self, layer: int = 0, picture: str = "own") -> pd.DataFrame:
        """As `PictureContributions.beside`, of one of the pictures."""
        known = [str(one) for one in self.profiles.picture.values]
        if picture not in known:
            raise DatasetError(f"picture={picture!r} was not asked about; there are {known}.")
        return beside_figure_5(self.profiles.sel(picture=picture), layer)


def position_bias(
    vlm: VLM | str,
    data: Any,
    out: str | Path,
    *,
    controls: Sequence[str] = CONTROLS,
    target: str = "constraint",
    draws: int = 500,
    seed: int = 0,
    **options: Any,
) -> dict[str, PositionBias]:
    """Is "late visual tokens" about the pictures or about the places?  Figure 5 again, with blank, shuffled and flipped pictures of the same questions.

    Decoders give what is near more (recency), and in a sequence that is the end of the picture (FEATHER, arXiv 2412.13180).

    Parameters
    ----------
    data: VQA-Constraints, of which each subset is averaged by itself, or a dict from names to what `sweep` takes as questions.
    out: a folder; each data set is a run in it, which goes on where it was.
    controls: of "blank", "shuffled" and "flipped", see `mw.attention_contributions`.
    target: "constraint", or "last" for the prompt's last token.
    draws, seed: of the bootstrap over questions.
    options: to `sweep`.

    Raises
    ------
    DatasetError: for controls that are none, or if no question has visual tokens.
    """
    unknown = [control for control in controls if control not in CONTROLS]
    if unknown or isinstance(controls, str) or not controls:
        raise DatasetError(f"controls={controls!r}: expected a list of {', '.join(map(repr, CONTROLS))}.")
    found = {}
    for name, questions in data_sets(data).items():
        measures = {OWN: ContributionMeasure(target)}
        measures |= {control: ContributionMeasure(target, control=control) for control in controls}
        run = swept(vlm, questions, list(measures.values()), out=Path(out) / name, ask=False, **options)
        cells = run.cells()
        each = {picture: profiles_of(cells.loc[cells["measure"] == one.key]) for picture, one in measures.items()}
        shared = [one for one in each[OWN][0] if all(one in names for names, _, _ in each.values())]
        counts = {values.shape[2] for _, _, values in each.values()}
        if not shared or len(counts) > 1:
            raise DatasetError(
                f"no question of {name!r} has the same number of visual tokens with each picture, so places cannot be compared; the processor may cut pictures by their content."
            )
        values = np.stack([part[[names.index(one) for one in shared]] for names, _, part in each.values()])
        found[name] = _bias(values, list(measures), each[OWN][1], run, draws, seed)
    return found


def _bias(values: np.ndarray, pictures: list[str], layers: list[int], run: Run, draws: int, seed: int) -> PositionBias:
    """values: (picture, question, layer, patch)."""
    import pandas as pd
    import xarray as xr

    count = values.shape[1]
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws) / count
    rows = []
    for place, layer in enumerate(layers):
        mean = values[:, :, place].mean(axis=1)
        drawn = np.einsum("dq,pqv->pdv", weights, values[:, :, place])  # (picture, draw, patch)
        for number, picture in enumerate(pictures):
            row = {"layer": layer, "picture": picture, "n": count, "norm": float(mean[number].mean())}
            row |= _with_interval(("late", "late_low", "late_high"), late(mean[number]), late(drawn[number]), count)
            if picture != OWN:
                row |= _with_interval(
                    ("correlation", "low", "high"), _alike(mean[number], mean[0]), _alike(drawn[number], drawn[0]), count
                )  # fmt: skip
            if picture == "flipped":
                back, drawn_back = mean[number][::-1], drawn[number][:, ::-1]
                row |= _with_interval(
                    ("by_content", "content_low", "content_high"), _alike(back, mean[0]), _alike(drawn_back, drawn[0]), count
                )  # fmt: skip
            rows.append(row)
    arrays = [
        xr.concat([layers_by_patches(one[end], layers) for one in (means_of(part, draws, seed) for part in values)], dim=pd.Index(pictures, name="picture"))
        for end in range(3)
    ]  # fmt: skip
    asked = run.questions()["id"].nunique()
    return PositionBias(
        pd.DataFrame(rows), arrays[0].rename("norms"), arrays[1], arrays[2], count, asked - count, model_of(run)
    )


def _with_interval(names: tuple[str, str, str], value: Any, drawn: np.ndarray, count: int) -> dict[str, float]:
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if count > 1 else (np.nan, np.nan)
    return dict(zip(names, map(float, (value, *ends)), strict=True))


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson correlation over the last axis; NaN where one is flat."""
    one, other = (array - array.mean(axis=-1, keepdims=True) for array in (one, other))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (one * other).sum(axis=-1) / np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))

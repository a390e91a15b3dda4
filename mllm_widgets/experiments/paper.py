"""Averaged traces beside what the paper's figures show, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mllm_widgets.errors import DatasetError
from mllm_widgets.sweeps import Averages, published

if TYPE_CHECKING:
    import pandas as pd

FIGURES = (3, 12)


def beside(found: Averages | Mapping[str, Averages], figure: int = 3, *, subset: str | None = None) -> pd.DataFrame:
    """Mean restored scores beside figure 3 of the paper (`averaged_traces`), or 12 (`multi_constraint_traces`).

    The paper's model has 32 layers and its figures are of window 3 and 6; a layer of another model is another place, so its rows are to be read as a whole.

    Parameters
    ----------
    found: averages by data set, or those of one.
    figure: 3 or 12; 4 and 13 show what 12 does.
    subset: "okvqa", "known" or "movies" of figure 3, to stand beside all of `found`; by default each data set has its own, and one of another name has none.

    Returns
    -------
    One row a data set, module, layer and role that occurs: restored, its interval (low, high), count, total_effect, n, window, and published_low, published_high: the
    same where the figure shows a number for the layer, NaN where it shows none.

    Raises
    ------
    DatasetError: for another figure or subset.
    """
    import pandas as pd

    if figure not in FIGURES:
        raise DatasetError(
            f"figure={figure!r} is no figure of averaged traces whose values are known; expected 3 or 12."
        )
    known = published.figure_12() if figure == 12 else published.figure_3()
    if figure == 3:
        known = known.rename(columns={"restored": "low"}).assign(high=known["restored"])
    if subset is not None and (figure == 12 or subset not in set(known["subset"])):
        raise DatasetError(
            f"subset={subset!r} is not in figure {figure}; "
            + ("leave it out, for that has one." if figure == 12 else f"there are {sorted(set(known['subset']))}.")
        )
    tables = []
    keys = ["module", "role", "layer"]
    for name, averages in (found if isinstance(found, Mapping) else {subset or "": found}).items():
        theirs = known if figure == 12 else known.loc[known["subset"] == (subset or name)]
        theirs = theirs.loc[:, [*keys, "low", "high"]].rename(
            columns={"low": "published_low", "high": "published_high"}
        )
        own = averages.to_dataframe().loc[:, [*keys, "restored", "restored_low", "restored_high", "count"]]
        own = own.rename(columns={"restored_low": "low", "restored_high": "high"})
        own = own.assign(total_effect=averages.total_effect[0], n=averages.n, window=averages.settings["window"])
        own.insert(0, "data", name)
        tables.append(own.merge(theirs, on=keys, how="left"))
    return pd.concat(tables, ignore_index=True)


def published_lines(table: pd.DataFrame, module: str = "mlp") -> dict[str, dict[int, float]]:
    """The published values of `beside` as `mllm_widgets.render.draw_layers(published=...)` takes them: role -> layer -> value; of a range its middle."""
    own = table[table["module"] == module]
    own = own.assign(published=(own["published_low"] + own["published_high"]) / 2)
    rows = own[np.isfinite(own["published"])].to_dict("records")
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        found.setdefault(row["role"], {})[int(row["layer"])] = float(row["published"])
    return found

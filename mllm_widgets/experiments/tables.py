"""Averages of several data sets in one table, beside what the paper has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mllm_widgets.errors import DatasetError
from mllm_widgets.sweeps.roles import LAST, LAST_OF_CONSTRAINT

if TYPE_CHECKING:
    import pandas as pd

    from mllm_widgets.sweeps import Averages

PLACES = (("mlp", LAST_OF_CONSTRAINT), ("self_attn", LAST))  # where the paper finds storage, and transfer


def peaks(
    found: Mapping[str, Averages],
    places: Sequence[tuple[str, str]] = PLACES,
    *,
    quantity: str = "effect",
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The strongest layer of each module and role, with its interval and how many questions it is the mean of.

    Parameters
    ----------
    found: averages by data set.
    places: (module, role); those that do not occur are left out.
    quantity: "effect", "recovery" or "restored".
    published: columns subset, module, role, layer and the quantity: the strongest of these stands in the last two columns.

    Returns
    -------
    One row a data set and place: data, module, role, layer, the quantity, low, high, n, of (questions there were), and with `published` layer (LLaVA) and the
    quantity (LLaVA).

    Raises
    ------
    DatasetError: for a quantity that averages do not have, or if no place occurs.
    """
    import pandas as pd

    rows = []
    for name, averages in found.items():
        if quantity not in averages.data:
            raise DatasetError(f"quantity={quantity!r} is not known; expected 'effect', 'recovery' or 'restored'.")
        for module, role in places:
            if module not in averages.data.module.values or role not in averages.data.role.values:
                continue
            own = averages.data.sel(module=module, role=role)
            if not int(own["count"].max()):
                continue
            at = own.isel(layer=int(own[quantity].fillna(-1e9).argmax("layer")))
            row = {
                "data": name, "module": module, "role": role, "layer": int(at.layer), quantity: float(at[quantity]), "low": float(at[f"{quantity}_low"]),
                "high": float(at[f"{quantity}_high"]), "n": int(at["count"]), "of": averages.counts["all"],
            }  # fmt: skip
            if published is not None:
                theirs = [
                    one
                    for one in published.to_dict("records")
                    if (one["subset"], one["module"], one["role"]) == (name, module, role)
                ]
                best = max(theirs, key=lambda one: one[quantity], default=None)
                row["layer (LLaVA)"] = pd.NA if best is None else int(best["layer"])
                row[f"{quantity} (LLaVA)"] = float("nan") if best is None else float(best[quantity])
            rows.append(row)
    if not rows:
        raise DatasetError(f"places={places!r}: none of them occurs in these averages.")
    return pd.DataFrame(rows)

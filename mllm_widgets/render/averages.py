"""Effects averaged over questions, as a map and as lines over the layers; never without how many there were, what was left out, and how sure the mean is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mllm_widgets import colormaps, labels
from mllm_widgets.errors import DatasetError

from .heatmap import draw_heatmap
from .lines import WIDTH, Line, captioned, draw_lines, limits_of
from .pen import Drawing, joined

if TYPE_CHECKING:
    import pandas as pd

    from mllm_widgets.sweeps import Averages

WORDS = {
    "effect": "Average indirect effect",
    "recovery": "Average recovery rate",
    "restored": "Average restored score",
}
LAYERS = 32  # of the paper's model


def draw_averages(averages: Averages, module: str = "mlp", title: str = "") -> Drawing:
    """Mean effects by what a token is and by layer, with n, filters and interval below.

    Raises
    ------
    DatasetError: for a module that the averages do not have.
    """
    roles, table = table_of(averages, module, "effect")
    effect = averages.total_effect[0]
    shown = draw_heatmap(
        table,
        [role_name(role) for role in roles],
        module=module,
        limit=colormaps.effect_limit(table, effect),
        title=title or f"Average indirect effect, {averages.model}",
        subtitle=f"{labels.MODULE_NAMES[module]}, {window_of(averages)}; mean of {averages.n} questions",
        marked=[place for place, role in enumerate(roles) if "constraint" in role and role != "text constraint"],
    )
    return captioned(shown, averages.caption)


def draw_layers(
    averages: Averages,
    module: str = "mlp",
    roles: Sequence[str] = ("first constraint", "last constraint", "last"),
    *,
    quantity: str = "effect",
    published: Mapping[str, Mapping[int, float]] | None = None,
    title: str = "",
    width: int = WIDTH,
) -> Drawing:
    """Means over the layers as lines with their intervals as bands.

    Parameters
    ----------
    roles: which tokens; those that occur are drawn.
    quantity: "effect", "recovery" or "restored".
    published: role -> layer -> value of a paper, drawn as open dots in the line's colour.
    width: of the field.

    Raises
    ------
    DatasetError: for a module or a quantity that the averages do not have.
    """
    lines = _lines(averages, module, roles, quantity)
    known = published or {}
    lines = [
        replace(line, name=f"{line.name}; dots: published", dots=dict(known[role])) if known.get(role) else line
        for role, line in lines.items()
    ]
    return draw_lines(
        lines,
        title=title or f"{WORDS[quantity]}, {averages.model}",
        across=f"layer (0-based); {labels.MODULE_NAMES[module]}, {window_of(averages)}",
        caption=averages.caption,
        width=width,
    )


def draw_beside(
    averages: Averages,
    published: pd.DataFrame,
    module: str = "mlp",
    roles: Sequence[str] = ("first constraint", "last constraint", "last"),
    *,
    quantity: str = "restored",
    title: str = "",
    source: str = "LLaVA-1.5-7B, read off the figure",
    width: int = 330,
) -> Drawing:
    """Means over the layers, and those of a paper in a field of the same scale beside them, since its model has other layers.

    Parameters
    ----------
    published: columns module, role, layer and the quantity, as `mllm_widgets.sweeps.published.figure_3()` has them of each subset.
    source: what is said above the published ones.
    module, roles, quantity, title, width: as in `draw_layers`.

    Raises
    ------
    DatasetError: for a module or a quantity that the averages do not have.
    """
    own = _lines(averages, module, roles, quantity)
    theirs = []
    for role in own:
        part = published[(published["module"] == module) & (published["role"] == role)]
        dots = dict(zip(part["layer"].astype(int), part[quantity].astype(float), strict=True))
        theirs.append(Line(role_name(role) if dots else f"{role_name(role)}: none given", {}, dots=dots))
    shown = [part for line in (*own.values(), *theirs) for part in (line.values, line.low, line.high, line.dots)]
    values = [value for part in shown for value in part.values() if np.isfinite(value)]
    limits = limits_of(values)
    words = f"layer (0-based); {labels.MODULE_NAMES[module]}"
    left = draw_lines(
        list(own.values()),
        title=title or f"{WORDS[quantity]}, {averages.model}",
        across=f"{words}, {window_of(averages)}",
        limits=limits,
        caption=averages.caption,
        width=width,
    )
    right = draw_lines(theirs, title=source, across=words, limits=limits, span=(0, LAYERS - 1), width=width)
    return joined([left, right])


def _lines(averages: Averages, module: str, roles: Sequence[str], quantity: str) -> dict[str, Line]:
    """Those of the roles that occur."""
    known, mean = table_of(averages, module, quantity)
    low, high = (table_of(averages, module, f"{quantity}_{end}")[1] for end in ("low", "high"))
    found = {}
    for role in roles:
        if role not in known:
            continue
        place = known.index(role)
        layers = [int(layer) for layer in averages.data.layer.values]
        count = int(averages.data["count"].sel(module=module, role=role).max())
        rows = [dict(zip(layers, part[place].tolist(), strict=True)) for part in (mean, low, high)]
        found[role] = Line(f"{role_name(role)}, n = {count}", *rows)
    if not found:
        raise DatasetError(f"roles={tuple(roles)!r}: none of them occurs; there are {known}.")
    return found


def table_of(averages: Averages, module: str, quantity: str) -> tuple[list[str], np.ndarray]:
    """Roles that occur, and values (role, layer)."""
    known = [str(one) for one in averages.data.module.values]
    if module not in known:
        raise DatasetError(f"module={module!r} is not in these averages; they have {known}.")
    if quantity.split("_")[0] not in WORDS:
        raise DatasetError(f"quantity={quantity!r} is not known; expected one of {', '.join(map(repr, WORDS))}.")
    there = (averages.data["count"].sel(module=module) > 0).any("layer")
    values = averages.data[quantity].sel(module=module).isel(role=there.values).transpose("role", "layer")
    return [str(role) for role in values.role.values], values.values


def role_name(role: str) -> str:
    """A role in words."""
    from mllm_widgets.sweeps.roles import NAMES

    return NAMES.get(role, role)


def window_of(averages: Averages) -> str:
    """The window that was restored, in words."""
    return labels.window_name(int(averages.settings.get("window", 1)))

"""Effects averaged over questions, as a map and as lines over the layers; never without how many there were, what was left out, and how sure the mean is."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mllm_widgets import colormaps, labels
from mllm_widgets.errors import DatasetError

from .heatmap import draw_heatmap
from .pen import FAINT, GAP, INK, PADDING, RULE, SMALL, TEXT, TITLE, Drawing

if TYPE_CHECKING:
    from mllm_widgets.sweeps import Averages

LINES = ("#0a58ca", "#c5312c", "#14713a", "#8a5a00", "#6a35a8", "#656d76")
BANDS = ("#d6e3f7", "#f6dbd9", "#d7e8dc", "#eadfca", "#e3d9f0", "#e4e6e8")
WIDTH, HEIGHT = 470, 190  # of the chart's field, in units
LETTER = 5.8  # units of a letter of the caption, on average


def draw_averages(averages: Averages, module: str = "mlp", title: str = "") -> Drawing:
    """Mean effects by what a token is and by layer, with n, filters and interval below.

    Raises
    ------
    DatasetError: for a module that the averages do not have.
    """
    roles, table = _table(averages, module, "effect")
    effect = averages.total_effect[0]
    shown = draw_heatmap(
        table,
        [_name(role) for role in roles],
        module=module,
        limit=colormaps.effect_limit(table, effect),
        title=title or f"Average indirect effect, {averages.model}",
        subtitle=f"{labels.MODULE_NAMES[module]}, {_window(averages)}; mean of {averages.n} questions",
        marked=[place for place, role in enumerate(roles) if "constraint" in role and role != "text constraint"],
    )
    return _captioned(shown, averages)


def draw_layers(
    averages: Averages,
    module: str = "mlp",
    roles: Sequence[str] = ("first constraint", "last constraint", "last"),
    *,
    quantity: str = "effect",
    published: Mapping[str, Mapping[int, float]] | None = None,
    title: str = "",
) -> Drawing:
    """Means over the layers as lines with their intervals as bands.

    Parameters
    ----------
    roles: which tokens; those that occur are drawn.
    quantity: "effect", "recovery" or "restored".
    published: role -> layer -> value of a paper, drawn as open dots in the line's colour.

    Raises
    ------
    DatasetError: for a module or a quantity that the averages do not have.
    """
    known, mean = _table(averages, module, quantity)
    low, high = (_table(averages, module, f"{quantity}_{end}")[1] for end in ("low", "high"))
    places = {role: known.index(role) for role in roles if role in known}
    if not places:
        raise DatasetError(f"roles={tuple(roles)!r}: none of them occurs; there are {known}.")
    layers = [int(layer) for layer in averages.data.layer.values]
    others = [value for role in places for value in (published or {}).get(role, {}).values()]
    inside = np.concatenate([*(part[list(places.values())].ravel() for part in (mean, low, high)), others or [0.0]])
    least, most = min(0.0, float(np.nanmin(inside))), max(0.1, float(np.nanmax(inside)))
    pen = Drawing(
        PADDING * 2 + 46 + WIDTH, PADDING + TITLE + GAP + 18 * len(places) + GAP + HEIGHT + 44, title or quantity
    )
    pen.text(
        PADDING, PADDING + 4, title or f"{_WORDS[quantity]}, {averages.model}", TITLE, INK, room=pen.width - 2 * PADDING
    )
    left, top = PADDING + 46.0, PADDING + TITLE + GAP + 18.0 * len(places) + GAP

    def at(layer: float, value: float) -> tuple[float, float]:
        share = (value - least) / (most - least)
        across = (layer - layers[0] + 0.5) / (layers[-1] - layers[0] + 1)
        return left + across * WIDTH, top + (1 - share) * HEIGHT

    pen.ring(left, top, WIDTH, HEIGHT, RULE, 1)
    if least < 0:
        pen.line([at(layers[0] - 0.5, 0), at(layers[-1] + 0.5, 0)], RULE)
    for number, place in enumerate(places.values()):
        edge = [at(layer, value) for layer, value in zip(layers, high[place], strict=True) if np.isfinite(value)]
        back = [at(layer, value) for layer, value in zip(layers, low[place], strict=True) if np.isfinite(value)]
        if len(edge) > 1:
            pen.area([*edge, *reversed(back)], BANDS[number % len(BANDS)])
    for number, (role, place) in enumerate(places.items()):
        ink = LINES[number % len(LINES)]
        pen.line(
            [at(layer, value) for layer, value in zip(layers, mean[place], strict=True) if np.isfinite(value)], ink, 2
        )
        for layer, value in (published or {}).get(role, {}).items():
            pen.dot(*at(layer, value), 4, ink)
            pen.dot(*at(layer, value), 2.5, "white")
        y = PADDING + TITLE + GAP + 18 * number + 9
        pen.line([(PADDING, y), (PADDING + 18, y)], ink, 2)
        count = int(averages.data["count"].sel(module=module, role=role).max())
        said = f"{_name(role)}, n = {count}" + ("; dots: published" if (published or {}).get(role) else "")
        pen.text(PADDING + 26, y, said, TEXT, INK, room=pen.width - 2 * PADDING - 26)
    for share in (0.0, 0.5, 1.0):
        value = least + share * (most - least)
        pen.text(
            left - 6,
            at(0, value)[1],
            f"{value + 0.0:.2f}".rstrip("0").rstrip(".").replace("-0", "0")
            if abs(value) < 0.005
            else f"{value:.2f}".rstrip("0").rstrip("."),
            SMALL,
            FAINT,
            "rm",
        )
    step = max(1, -(-len(layers) * 22 // WIDTH))
    for layer in layers[::step]:
        pen.text(at(layer, 0)[0], top + HEIGHT + 10, str(layer), SMALL, FAINT, "mm")
    pen.text(
        left + WIDTH / 2,
        top + HEIGHT + 26,
        f"layer (0-based); {labels.MODULE_NAMES[module]}, {_window(averages)}",
        SMALL,
        FAINT,
        "mm",
    )
    return _captioned(pen, averages)


_WORDS = {
    "effect": "Average indirect effect",
    "recovery": "Average recovery rate",
    "restored": "Average restored score",
}


def _table(averages: Averages, module: str, quantity: str) -> tuple[list[str], np.ndarray]:
    """Roles that occur, and values (role, layer)."""
    known = [str(one) for one in averages.data.module.values]
    if module not in known:
        raise DatasetError(f"module={module!r} is not in these averages; they have {known}.")
    if quantity.split("_")[0] not in _WORDS:
        raise DatasetError(f"quantity={quantity!r} is not known; expected one of {', '.join(map(repr, _WORDS))}.")
    there = (averages.data["count"].sel(module=module) > 0).any("layer")
    values = averages.data[quantity].sel(module=module).isel(role=there.values).transpose("role", "layer")
    return [str(role) for role in values.role.values], values.values


def _name(role: str) -> str:
    from mllm_widgets.sweeps.roles import NAMES

    return NAMES.get(role, role)


def _window(averages: Averages) -> str:
    return labels.window_name(int(averages.settings.get("window", 1)))


def _captioned(shown: Drawing, averages: Averages) -> Drawing:
    """With what stands under every averaged picture."""
    lines = textwrap.wrap(averages.caption, max(40, round(shown.width / LETTER)))
    sheet = Drawing(
        shown.width,
        shown.height + 16 * len(lines) + GAP,
        shown.title,
        f"{shown.description} {averages.caption}",
        shown.cells,
    )
    sheet.put(shown, 0, 0)
    for number, line in enumerate(lines):
        sheet.text(PADDING, shown.height + 8 + 16 * number, line, SMALL, FAINT, room=shown.width - 2 * PADDING)
    return sheet

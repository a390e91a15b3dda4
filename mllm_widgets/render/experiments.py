"""The figures of the paper that are no traces: edits by method and by layer, what foretells a wrong answer, and what visual tokens write by their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mllm_widgets import labels
from mllm_widgets.errors import DatasetError

from .averages import LAYERS
from .lines import Line, Mean, captioned, draw_lines, draw_means, limits_of
from .pen import Drawing, joined, stacked

if TYPE_CHECKING:
    import pandas as pd

    from mllm_widgets.experiments import (
        EditAverages,
        FailurePrediction,
        PictureAgainstWords,
        PictureContributions,
        PositionBias,
    )

HALF = 330  # units of a field that has another beside it
SHARE = (0.0, 1.0)  # limits of what is a probability or a share


def draw_edit_methods(
    averages: EditAverages,
    task: str = "A",
    measures: Sequence[str] = ("efficacy", "generalization", "VQA accuracy", "leakage"),
) -> Drawing:
    """Means of each method with their intervals, measure by measure, and the paper's (figure 6) as open dots.

    Raises
    ------
    DatasetError: if none of the measures was taken.
    """
    table = averages.beside(task)
    parts = []
    for measure in measures:
        own = table.loc[table["measure"] == measure]
        if len(own):
            rows = [
                Mean(row["method"], row["value"], row["low"], row["high"], row["published"])
                for row in own.to_dict("records")
            ]
            last = measure == [one for one in measures if (table["measure"] == one).any()][-1]
            parts.append(
                draw_means(
                    rows,
                    title=f"{measure[0].upper()}{measure[1:]}, {averages.model}",
                    across="after the edit",
                    limits=SHARE,
                    caption=f"Open dots: LLaVA-1.5-7B, read off the paper's figure 6, task {task}. {averages.caption}"
                    if last
                    else "",
                )
            )
    if not parts:
        raise DatasetError(
            f"measures={tuple(measures)!r}: none was taken; there are {', '.join(table['measure'].unique())}."
        )
    return stacked(parts)


def draw_edit_layers(
    averages: EditAverages, measures: Sequence[str] = ("efficacy", "generalization", "VQA accuracy")
) -> Drawing:
    """Means by the edited layer with their intervals, and the paper's efficacy (figure 14) in a field beside them.

    Raises
    ------
    DatasetError: for a measure that was not taken.
    """
    from mllm_widgets.sweeps import published

    lines = [_line(measure, averages.by_layer(measure), "value", "low", "high") for measure in measures]
    theirs = published.figure_14().set_index("layer")["efficacy"]
    left = draw_lines(
        lines,
        title=f"MultEdit by the edited layer, {averages.model}",
        across="edited layer (0-based)",
        limits=SHARE,
        caption=averages.caption,
        width=HALF,
    )
    right = draw_lines(
        [Line("efficacy", {}, dots=_values(theirs))],
        legend=len(lines),
        title="LLaVA-1.5-7B, read off figure 14",
        across="edited layer (0-based)",
        limits=SHARE,
        width=HALF,
    )
    return joined([left, right])


def draw_failures(found: FailurePrediction) -> Drawing:
    """What the constraint writes into the last token by layer, of right and of wrong answers, beside the paper's (figures 15 to 17), and how well it tells them apart."""
    from mllm_widgets.sweeps import published

    own = found.by_layer
    theirs = published.figure_17().set_index("layer")
    lines = [
        _line(f"{kind} answers, n = {count}", own, kind, f"{kind}_low", f"{kind}_high")
        for kind, count in (("right", found.score.right), ("wrong", found.score.wrong))
    ]
    left = draw_lines(
        lines,
        title=f"Constraint to last token, {found.model}",
        across="layer (0-based); norm of the contribution",
        width=HALF,
    )
    right = draw_lines(
        [Line(f"{kind} answers", {}, dots=_values(theirs[kind])) for kind in ("right", "wrong")],
        title="LLaVA-1.5-7B, read off figures 16 and 17",
        across="layer (0-based); norm of the contribution",
        span=(0, LAYERS - 1),
        width=HALF,
    )
    rows = [
        Mean(row["signal"], row["auroc"], row["low"], row["high"], row["published"])
        for row in found.beside().to_dict("records")
    ]
    judged = draw_means(
        rows,
        title="AUROC: does it tell right answers from wrong ones? (0.5: no better than chance)",
        across="AUROC; open dots: the paper's",
        limits=SHARE,
        caption=found.caption,
        width=260,
    )
    return stacked([joined([left, right]), judged])


def draw_words(found: PictureAgainstWords, data: str | None = None, module: str = "mlp") -> Drawing:
    """Effects at the constraint's last token by layer, one line a window, asked about the picture; and in a field of the same scale beside, in words at the subject's last token.

    Parameters
    ----------
    data: which data set; the first by default.

    Raises
    ------
    DatasetError: for a data set that has no averages.
    """
    from mllm_widgets.sweeps.roles import LAST_OF_CONSTRAINT

    names = list(dict.fromkeys(name for name, _, _ in found.averages))
    chosen = data if data is not None or not names else names[0]
    own = {place[1:]: one for place, one in found.averages.items() if place[0] == chosen}
    if not own:
        raise DatasetError(f"data={data!r} has no averages; there are {', '.join(names) or 'none at all'}.")
    fields, models = {"picture": [], "words": []}, {}
    for (asked, window), one in own.items():
        table = one.data.sel(module=module, role=LAST_OF_CONSTRAINT).to_dataframe()
        values = [_values(table[column].dropna()) for column in ("effect", "effect_low", "effect_high")]
        fields[asked].append(Line(f"window {window}, n = {one.n}", *values))
        models[asked] = one.model
    shown = [line for lines in fields.values() for line in lines]
    limits = limits_of([v for line in shown for part in (line.values, line.low, line.high) for v in part.values()])
    heads = {"picture": "About the picture", "words": "In words"}
    parts = [
        draw_lines(
            lines, title=f"{heads[asked]}, {models[asked]}", across=f"layer (0-based); {labels.MODULE_NAMES[module]}, effect", limits=limits, width=HALF
        )
        for asked, lines in fields.items()
        if lines
    ]  # fmt: skip
    return captioned(joined(parts), found.told(chosen))


def draw_places(found: PictureContributions, layers: Sequence[int] = (0, 1, 2), title: str = "") -> Drawing:
    """What each visual token writes into the constraint, by its place, in some layers, beside the paper's layer 0 (figure 5).

    Raises
    ------
    DatasetError: for a layer that is not there.
    """
    from mllm_widgets.sweeps import published

    known = [int(layer) for layer in found.norms.layer.values]
    lines = []
    for layer in layers:
        if layer not in known:
            raise DatasetError(f"layer={layer!r} is not there; there are {known} (0-based).")
        ends = [_profile(one.sel(layer=layer)) for one in (found.norms, found.low, found.high)]
        lines.append(Line(f"layer {layer}, n = {found.n}", *ends))
    left = draw_lines(
        lines,
        title=title or f"Into the constraint, {found.model}",
        across="visual token, in the order of the sequence; norm",
        caption=found.caption,
        width=HALF,
    )
    theirs = {round((row["first"] + row["end"]) / 2): row["norm"] for row in published.figure_5().to_dict("records")}
    right = draw_lines(
        [Line("layer 0", {}, dots=theirs)],
        legend=len(lines),
        title="LLaVA-1.5-7B, read off figure 5",
        across="visual token of 576; norm, middle of each part",
        span=(0, 575),
        width=HALF,
    )
    return joined([left, right])


def draw_positions(found: PositionBias, layer: int = 0) -> Drawing:
    """What each visual token writes into the constraint in one layer, by its place, of the questions' own pictures and of the controls.

    Raises
    ------
    DatasetError: for a layer that is not there.
    """
    if layer not in found.profiles.layer.values:
        raise DatasetError(f"layer={layer!r} is not there; there are {found.profiles.layer.values.tolist()} (0-based).")
    lines = [
        Line(
            f"{picture} picture{'s' if picture == 'own' else ''}",
            *(_profile(one.sel(picture=picture, layer=layer)) for one in (found.profiles, found.low, found.high)),
        )
        for picture in map(str, found.profiles.picture.values)
    ]
    return draw_lines(
        lines,
        title=f"Visual tokens into the constraint, layer {layer}, {found.model}",
        across="visual token, in the order of the sequence; norm",
        caption=found.caption,
        width=2 * HALF,
    )


def _line(name: str, table: pd.DataFrame, *columns: str) -> Line:
    rows = table.set_index("layer")
    return Line(name, *(_values(rows[column]) for column in columns))


def _values(column: Any) -> dict[int, float]:
    return {int(place): float(value) for place, value in column.items()}


def _profile(norms: Any) -> dict[int, float]:
    return dict(enumerate(map(float, norms.values)))

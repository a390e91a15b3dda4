"""Effects averaged over questions as a Bokeh figure: lines over the layers with their intervals, numbers under the pointer, and the caption that every such picture has.

Bokeh is imported when a chart is drawn, not before.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets import labels
from mllm_widgets.errors import DatasetError

from .averages import WORDS, role_name, table_of, window_of
from .lines import LINES

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

    from mllm_widgets.sweeps import Averages

WIDTH, HEIGHT = 640, 420
LETTERS = 104  # of the caption in a line
MARKS = (
    "circle",
    "square",
    "triangle",
    "diamond",
    "inverted_triangle",
    "hex",
)  # lines are told apart without colour too
DASHES = ("solid", "dashed", "dotdash", "dotted", "dashdot", "solid")


def averages_figure(
    averages: Averages,
    module: str = "mlp",
    roles: Sequence[str] = ("first constraint", "last constraint", "last"),
    *,
    quantity: str = "effect",
    published: Mapping[str, Mapping[int, float]] | None = None,
    title: str = "",
) -> Figure:
    """Means over the layers with their intervals, to be looked into: the pointer reads layer, mean, interval and n; a click on the legend hides a line.

    Parameters
    ----------
    roles: which tokens; those that occur are drawn.
    quantity: "effect", "recovery" or "restored".
    published: role -> layer -> value of a paper, drawn as open marks in the line's colour.

    Raises
    ------
    DatasetError: for a module, a quantity or roles that the averages do not have.
    """
    from bokeh.models import BasicTicker, Title
    from bokeh.plotting import figure

    known, mean = table_of(averages, module, quantity)
    low, high = (table_of(averages, module, f"{quantity}_{end}")[1] for end in ("low", "high"))
    chosen = [role for role in roles if role in known]
    if not chosen:
        raise DatasetError(f"roles={tuple(roles)!r}: none of them occurs; there are {known}.")
    layers = np.array([int(layer) for layer in averages.data.layer.values])
    counts = averages.data["count"].sel(module=module)
    chart = figure(
        width=WIDTH,
        height=HEIGHT,
        title=title or f"{WORDS[quantity]}, {averages.model}",
        x_axis_label=f"layer (0-based); {labels.MODULE_NAMES[module]}, {window_of(averages)}",
        y_axis_label=WORDS[quantity].removeprefix("Average "),
        tools="pan,wheel_zoom,box_zoom,reset,save",
        toolbar_location="right",
    )
    chart.toolbar.logo = None
    chart.xaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    drawn = []
    for number, role in enumerate(chosen):
        place, ink = known.index(role), LINES[number % len(LINES)]
        name = f"{role_name(role)}, n = {int(counts.sel(role=role).max())}"
        some = np.isfinite(mean[place])
        values = {
            "layer": layers[some],
            "mean": mean[place][some],
            "low": low[place][some],
            "high": high[place][some],
            "count": counts.sel(role=role).values[some],
            "role": [role_name(role)] * int(some.sum()),
            "interval": [_interval(*ends) for ends in zip(low[place][some], high[place][some], strict=True)],
        }
        drawn += _line(chart, values, name, ink, DASHES[number % len(DASHES)], MARKS[number % len(MARKS)])
        paper = (published or {}).get(role, {})
        if paper:
            chart.scatter(
                list(paper), list(paper.values()), size=9, marker=MARKS[number % len(MARKS)], fill_color="white", line_color=ink, line_width=1.5,
                legend_label=f"{role_name(role)}, published",
            )  # fmt: skip
    _finish(chart, drawn)
    # the first line of several titles below stands nearest to the chart
    for line in textwrap.wrap(averages.caption, LETTERS):
        chart.add_layout(
            Title(text=line, text_font_size="11px", text_font_style="normal", text_color="#57606a"), "below"
        )
    return chart


def _line(chart: Figure, values: dict[str, Any], name: str, ink: str, dash: str, mark: str) -> list[Any]:
    """A line with its band; its marks are what the pointer finds."""
    from bokeh.models import ColumnDataSource

    source = ColumnDataSource(values)
    sure: dict[str, Any] = {
        key: np.asarray(values[key])[np.isfinite(values["low"])] for key in ("layer", "low", "high")
    }
    chart.varea(
        "layer", "low", "high", source=ColumnDataSource(sure), fill_color=ink, fill_alpha=0.16, legend_label=name
    )
    chart.line("layer", "mean", source=source, line_color=ink, line_width=2, line_dash=dash, legend_label=name)
    return [chart.scatter("layer", "mean", source=source, size=6, marker=mark, color=ink, legend_label=name)]


def _finish(chart: Figure, marks: list[Any]) -> None:
    """What the pointer reads, a line at 0, and the legend below the chart."""
    from bokeh.models import HoverTool, Span

    tips = [
        ("", "@role"),
        ("layer", "@layer"),
        ("mean", "@mean{0.000}"),
        ("95% interval", "@interval"),
        ("n", "@count"),
    ]
    chart.add_tools(HoverTool(renderers=marks, tooltips=tips))
    chart.add_layout(Span(location=0, dimension="width", line_color="#8c959f", line_width=1))
    legend: Any = chart.legend[0]
    chart.add_layout(legend, "below")
    legend.ncols, legend.border_line_color, legend.click_policy = 2, None, "hide"
    legend.label_text_font_size, legend.label_standoff, legend.spacing, legend.padding = "12px", 8, 8, 4


def _interval(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}" if np.isfinite(low) else "none: fewer than two questions"

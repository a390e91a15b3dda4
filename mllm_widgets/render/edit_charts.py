"""Summary charts of finished edits and sweeps, as Bokeh figures: show them with `bokeh.plotting.show`, or save them with `bokeh.embed.file_html`.

Bokeh is imported when a chart is drawn, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

    from mllm_widgets.editing import Edit, LambdaSweep, LayerSweep

INK = {"target": "#0a58ca", "loss": "#656d76", "stays": "#14713a", "leaks": "#c5312c"}
SIZE = {"width": 520, "height": 300}


def loss_figure(edit: Edit) -> Figure:
    """How the value of an edit was found: the loss (nats, left axis) and P(target) (right axis) over the steps.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> edit = mw.multedit(mw.load(), mw.datasets.demo_question("Eiffel Tower"), "Rome", layer=2)
    >>> loss_figure(edit).xaxis[0].axis_label
    'step'
    """
    from bokeh.models import LinearAxis, Range1d

    steps = np.arange(len(edit.losses))
    chart = _figure(
        title=f"Finding the value for {edit.target!r}, layer {edit.layer}",
        x_axis_label="step",
        y_axis_label="loss (nats)",
    )
    chart.y_range = Range1d(start=0, end=1.05 * max(*edit.losses, 1e-3))
    chart.extra_y_ranges = {"p": Range1d(start=0, end=1.05)}
    chart.add_layout(LinearAxis(y_range_name="p", axis_label=f"P({edit.target})"), "right")
    _line(chart, steps, edit.losses, "loss", "loss", "dashed")
    _line(chart, steps, edit.probabilities, "target", f"P({edit.target}) with the value in place", y_range_name="p")
    return _legend(chart)


def lambda_figure(sweep: LambdaSweep, kinds: Any = None) -> Figure:
    """What lambda trades: P(target) of each question that should follow the edit, and what happens to the others, over lambda (logarithmic).

    Parameters
    ----------
    kinds: for each question of the sweep "edited", "paraphrase" or "picture" (lines of P(target)), "same phrase" (P(target): leakage) or "unrelated" (the share
        whose first token stays: specificity); by default the first is the edited one and the others are unrelated.
    """
    count = len(sweep.questions)
    kinds = ["edited", *["unrelated"] * (count - 1)] if kinds is None else list(kinds)
    if len(kinds) != count:
        raise ValueError(f"kinds has {len(kinds)} entries, and the sweep {count} questions; expected one for each.")
    chart = _figure(
        title=f"What lambda trades: {sweep.edit!r}",
        x_axis_type="log",
        x_axis_label="lambda (small: the edit in full)",
        y_axis_label="P(target), or share that stays",
        y_range=(-0.02, 1.05),
    )
    lines = (
        ("efficacy", ("edited",), sweep.target, "target", "solid"),
        ("generalization", ("paraphrase", "picture"), sweep.target, "target", "dotted"),
        ("same-phrase leakage", ("same phrase",), sweep.target, "leaks", "dotdash"),
        ("specificity", ("unrelated",), sweep.agrees, "stays", "dashed"),
    )
    for name, wanted, values, ink, dash in lines:
        some = [place for place, kind in enumerate(kinds) if kind in wanted]
        if some:
            mean = values.isel(question=some).mean("question").values
            _line(chart, sweep.lams, mean, ink, f"{name} ({len(some)})" if len(some) > 1 else name, dash)
    return _legend(chart)


def layer_figure(sweep: LayerSweep) -> Figure:
    """Where to edit: for each layer P(target) with the value in place, and after the edit of the weight."""
    from bokeh.models import ColumnDataSource
    from bokeh.transform import dodge

    layers = [str(layer) for layer in sweep.edits]
    target = next(iter(sweep.edits.values())).target
    chart = _figure(
        title=f"Editing each layer: {target!r}",
        x_range=layers,
        x_axis_label="layer (0-based)",
        y_axis_label=f"P({target})",
        y_range=(0, 1.05),
    )
    source = ColumnDataSource(
        {"layer": layers, "reached": sweep.reached.values.tolist(), "efficacy": sweep.efficacy.values.tolist()}
    )
    for name, words, ink, side in (
        ("reached", "with the value in place", "loss", -0.18),
        ("efficacy", "after the edit", "target", 0.18),
    ):
        x = dodge("layer", side, range=chart.x_range)
        chart.vbar(x=x, top=name, width=0.32, source=source, color=INK[ink], legend_label=words)
    return _legend(chart)


def _figure(**options: Any) -> Figure:
    from bokeh.plotting import figure

    chart = figure(**SIZE, tools="pan,wheel_zoom,hover,reset,save", toolbar_location="right", **options)
    chart.toolbar.logo = None
    return chart


def _line(chart: Figure, x: Any, y: Any, ink: str, name: str, dash: str = "solid", **options: Any) -> None:
    chart.line(np.asarray(x), np.asarray(y), color=INK[ink], line_width=2, line_dash=dash, legend_label=name, **options)


def _legend(chart: Figure) -> Figure:
    """The legend beside the lines, not over them."""
    legend = chart.legend[0]
    chart.add_layout(legend, "below")
    legend.ncols, legend.border_line_color = 2, None
    return chart

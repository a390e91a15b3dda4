"""Pictures of results, drawn without a browser: for saved notebooks, model cards and papers; and Bokeh charts of averages and of finished edits.

Each `draw_...` gives a `Drawing`, whose `image()` is pixels and whose `svg()` is text.
"""

from .annotation import draw_annotation
from .averages import draw_averages, draw_beside, draw_layers
from .averages_chart import averages_figure
from .edit import draw_edit
from .edit_charts import lambda_figure, layer_figure, loss_figure
from .experiments import draw_edit_layers, draw_edit_methods, draw_failures, draw_places, draw_positions, draw_words
from .explorer import draw_explorer
from .heatmap import draw_heatmap, draw_trace
from .lens import draw_lens
from .lines import Line, Mean, draw_lines, draw_means
from .patches import draw_patches
from .pen import Drawing, joined, stacked
from .trials import draw_trials

__all__ = [
    "Drawing",
    "Line",
    "Mean",
    "averages_figure",
    "draw_annotation",
    "draw_averages",
    "draw_beside",
    "draw_edit",
    "draw_edit_layers",
    "draw_edit_methods",
    "draw_explorer",
    "draw_failures",
    "draw_heatmap",
    "draw_layers",
    "draw_lens",
    "draw_lines",
    "draw_means",
    "draw_patches",
    "draw_places",
    "draw_positions",
    "draw_trace",
    "draw_trials",
    "draw_words",
    "joined",
    "lambda_figure",
    "layer_figure",
    "loss_figure",
    "stacked",
]

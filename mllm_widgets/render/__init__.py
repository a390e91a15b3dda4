"""Pictures of results, drawn without a browser: for saved notebooks, model cards and papers; and Bokeh charts of finished edits."""

from .edit import edit_picture
from .edit_charts import lambda_figure, layer_figure, loss_figure
from .explorer import explorer_picture
from .heatmap import heatmap_picture, trace_picture
from .patches import patch_picture

__all__ = [
    "edit_picture",
    "explorer_picture",
    "heatmap_picture",
    "lambda_figure",
    "layer_figure",
    "loss_figure",
    "patch_picture",
    "trace_picture",
]

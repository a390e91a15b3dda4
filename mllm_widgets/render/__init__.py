"""Pictures of results, drawn without a browser: for saved notebooks, model cards and papers."""

from .explorer import explorer_picture
from .heatmap import heatmap_picture, trace_picture
from .patches import patch_picture

__all__ = ["explorer_picture", "heatmap_picture", "patch_picture", "trace_picture"]

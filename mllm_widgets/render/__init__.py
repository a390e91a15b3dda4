"""Pictures of results, drawn without a browser: for saved notebooks, model cards and papers."""

from .heatmap import heatmap_picture, trace_picture
from .patches import patch_picture

__all__ = ["heatmap_picture", "patch_picture", "trace_picture"]

"""What the user touches: anywidget components that are views of results and steer the running kernel."""

from .edit_panel import EditPanel
from .explorer import Explorer
from .patch_grid import PatchGrid
from .trace_heatmap import TraceHeatmap

__all__ = ["EditPanel", "Explorer", "PatchGrid", "TraceHeatmap"]

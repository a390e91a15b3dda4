"""What the user touches: anywidget components that are views of results and steer the running kernel."""

from .trace_heatmap import TraceHeatmap

__all__ = ["TraceHeatmap"]

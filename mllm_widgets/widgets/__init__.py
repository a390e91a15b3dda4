"""What the user touches: anywidget components that are views of results and steer the running kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mllm_widgets.lazily import lazily

if TYPE_CHECKING:
    from .annotator import ConstraintAnnotator
    from .edit_panel import EditPanel
    from .explorer import Explorer
    from .patch_grid import PatchGrid
    from .trace_heatmap import TraceHeatmap

__getattr__ = lazily(
    __name__,
    {
        "ConstraintAnnotator": "annotator",
        "EditPanel": "edit_panel",
        "Explorer": "explorer",
        "PatchGrid": "patch_grid",
        "TraceHeatmap": "trace_heatmap",
    },
)

__all__ = [
    "ConstraintAnnotator",
    "EditPanel",
    "Explorer",
    "PatchGrid",
    "TraceHeatmap",
]

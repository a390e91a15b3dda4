"""The traits of a trace's map, in step with js/src/heatmap/state.ts, and the pinned cell, which two of its names tell of."""

from __future__ import annotations

from typing import Any

import traitlets

from mllm_widgets.errors import WidgetError

from . import wire
from .base import WholeNumber, Widget, bundle


class TraceTraits(Widget):
    """What travels between a map and its front end.

    Notes
    -----
    tests/test_trace_heatmap.py compares them with the front end's.  Those that the front end writes, too, are told of in `TraceHeatmap`.
    Written by the kernel: `values` (module, layer, token) float32, scores of restored runs, NaN where nothing is known yet; `fresh`, the same shape, 1
    where a cell belongs to `computing`, the window being computed (0: none); `shown`, the window of a complete map; `maps`, the maps that the
    slider reads without the kernel (`trace_maps`); `state` "idle", "waiting" (the model is in use), "running", "stopped" or "error" with its `message`.
    """

    _modules: tuple[str, ...]  # that the trace has

    _esm = bundle("trace_heatmap.js")
    _css = bundle("trace_heatmap.css")

    version = traitlets.Int(wire.VERSION).tag(sync=True)
    question = traitlets.Unicode("").tag(sync=True)
    span = traitlets.List([]).tag(sync=True)
    answer = traitlets.Unicode("").tag(sync=True)
    measure = traitlets.Unicode("P").tag(sync=True)
    corruption = traitlets.Unicode("").tag(sync=True)
    swapped = traitlets.Bool(True).tag(sync=True)
    warnings = traitlets.List([]).tag(sync=True)
    clean = traitlets.Float(0.0).tag(sync=True)
    corrupted = traitlets.Float(0.0).tag(sync=True)
    modules = traitlets.List([]).tag(sync=True)
    layers = traitlets.Int(0).tag(sync=True)
    rows = traitlets.List([]).tag(sync=True)
    colors = traitlets.Dict({}).tag(sync=True)
    limit = traitlets.Float(1.0).tag(sync=True)
    values = traitlets.Dict({}).tag(sync=True)
    fresh = traitlets.Dict({}).tag(sync=True)
    shown = traitlets.Int(0).tag(sync=True)
    computing = traitlets.Int(0).tag(sync=True)
    state = traitlets.Unicode("idle").tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    maps = traitlets.Dict({}).tag(sync=True)
    progress = traitlets.Float(0.0).tag(sync=True)
    seconds = traitlets.Float(0.0).tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)
    # Written by the front end.  Their echoes stay on: the front end ignores what the kernel says of a trait until its own change came back, so
    # a slow answer never drags the slider away from under the hand.
    window = WholeNumber(1).tag(sync=True)
    module = traitlets.Unicode("").tag(sync=True)
    selected = traitlets.List([]).tag(sync=True)
    token = WholeNumber(-1).tag(sync=True)
    layer = WholeNumber(0).tag(sync=True)
    cancel = traitlets.Int(0).tag(sync=True)

    @traitlets.validate("module")
    def _valid_module(self, proposal: Any) -> str:
        if proposal["value"] not in self._modules:
            raise WidgetError(f"module={proposal['value']!r} is not in this trace; it has {self._modules}.")
        return proposal["value"]

    @traitlets.validate("layer")
    def _valid_layer(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] < self.layers:
            raise WidgetError(
                f"layer={proposal['value']!r} is not in this map; it has layers 0 to {self.layers - 1}, counted from 0."
            )
        return proposal["value"]

    @traitlets.validate("token")
    def _valid_token(self, proposal: Any) -> int:
        position = proposal["value"]
        if position != -1 and self._row(position) is None:
            raise WidgetError(f"token={position!r} is no position in this prompt; expected one of its tokens, or -1.")
        return position

    def _row(self, position: int) -> int | None:
        """The row of the map that a position stands in."""
        spans = ((row["position"], row["position"] + row["count"]) for row in self.rows)
        return next((index for index, (start, end) in enumerate(spans) if start <= position < end), None)

    @traitlets.observe("selected", "token", "layer")
    def _cell_changed(self, change: Any) -> None:
        if not self.rows:  # while it is being made
            return
        if change["name"] == "selected":
            row, layer = change["new"] or (None, self.layer)
            with self.hold_trait_notifications():
                self.layer = layer
                if row is None or row != self._row(self.token):
                    self.token = -1 if row is None else self.rows[row]["position"]
        else:
            row = None if self.token == -1 else self._row(self.token)
            self.selected = [] if row is None else [row, self.layer]

"""The traits of an edit panel, in step with js/src/edit/state.ts."""

from __future__ import annotations

from typing import Any

import traitlets

from mllm_widgets.errors import WidgetError
from mllm_widgets.widgets import wire
from mllm_widgets.widgets.base import WholeNumber, Widget, bundle


class EditTraits(Widget):
    """What travels between an edit panel and its front end.

    Notes
    -----
    Written by the front end: `current` (the edit looked at, 0 for none), `layer` (picked), `lam_of` (edit -> place on its axis of lambdas).  All others by the kernel;
    what they hold is written in js/src/edit/state.ts, and `plain` makes it.
    """

    _esm = bundle("edit_panel.js")
    _css = bundle("edit_panel.css")

    version = traitlets.Int(wire.VERSION).tag(sync=True)
    question = traitlets.Unicode("").tag(sync=True)
    span = traitlets.List([]).tag(sync=True)
    image = traitlets.Bytes(b"").tag(sync=True)
    probes = traitlets.List([]).tag(sync=True)
    layers = traitlets.Int(0).tag(sync=True)
    effects = traitlets.List([]).tag(sync=True)
    token = traitlets.Unicode("").tag(sync=True)
    causal = traitlets.Int(-1).tag(sync=True)
    trace_note = traitlets.Unicode("").tag(sync=True)
    colors = traitlets.Dict({}).tag(sync=True)
    limit = traitlets.Float(1.0).tag(sync=True)
    bars = traitlets.Dict({}).tag(sync=True)
    curve = traitlets.Dict({}).tag(sync=True)
    rows = traitlets.List([]).tag(sync=True)
    together = traitlets.List([]).tag(sync=True)
    results = traitlets.Dict({}).tag(sync=True)
    current = WholeNumber(0).tag(sync=True)
    lam_of = traitlets.Dict({}).tag(sync=True)
    target = traitlets.Unicode("").tag(sync=True)
    layer = WholeNumber(0).tag(sync=True)
    edited = traitlets.Bool(False).tag(sync=True)
    truth = traitlets.Unicode("").tag(sync=True)
    foreign = traitlets.Unicode("").tag(sync=True)
    state = traitlets.Unicode("idle").tag(sync=True)
    doing = traitlets.Unicode("").tag(sync=True)
    progress = traitlets.Float(-1.0).tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    saved = traitlets.Unicode("").tag(sync=True)
    name = traitlets.Unicode("").tag(sync=True)
    can_undo = traitlets.Bool(False).tag(sync=True)
    can_redo = traitlets.Bool(False).tag(sync=True)
    head = traitlets.Unicode("").tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
    received = traitlets.Int(0).tag(sync=True)

    @traitlets.validate("layer")
    def _valid_layer(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] < max(1, self.layers):
            raise WidgetError(f"layer={proposal['value']!r} is not in this model; it has 0 to {self.layers - 1}.")
        return proposal["value"]

    @traitlets.validate("current")
    def _valid_current(self, proposal: Any) -> int:
        numbers = [row["id"] for row in self.rows]
        if proposal["value"] and proposal["value"] not in numbers:
            raise WidgetError(f"current={proposal['value']!r} is no edit of this panel; it has {numbers}.")
        return proposal["value"]

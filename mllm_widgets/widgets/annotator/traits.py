"""The traits of an annotator, in step with js/src/annotator/state.ts."""

from __future__ import annotations

import traitlets

from mllm_widgets.widgets import wire
from mllm_widgets.widgets.base import Widget, bundle


class AnnotatorTraits(Widget):
    """What the front end of an annotator is sent; all of it is written by the kernel.

    generation: counts the questions shown; messages about an earlier one are not heard. marks, suggested: the kind of each word, "visual", "text" or "".
    answered: "", "marked" or "skipped", with the `reason`. saved: "", "saved" or "not saved", with the `error`. file: where answers are kept, its name.
    suggesting: "off", "running", "done" or "error", with a `hint` for a reader. trouble: why there is no picture. received: id of the last message heard.
    """

    _esm = bundle("annotator.js")
    _css = bundle("annotator.css")

    version = traitlets.Int(wire.VERSION).tag(sync=True)
    generation = traitlets.Int(0).tag(sync=True)
    name = traitlets.Unicode("").tag(sync=True)
    at = traitlets.Int(0).tag(sync=True)
    total = traitlets.Int(0).tag(sync=True)
    done = traitlets.Int(0).tag(sync=True)
    question = traitlets.Unicode("").tag(sync=True)
    words = traitlets.List([]).tag(sync=True)
    image = traitlets.Bytes(b"").tag(sync=True)
    trouble = traitlets.Unicode("").tag(sync=True)
    marks = traitlets.List([]).tag(sync=True)
    answered = traitlets.Unicode("").tag(sync=True)
    reason = traitlets.Unicode("").tag(sync=True)
    suggested = traitlets.List([]).tag(sync=True)
    suggesting = traitlets.Unicode("off").tag(sync=True)
    hint = traitlets.Unicode("").tag(sync=True)
    file = traitlets.Unicode("").tag(sync=True)
    saved = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    received = traitlets.Int(0).tag(sync=True)

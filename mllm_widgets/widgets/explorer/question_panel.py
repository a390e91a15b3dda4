"""The question of an Explorer: its words, its picture, its answer, and what the kernel is doing about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets

from mllm_widgets.widgets import wire
from mllm_widgets.widgets.base import Widget, bundle


class QuestionPanel(Widget):
    """What is asked, and what came of it; the Explorer fills it in and hears what the user asks for.

    Parameters
    ----------
    heard: called on each message of the front end with its content and its buffers.
    lock: that of the widgets steered together.

    Notes
    -----
    Traits are written by the kernel, in step with js/src/explorer/state.ts.  The front end sends messages, each with a growing `id`, which comes back in
    `received`: {"kind": "ask", "text"}, {"kind": "constraint", "question", "start", "end"} (characters of it), {"kind": "picture", "name"} with the file as its
    buffer, {"kind": "undo"}, {"kind": "redo"}, {"kind": "trace", "patches"}, {"kind": "block", "patches"}, {"kind": "forget", "trial"}, {"kind": "tab", "tab"},
    {"kind": "cancel"}.  `tab`: "look" or "edit"; the front end writes it, too, once both stand there (`editing`). `editable`: has the question a constraint, at which it can be edited?
    `edited`: what edits the model has that the views are of; empty for the original one.
    """

    _esm = bundle("question_panel.js")
    _css = bundle("question_panel.css")

    version = traitlets.Int(wire.VERSION).tag(sync=True)
    generation = traitlets.Int(0).tag(sync=True)
    question = traitlets.Unicode("").tag(sync=True)
    span = traitlets.List([]).tag(sync=True)
    words = traitlets.List([]).tag(sync=True)
    pictured = traitlets.Bool(False).tag(sync=True)
    image = traitlets.Bytes(b"").tag(sync=True)
    answer = traitlets.Unicode("").tag(sync=True)
    top = traitlets.List([]).tag(sync=True)
    notes = traitlets.List([]).tag(sync=True)
    state = traitlets.Unicode("idle").tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    can_undo = traitlets.Bool(False).tag(sync=True)
    can_redo = traitlets.Bool(False).tag(sync=True)
    tab = traitlets.Unicode("look").tag(sync=True)
    editable = traitlets.Bool(False).tag(sync=True)
    editing = traitlets.Bool(False).tag(sync=True)
    edited = traitlets.Unicode("").tag(sync=True)
    takes_pictures = traitlets.Bool(True).tag(sync=True)
    head = traitlets.Unicode("").tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
    received = traitlets.Int(0).tag(sync=True)

    def __init__(self, heard: Callable[[dict[str, Any], list[Any]], None], *, lock: Any, **traits: Any) -> None:
        super().__init__(lock=lock, **traits)
        self.on_msg(lambda _widget, content, buffers: heard(content, buffers))

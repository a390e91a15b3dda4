"""What was on show, step by step: what undo goes back to, and redo forward again."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from .view import View

MERGE = 1.0  # seconds: moves of one control that follow each other faster are one step to undo


class History:
    """What was on show, and what undo took back."""

    def __init__(self, view: View, clock: Any = time.monotonic) -> None:
        self._past: list[View] = []
        self._future: list[View] = []
        self.view = view
        self._clock = clock
        self._kind, self._when = "", float("-inf")

    def push(self, view: View, kind: str) -> None:
        """Show `view`; one step to undo with what came before if that was of the same kind and only just, unless `kind` is empty."""
        now = self._clock()
        if not (kind and kind == self._kind and now - self._when < MERGE):
            self._past.append(self.view)
        self._future.clear()
        self.view, self._kind, self._when = view, kind, now

    def amend(self, layer: int) -> None:
        """Show another layer, of all steps of this question that were at the same one: nobody asked for it, so nobody undoes it."""
        now = self.view

        def amended(view: View) -> View:
            same = view.question is now.question and view.layer == now.layer
            return replace(view, layer=layer) if same else view

        self._past, self._future = ([amended(view) for view in views] for views in (self._past, self._future))
        self.view = amended(now)

    @property
    def can_undo(self) -> bool:
        """Is there a step to take back?"""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Was a step taken back, and none taken since?"""
        return bool(self._future)

    def step(self, back: bool) -> View | None:
        """The view one step back, or forward again; None at the end."""
        source, target = (self._past, self._future) if back else (self._future, self._past)
        if not source:
            return None
        target.append(self.view)
        self.view, self._kind = source.pop(), ""
        return self.view

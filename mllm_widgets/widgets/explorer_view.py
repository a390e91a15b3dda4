"""What an Explorer shows, as one value: it is what undo goes back to, what is computed, and what the copied code reproduces."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from mllm_widgets.vlm.question import Question

MERGE = 1.0  # seconds: moves of one control that follow each other faster are one step to undo


@dataclass(frozen=True)
class Trial:
    """A question about patches that a cause answers.

    kind: "trace" (corrupt the picture, restore these patches) or "block" (keep the target from looking at them).
    patches: indices among the visual tokens, ascending.
    targets: what is blocked from looking at them, positions in the sequence; empty for a trace.
    window: layers restored, or blocked, together.
    """

    kind: str
    patches: tuple[int, ...]
    window: int
    targets: tuple[int, ...] = ()


@dataclass(frozen=True)
class View:
    """What is asked, and what is looked at.

    token: position whose row of the map, contributions and words are on show; -1 for none. layer: at which layer.
    patches: the selected visual tokens. trials: what was asked about patches, oldest first.
    """

    question: Question
    window: int = 1
    token: int = -1
    layer: int = 0
    patches: tuple[int, ...] = ()
    trials: tuple[Trial, ...] = ()

    def asking(self, question: Question) -> View:
        """The same about another question, to which neither the selection nor the trials apply."""
        return replace(self, question=question, token=-1, patches=(), trials=())


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

    def amend(self, view: View) -> None:
        """Show `view` as part of the step taken last: nobody asked for it, so nobody undoes it."""
        self.view = view

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

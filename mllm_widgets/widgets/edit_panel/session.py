"""What a panel shows and applies, step by step: under its lock, whichever thread calls."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from mllm_widgets.errors import MllmWidgetsError, WidgetError
from mllm_widgets.widgets.explorer.history import History

from .applied import Applied, Seen
from .view import View

if TYPE_CHECKING:
    from mllm_widgets.editing import Edit
    from mllm_widgets.vlm.model import VLM

SEARCHING = "a value is being searched with the original model; wait for it, or cancel it first."

# Panels of one model: what one of them applies is told by the others, too.
_SESSIONS: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Session]] = weakref.WeakKeyDictionary()


class Session:
    """The edits of a panel, and which of them the model has.

    Parameters
    ----------
    lock: the panel's.
    changed: called under the lock when what is shown, or the model, has changed.
    """

    def __init__(self, vlm: VLM, lock: Any, changed: Callable[[], None]) -> None:
        self.lock, self._changed = lock, changed
        self.made: dict[int, Edit] = {}
        self._model = Applied(vlm, self.made)
        self._history: Any = History(cast("Any", View()))
        self._aside = False  # is the model without the panel's edits for a while?
        self._closed = False
        self._others = _SESSIONS.setdefault(vlm.model, weakref.WeakSet())
        self._others.add(self)
        self._model.look()

    @property
    def view(self) -> View:
        """What is shown, and what the model has unless a value is being searched."""
        return self._history.view

    @property
    def seen(self) -> Seen:
        """What the model was when it was looked at last."""
        return self._model.seen

    @property
    def together(self) -> tuple[tuple[int, float], ...]:
        """The edits that apply, each with its lambda, if there are several."""
        seen = self.seen
        return tuple((number, seen.lams[number]) for number in seen.edits) if len(seen.edits) > 1 else ()

    @property
    def can_undo(self) -> bool:
        """Is there a step to take back?"""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Was a step taken back, and none taken since?"""
        return self._history.can_redo

    def number(self, edit: Any) -> int:
        """The number of an edit in the list.

        Raises WidgetError for what is not in it.
        """
        for number in self.view.edits:
            if edit is self.made[number] or (type(edit) is int and edit == number):
                return number
        raise WidgetError(f"edit={edit!r} is not in this panel; its edits are in panel.edits.")

    def add(self, edit: Edit) -> int:
        """Put a new edit into the list and apply it in the place of the others.

        Raises WidgetError while somebody runs the model; nothing has changed then.
        """
        with self.lock:
            number = max(self.made, default=0) + 1
            self.made[number] = edit
            try:
                self.change(self.view.adding(number, edit.lam), "")
            except BaseException:
                del self.made[number]
                raise
            return number

    def change(self, view: View, kind: str) -> None:
        """Show another view and make the model what it says.

        Raises WidgetError, EditError if that cannot be; nothing has changed then.
        """
        with self.lock:
            if self._aside and kind != "lam":
                raise WidgetError(SEARCHING)
            if view == self.view:
                return
            self._put(view)
            self._history.push(view, kind)
            self._told()

    def hold(self, lams: dict[int, float]) -> None:
        """Other lambdas; several moves of the slider are one step to undo.

        Raises WidgetError, EditError if the model cannot follow; nothing has changed then.
        """
        with self.lock:
            inside = [number for number in lams if number in self.seen.baked]
            if inside:
                raise WidgetError(f"“{self.made[inside[0]].target}” is in the weights; unbake it to move its lambda.")
            self.change(self.view.holding(lams), "lam")

    def look_at(self, number: int) -> None:
        """Show another edit's numbers; no step to undo."""
        with self.lock:
            self._history.view = replace(self.view, current=number)
            self._changed()

    def step(self, back: bool) -> None:
        """Take back what was done last, or do it again; nothing happens where there is nothing.

        Raises WidgetError, EditError if the model cannot follow; nothing has changed then.
        """
        with self.lock:
            if self._aside:
                raise WidgetError(SEARCHING)
            view = self._history.step(back)
            if view is None:
                return
            try:
                self._put(view)
            except MllmWidgetsError:
                self._history.step(not back)
                raise
            self._told()

    def bake(self, edit: Any) -> tuple[str, ...]:
        """Write an edit into the weights, in the place of the hook beside them.

        Raises WidgetError while somebody runs the model, EditError where it cannot be written.
        """
        with self.lock:
            if self._aside:
                raise WidgetError(SEARCHING)
            told = self._model.bake(self.number(edit))
            self._adopt()
            self._told()
            return told

    def unbake(self, *edits: Any) -> None:
        """Take edits out of the weights; they stay applied beside them.

        Raises WidgetError while somebody runs the model, EditError if they are not in the weights.
        """
        with self.lock:
            if edits:
                self._model.unbake(tuple(self.number(edit) for edit in edits))
                self._put(self.view)
                self._told()

    def look(self) -> None:
        """See whether somebody changed the model, and show it as it is; while somebody runs it, that is seen later."""
        with self.lock:
            if not self._closed and self._model.look():
                self._adopt()
                self._changed()

    def set_aside(self) -> None:
        """Take the panel's edits off the model until `put_back`.

        Raises WidgetError while somebody runs the model.
        """
        with self.lock:
            self._model.put(self.view.applying(()))
            self._aside = True
            self._told()

    def put_back(self) -> None:
        """What the view says applies again."""
        while not self._put_back():
            pass

    def close(self) -> None:
        """The model without the panel's edits, for good; what is being searched does not put them back."""
        with self.lock:
            self._closed = True
        self._others.discard(self)
        self._model.take_all()
        self._tell_others()

    def _put_back(self) -> bool:
        """The model as the view says, after a search; False while a cell runs it: that may take long, and the lock is free in between."""
        with self.lock:
            if self._closed:
                return True
            try:
                self._model.put(self.view)
            except WidgetError:
                return False
            self._aside = False
            self._told()
            return True

    def _put(self, view: View) -> None:
        # lambdas may move while nothing of ours applies
        self._model.put(view.applying(()) if self._aside else view)

    def _adopt(self) -> None:
        """Take over what was done to the panel's edits outside of it, as one step."""
        if self._aside:
            return
        view, seen = self.view, self.seen
        now = view.holding({number: seen.lams[number] for number in view.edits})
        applied = tuple(n for n in view.edits if n in (*seen.edits, *seen.baked))
        if applied != view.applied:
            now = now.applying(applied)
        if now != view:
            self._history.push(now, "")

    def _told(self) -> None:
        self._changed()
        self._tell_others()

    def _tell_others(self) -> None:
        """Other panels look on threads of their own: each has a lock, and waits for nobody's but the model's."""
        for other in list(self._others):
            if other is not self:
                threading.Thread(target=other.look, daemon=True).start()

"""The model as a panel holds it: which of its edits apply, and what others did to it.

Sweeps apply edits for the length of a pass, under the model's lock, so what applies is read under that lock only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mllm_widgets.errors import WidgetError

from .view import View

if TYPE_CHECKING:
    from mllm_widgets.editing import Edit
    from mllm_widgets.vlm.model import VLM

PATIENCE = 1.0  # seconds to wait for whoever runs the model: a handler must come back
IN_USE = "the model is in use by a cell or a computation, so nothing was changed; try again when that is done."


@dataclass(frozen=True)
class Seen:
    """What the model was when it was looked at last.

    edits: numbers of the panel's edits that apply. baked: of those in the weights. lams: of all that it made.
    foreign, foreign_baked: how many edits apply, or are in the weights, that are none of the panel's.
    """

    edits: tuple[int, ...] = ()
    baked: tuple[int, ...] = ()
    lams: dict[int, float] = field(default_factory=dict)
    foreign: int = 0
    foreign_baked: tuple[int, ...] = ()


class Applied:
    """Brings the model to what a view says, and says what it is.

    made: the panel's edits by number; kept by its owner. seen: the model when it was looked at last.
    """

    def __init__(self, vlm: VLM, made: dict[int, Edit]) -> None:
        self._vlm, self._made = vlm, made
        self.seen = Seen()

    def look(self) -> bool:
        """See what the model is; False while somebody runs it."""
        try:
            with self._held():
                self._look()
        except WidgetError:
            return False
        return True

    def put(self, view: View) -> None:
        """Make the model what a view says.

        Raises
        ------
        WidgetError: if somebody runs the model meanwhile.
        EditError: if its edits cannot apply together.  In both cases the model is as it was.
        """
        with self._held():
            self._look()
            before = view.holding(self.seen.lams).applying(self.seen.edits)
            try:
                self._put(view)
            except BaseException:
                self._put(before)
                raise
            finally:
                self._look()

    def bake(self, number: int) -> tuple[str, ...]:
        """Write an edit into the weights.  Raises WidgetError if somebody runs the model, EditError where it cannot be written."""
        with self._held():
            told = self._made[number].bake()
            self._look()
            return told

    def unbake(self, numbers: tuple[int, ...]) -> None:
        """Take edits out of the weights.  Raises WidgetError if somebody runs the model, EditError if they are not in them."""
        with self._held():
            for number in reversed(numbers):
                self._made[number].unbake()
            self._look()

    def take_all(self) -> None:
        """Take all edits of the panel off the model, also out of its weights; waits for whoever runs it."""
        with self._vlm.lock:
            self._look()
            for number in reversed(self.seen.baked):
                self._made[number].unbake()
            self._vlm.side_terms.take([term for edit in self._made.values() for term in edit.terms])
            self._look()

    def _look(self) -> None:
        terms = self._vlm.side_terms
        own = {term: number for number, edit in self._made.items() for term in edit.terms}
        serials = {term.serial: number for term, number in own.items()}
        self.seen = Seen(
            edits=tuple(number for term, number in own.items() if term in terms.active),
            baked=tuple(serials[serial] for serial in terms.baked if serial in serials),
            lams={number: edit.lam for number, edit in self._made.items()},
            foreign=sum(term not in own for term in terms.active),
            foreign_baked=tuple(serial for serial in terms.baked if serial not in serials),
        )

    def _put(self, view: View) -> None:
        inside = self.seen.baked
        terms = self._vlm.side_terms
        terms.take([t for n, edit in self._made.items() if n not in view.applied for t in edit.terms])
        for number, lam in view.lams.items():
            edit = self._made[number]
            if number not in inside and edit.lam != lam:
                edit.lam = lam
        terms.put([t for n in view.applied if n not in inside for t in self._made[n].terms])

    @contextmanager
    def _held(self) -> Iterator[None]:
        if not self._vlm.lock.acquire(timeout=PATIENCE):
            raise WidgetError(IN_USE)
        try:
            yield
        finally:
            self._vlm.lock.release()

"""How an edit panel tells its front end what is known, and hears where its sliders are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets

from mllm_widgets.errors import EditError, WidgetError
from mllm_widgets.provenance import Provenance

from . import plain
from .code import edits_code
from .probes import Probe
from .session import Session
from .traits import EditTraits
from .work import Request, Work


class Telling(EditTraits):
    """The traits of an edit panel, kept as its session and its worker are."""

    _watched: Sequence[Probe]
    _made: Provenance  # of the unedited model
    _session: Session
    _work: Work
    _telling: bool  # while traits are set from here, which nobody moved
    _layer_chosen: bool
    _told_answers: list[Any] | None
    _plain: dict[int, tuple[Any, dict[str, Any]]]  # edit -> what is known of it, and the same as the front end gets it

    def _submit(self, request: Request) -> None:
        with self._traits_lock:
            work = self._work
            # what runs goes on, unless it asks with edits that do not apply any more
            idle = not work.busy or work.doing == "together"
            if request.kind != "look" or (work.lacks_something and idle):
                work.submit(request)

    def _found(self, doing: str) -> None:
        """The worker found something."""
        self._tell(doing=doing)

    def _tell(self, **traits: Any) -> None:
        """Tell the front end what is known, what is shown and what the model is."""
        from mllm_widgets.editing.evaluate import facts_of

        session, work = self._session, self._work
        view, edits, seen = session.view, session.made, session.seen
        where = work.where
        if work.answers is not self._told_answers and len(work.answers) == len(self._watched):
            self._told_answers = work.answers
            traits["probes"] = [plain.probe(*pair) for pair in zip(self._watched, work.answers, strict=True)]
        if where is not None and where.causal >= 0 and not self._layer_chosen:
            self._layer_chosen = True
            traits["layer"] = where.causal
        if where is not None:
            traits |= {"effects": [*where.effects], "causal": where.causal, "token": where.token, "limit": where.limit}
            traits["trace_note"] = where.note
        self._telling = True
        try:
            self.publish(
                **traits,
                bars=plain.bars(work.bars),
                curve=plain.curve(work.curve),
                rows=plain.rows(view, edits, seen),
                results={str(number): self._result(number) for number in view.edits},
                together=plain.together(self._together),
                current=view.current,
                provenance=Provenance(self._made, edits=[str(facts_of(edits[number])) for number in view.edits]),
                lam_of=self._places(),
                edited=bool(seen.edits or seen.baked),
                truth=plain.truth(edits, seen),
                foreign=plain.foreign(seen),
                name=f"{_slug(edits[view.current].target)}-layer{edits[view.current].layer}" if view.current else "",
                can_undo=session.can_undo,
                can_redo=session.can_redo,
                code=edits_code(view, edits),
            )
        finally:
            self._telling = False

    def _result(self, number: int) -> dict[str, Any]:
        """What the front end gets of an edit; made once for what is known."""
        measured = self._work.measured.get(number)
        known = self._plain.get(number)
        if known is None or known[0] is not measured:
            known = (measured, plain.result(self._session.made[number], measured))
            self._plain[number] = known
        return known[1]

    @property
    def _together(self) -> list[Any]:
        """The answers with all that applies, where several edits do and that is known."""
        together, answers = self._work.together
        return answers if self._session.together == together else []

    def _places(self) -> dict[str, int]:
        """Where the slider of each edit stands."""
        measured = self._work.measured
        return {
            str(number): plain.nearest(measured[number].lams, lam)
            for number, lam in self._session.view.lams.items()
            if number in measured
        }

    @traitlets.observe("lam_of")
    def _lam_moved(self, change: Any) -> None:
        if self._telling:
            return
        session, measured = self._session, self._work.measured
        wanted = {int(number): int(place) for number, place in change["new"].items()}
        lams = {
            number: float(measured[number].lams[wanted[number]])
            for number, place in ((int(key), place) for key, place in self._places().items())
            if 0 <= wanted.get(number, place) < len(measured[number].lams) and wanted.get(number, place) != place
        }
        try:
            session.hold(lams)
            self._submit(Request("look"))
        except (WidgetError, EditError) as error:
            self._tell(error=str(error))

    @traitlets.observe("current")
    def _looked_at(self, change: Any) -> None:
        if not self._telling and change["new"] in self._session.view.edits:
            self._session.look_at(change["new"])

    @traitlets.observe("layer")
    def _picked(self, _change: Any) -> None:
        if not self._telling:
            self._layer_chosen = True


def _slug(text: str) -> str:
    """A text as a file's name."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split()) or "edit"

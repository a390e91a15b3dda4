"""The work of an edit panel, on one thread: it learns what the model says, searches values, sweeps layers, and measures what edits do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import EditError, MllmWidgetsError, WidgetError
from mllm_widgets.jobs import CancelToken, Latest

from .baseline import Where, answers, trace_layers
from .measure import Measured, chosen, measure
from .probes import Probe
from .session import Session

if TYPE_CHECKING:
    from mllm_widgets.editing import Edit, Step
    from mllm_widgets.results import Answer
    from mllm_widgets.vlm.model import VLM

PUBLISH_EVERY = 0.05  # seconds between two pictures of a running search
SAME = ": the model is as it was"
UNTRIED = "the next thing you do tries it again"


@dataclass(frozen=True)
class Request:
    """What the thread should do: "look" (learn and measure what is missing), "try" (at a layer, None: the causal one) or "sweep"."""

    kind: str
    target: str = ""
    layer: int | None = None


@dataclass(frozen=True)
class Bars:
    """A layer sweep as far as it went: what each layer reached, and P(target) after the edit there."""

    target: str
    layers: tuple[int, ...] = ()
    reached: tuple[float, ...] = ()
    efficacy: tuple[float, ...] = ()

    def adding(self, layer: int, reached: float, efficacy: float) -> Bars:
        """With one more layer."""
        return Bars(self.target, (*self.layers, layer), (*self.reached, reached), (*self.efficacy, efficacy))


@dataclass(frozen=True)
class Curve:
    """A search as far as it went."""

    target: str
    layer: int
    steps: int
    losses: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    def adding(self, step: Step) -> Curve:
        """With one more step."""
        return Curve(
            self.target, self.layer, step.steps, (*self.losses, step.loss), (*self.probabilities, step.probability)
        )


class Work:
    """Finds out what a panel lacks; its findings are `where`, `answers`, `curve`, `bars`, `measured` (edit by edit) and `together` (several edits, their answers).

    Parameters
    ----------
    probes: what is watched, the question itself first.
    lam: of new edits. options: of the search, as in `multedit`.
    found: called with what is being done ("ask", "value", "layers", "effects" or "") whenever one of the findings has changed.
    said: called with traits of the panel: `state`, `message`, `error`, `progress`.
    """

    def __init__(
        self,
        vlm: VLM,
        probes: tuple[Probe, ...],
        session: Session,
        lam: float,
        options: dict[str, Any],
        *,
        found: Callable[[str], None],
        said: Callable[..., None],
    ) -> None:
        self._vlm, self._probes, self._session, self._lam, self._options = vlm, probes, session, lam, options
        self._found, self._said = found, said
        self._jobs: Latest[Request] = Latest(self._work, failed=self._failed, stopped=self._stopped, settle=0.0)
        self.where: Where | None = None
        self.answers: list[Answer] = []
        self.curve: Curve | None = None
        self.bars: Bars | None = None
        self.measured: dict[int, Measured] = {}
        self.together: tuple[Any, list[Answer]] = ((), [])
        self.doing = ""
        self._swept: dict[tuple[str, int], Edit] = {}
        self._weights = session.seen.foreign_baked  # what others baked into the weights that all this was found with

    @property
    def lacks_something(self) -> bool:
        """Is anything unknown of the model, or of an edit in the list, that can be found out now?"""
        if self._session.seen.baked:
            return False
        known = self.answers and self.where is not None and self._weights == self._session.seen.foreign_baked
        if not known or any(number not in self.measured for number in self._session.view.edits):
            return True
        return self._session.together not in ((), self.together[0])

    def submit(self, request: Request) -> None:
        """Do something in the place of what is being done."""
        self._jobs.submit(request)

    def cancel(self) -> None:
        """Stop what is being done."""
        self._jobs.cancel()

    def close(self) -> None:
        """Stop for good."""
        self._jobs.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing is being done; False if that took longer than `timeout` seconds."""
        return self._jobs.wait(timeout)

    @property
    def busy(self) -> bool:
        """True while something is being done."""
        return self._jobs.busy

    # --- on the thread ----------------------------------------------------------------------------------------------------

    def _work(self, request: Request, token: CancelToken) -> None:
        if self._session.seen.baked:
            if request.kind == "look":
                return
            raise EditError("an edit of this panel is in the weights; unbake it before you make another one.")
        self._learn(token)
        if request.kind == "try":
            self._try(request, token)
        elif request.kind == "sweep":
            self._sweep(request, token)
        self._measure(token)
        with self._session.lock:
            token.check()
            self._said(state="idle", message="", progress=-1.0)
            self._found("")
        self._session.look()  # at what cells did meanwhile

    def _learn(self, token: CancelToken) -> None:
        """What the model says and where that is, unless that is known of these weights."""
        if self._weights != self._session.seen.foreign_baked:
            self._weights = self._session.seen.foreign_baked
            self.answers, self.where, self.bars = [], None, None
            self.measured.clear()
            self.together = ((), [])
            self._swept.clear()
        if not self.answers:
            self._doing(token, "ask", "asking the model")
            self.answers = answers(self._vlm, self._probes, token)
            self._show(token, "ask")
        if self.where is None:
            self._doing(token, "ask", "tracing the question, to see where its answer is")
            self.where = trace_layers(self._vlm, self._probes[0].question, token)
            self._show(token, "ask")

    def _try(self, request: Request, token: CancelToken) -> None:
        layer = request.layer
        if layer is None:
            layer = max(0, self.where.causal) if self.where is not None else 0
        edit = self._swept.pop((request.target, layer), None)
        if edit is None:
            self._doing(token, "value", f"searching what layer {layer} should give")
            edit = self._search(request.target, layer, token)
        while not self._add(edit, token):
            self._said(message="the model is in use")

    def _add(self, edit: Edit, token: CancelToken) -> bool:
        """The new edit into the list; False while somebody runs the model."""
        with self._session.lock:
            token.check()
            try:
                self._session.add(edit)
            except WidgetError:
                return False
            self.curve, self.doing = None, "effects"
            self._found("effects")
            return True

    def _search(self, target: str, layer: int, token: CancelToken) -> Edit:
        """The edit at one layer, with the search on show."""
        from mllm_widgets.editing import multedit

        self.curve = Curve(target.strip(), layer, 1)
        sent = 0.0

        def show(step: Step) -> None:
            nonlocal sent
            assert self.curve is not None
            self.curve = self.curve.adding(step)
            if time.perf_counter() - sent >= PUBLISH_EVERY:
                sent = time.perf_counter()
                self._show(token, "value", progress=step.step / step.steps)

        try:
            with self._aside(token):
                edit = multedit(
                    self._vlm, self._probes[0].question, target, layer, self._lam, progress=show, cancel=token, **self._options
                )  # fmt: skip
        except BaseException:
            self.curve = None
            raise
        if self.where is not None and layer == self.where.causal:
            edit.reason = f"layer {layer}: {self.where.note}"
        return edit

    def _sweep(self, request: Request, token: CancelToken) -> None:
        """The edit at each layer, one after the other."""
        from mllm_widgets.editing import layer_sweep

        count = len(self._vlm.layers)
        self.bars = Bars(request.target.strip())
        with self._aside(token):
            for layer in range(count):
                self._doing(token, "layers", f"layer {layer} of {count}", progress=layer / count)
                swept = layer_sweep(
                    self._vlm, self._probes[0].question, request.target, [layer], self._lam, cancel=token, **self._options
                )  # fmt: skip
                self._swept[request.target, layer] = swept.edits[layer]
                self.bars = self.bars.adding(layer, float(swept.reached[0]), float(swept.efficacy[0]))
                self._show(token, "layers")

    def _measure(self, token: CancelToken) -> None:
        """What each edit in the list does to what is watched, where that is not known."""
        for number in self._session.view.edits:
            if number not in self.measured:
                self._doing(token, "effects", "measuring the edit at 33 values of λ")
                self.measured[number] = measure(
                    self._session.made[number],
                    self._probes,
                    self.answers,
                    token,
                    lambda share: self._show(token, "effects", progress=share),
                )
                self._show(token, "effects")
        while (together := self._session.together) not in ((), self.together[0]):
            self._doing(token, "together", "asking with all applied edits")
            terms = [term for number, _ in together for term in self._session.made[number].terms]
            self.together = (together, answers(self._vlm, self._probes, token, terms))
            self._show(token, "together")

    @contextmanager
    def _aside(self, token: CancelToken) -> Iterator[None]:
        """The model without the panel's edits, once nobody runs it; what applied comes back on exit, however that comes."""
        while True:
            token.check()
            try:
                self._session.set_aside()
                break
            except WidgetError:
                self._said(message="the model is in use")
        try:
            yield
        finally:
            self._session.put_back()

    def freeze(self, lams: Any) -> None:
        """Measure every edit in the list at these lambdas (`measure.chosen`), on the caller's thread; all of them, or none if one fails."""
        found: dict[int, Measured] = {}
        for number in self._session.view.edits:
            edit, known = self._session.made[number], self.measured.get(number)
            if known is None:
                raise WidgetError(
                    f"what edit {number} does is not known yet; wait for it with panel.wait(), and unbake what is in the weights."
                )
            wanted = chosen(edit, known, lams)
            lacking = known.lacks(wanted)
            if len(lacking):
                if self._session.seen.baked:
                    raise WidgetError("an edit of this panel is in the weights; unbake it before others are measured.")
                more_of_it = "one more λ" if len(lacking) == 1 else f"{len(lacking)} more values of λ"
                self._said(state="running", message=f"measuring the edit at {more_of_it}", progress=0.0)
                more = measure(
                    edit, self._probes, self.answers, CancelToken(), lambda share: self._said(progress=share), lacking
                )
                known = known.joined(more)
            found[number] = known.at(wanted)
        with self._session.lock:
            self.measured.update(found)

    def _doing(self, token: CancelToken, doing: str, message: str, progress: float = -1.0) -> None:
        with self._session.lock:
            token.check()
            self.doing = doing
            self._said(state="running", message=message, progress=progress)
            self._found(doing)

    def _show(self, token: CancelToken, doing: str, **traits: Any) -> None:
        with self._session.lock:
            token.check()
            self._said(**traits)
            self._found(doing)

    def _failed(self, _request: Request, error: Exception) -> None:
        message = str(error)
        if not isinstance(error, MllmWidgetsError):
            reason = (message.strip() or "it gives no reason").splitlines()[0].rstrip(".")
            message = f"This could not be computed: {type(error).__name__}: {reason}. {UNTRIED.capitalize()}."
        elif not isinstance(error, EditError):
            message = f"{message[0].upper()}{message[1:]}"
        with self._session.lock:
            self._said(state="error", message="", progress=-1.0, error=message)
            self._found("")

    def _stopped(self, _request: Request) -> None:
        with self._session.lock:
            searched = self.doing in ("value", "layers")
            self._said(state="stopped", message=f"cancelled{SAME if searched else ''}", progress=-1.0)
            self._found("")

"""Everything about one question at a time, linked: its answer, its causal trace, what its words take from the picture, and what confirms it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
from PIL import Image

from mllm_widgets.errors import MllmWidgetsError, WidgetError
from mllm_widgets.jobs import CancelToken, Latest
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.spans import find_words

from .base import Pictured
from .explorer_code import question_code, view_code
from .explorer_view import History, Trial, View
from .explorer_views import Views
from .explorer_work import NO_PATCHES, Findings, compute, says
from .patch_view import picture_bytes
from .question_panel import edited, words_of

if TYPE_CHECKING:
    from mllm_widgets.contributions import Contributions
    from mllm_widgets.results import Answer, Trace
    from mllm_widgets.vlm.model import VLM

    from .lens_panel import LensPanel
    from .patch_grid import PatchGrid
    from .trace_heatmap import TraceHeatmap

KEPT = 3  # questions whose results are kept for undo: each holds keys and values on the model's device
DISPLAY_WAIT = 15.0  # seconds that displaying waits for the first results, so that a saved notebook has their picture


class Explorer(Pictured, ipywidgets.Box):
    """One question, from the picture to the answer, in linked views.

    Mark other words as the constraint, ask something else or upload another picture, and everything follows.  A click on a cell of the causal trace shows
    what its token takes from which patches at that layer; selected patches can be traced (noise on the picture, these patches restored) or blocked
    (attention knockout), so that attention is confirmed by cause.

    Parameters
    ----------
    vlm: what `mw.load()` returned.
    question: what to begin with.
    corruption: as in `causal_trace`; None chooses other words for each question.
    window: layers restored, or blocked, together at first.
    token, layer: the cell to begin with; by default the last constraint token, at the layer where the picture writes most into it.

    Raises
    ------
    WidgetError, FlowError: for arguments that are no model or no question.
    QuestionError, ConstraintError: for a question that this model cannot be asked.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> explorer = mw.Explorer(mw.load(), mw.datasets.demo_question("Eiffel Tower"))
    >>> explorer.wait(timeout=120), explorer.answer.text
    (True, 'Paris')
    >>> explorer.select(patches=[27, 28, 35, 36])
    >>> explorer.trace_patches()
    >>> explorer.wait(timeout=120), len(explorer.results)
    (True, 1)
    >>> explorer.undo()
    >>> len(explorer.results)
    0

    Notes
    -----
    Each question has a generation.  When another is asked, all views of the old one go at once and those of the new one come as they are computed, so results of
    two questions never stand side by side.  Models run on one worker thread (the newest view wins; what is known is kept); the map has its own, so that a
    click does not begin it anew.  Single views: `heatmap`, `grid`, `lens`; they are tied to `selection` and work without a kernel.
    """

    def __init__(
        self,
        vlm: VLM,
        question: Question,
        *,
        corruption: Any = None,
        window: int = 1,
        token: int | None = None,
        layer: int | None = None,
        **unknown: Any,
    ) -> None:
        from mllm_widgets.contributions.arguments import check_model

        self._jobs: Latest[View] = Latest(self._work, failed=self._failed, stopped=self._stopped)
        self._lock = threading.RLock()
        if unknown:
            raise WidgetError(
                f"Explorer does not take {', '.join(sorted(unknown))}; its arguments are in help(mw.Explorer)."
            )
        check_model(vlm, question)
        count = len(vlm.layers)
        _check("window", window, 1, count, "this model")
        _check("layer", layer, 0, count - 1, "this model")
        self._vlm, self._corruption = vlm, corruption
        self._known: list[Findings] = []
        self._layer_chosen = layer is not None
        self._generation = 0
        self._asked: View | None = None  # what was given to the worker last
        found = self._findings(question)
        _check("token", token, 0, len(found.encoded.tokens) - 1, "this prompt")
        view = View(question, int(window), found.start if token is None else int(token), int(layer or 0))
        self._history = History(view)
        super().__init__(layout=ipywidgets.Layout(display="flex", flex_flow="row wrap", width="100%"))
        self.add_class("mw-explorer")
        self._views = Views(
            self,
            self._lock,
            view,
            count,
            heard=self._heard,
            moved=self._moved,
            window_moved=self._window_moved,
            takes_pictures=vlm.family.pictures != "none",
        )
        self.panel, self.trials, self.selection = self._views.panel, self._views.trials, self._views.selection
        self._begin(view)

    # --- what a user asks for ---------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """What is asked and looked at."""
        return self._history.view

    @property
    def heatmap(self) -> TraceHeatmap | None:
        """The map of the question on show, once there is one."""
        return self._views.heatmap

    @property
    def grid(self) -> PatchGrid | None:
        """The patches of the question on show, once there are some."""
        return self._views.grid

    @property
    def lens(self) -> LensPanel | None:
        """The words of its layers, once they are read."""
        return self._views.lens

    @property
    def question(self) -> Question:
        """The question on show."""
        return self.view.question

    @property
    def generation(self) -> int:
        """Counts the questions asked so far; no view shows another generation's results."""
        return self._generation

    @property
    def answer(self) -> Answer | None:
        """The model's answer, once it is there."""
        return self._findings(self.question).answer

    @property
    def trace(self) -> Trace | None:
        """The causal trace on show, once it is complete."""
        return None if self.heatmap is None else self.heatmap.trace

    @property
    def flow(self) -> Contributions | None:
        """Attention contributions to the question's tokens, once they are there."""
        return self._findings(self.question).flow

    @property
    def results(self) -> list[dict[str, Any]]:
        """What causes said about patches, oldest first: effects (layers,) by what was restored, or "change" and "all" for what was blocked."""
        found = self._findings(self.question)
        return [found.results[trial] for trial in self.view.trials if trial in found.results]

    def ask(self, question: Question) -> None:
        """Ask something else; every view follows.

        Raises
        ------
        QuestionError, ConstraintError: for a question that this model cannot be asked; nothing changes then.
        """
        found = self._findings(question)
        with self._lock:
            view = replace(self.view.asking(question), token=found.start)
            self._history.push(view, "")
            self._begin(view)

    def select(
        self, *, token: int | None = None, layer: int | None = None, patches: Sequence[int] | None = None
    ) -> None:
        """Look at another cell, or select patches (indices among the visual tokens).

        Raises
        ------
        WidgetError: for a token, a layer or a patch that is not there.
        """
        with self._lock:
            found = self._findings(self.question)
            _check("token", token, -1, len(found.encoded.tokens) - 1, "this prompt")
            _check("layer", layer, 0, len(self._vlm.layers) - 1, "this model")
            for patch in patches or ():
                _check("patches", patch, 0, len(found.visual) - 1, "this picture")
            if token is not None:
                self.selection.token = token
            if layer is not None:
                self.selection.layer = layer
            if patches is not None:
                self.selection.patches = sorted({int(patch) for patch in patches})

    def trace_patches(self) -> None:
        """Corrupt the picture and restore the selected patches, layer by layer: a new row of results.

        Raises
        ------
        WidgetError: if no patches are selected.
        """
        self._trial("trace")

    def block_patches(self) -> None:
        """Keep the selected token from looking at the selected patches, layer by layer: a new row of results.

        Raises
        ------
        WidgetError: if no patches are selected.
        """
        self._trial("block")

    def undo(self) -> None:
        """Take back what was done last; nothing happens if nothing was."""
        self._step(back=True)

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._step(back=False)

    def code(self) -> str:
        """The calls that give what is on show, as a script."""
        return question_code(self._vlm, self.question) + self._view_code()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing is being computed; False if that took longer than `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            rest = None if end is None else max(0.0, end - time.monotonic())
            if not self._jobs.wait(rest):
                return False
            heatmap = self.heatmap
            if heatmap is not None and not heatmap.wait(rest):
                return False
            if not self._jobs.busy and heatmap is self.heatmap:
                return True

    def picture(self) -> Image.Image:
        """Question, answer and the views that are there, as one RGB picture."""
        from mllm_widgets.render import explorer_picture

        with self._lock:
            found = self._findings(self.question)
            if found.answer is None:
                raise WidgetError("there is nothing to draw yet; wait for it with explorer.wait().")
            image = self.question.image if self.grid is None else None
            return explorer_picture(
                self.question, found.answer, self._span(), self._views.pictures(), image, list(found.errors.values())
            )

    @property
    def picture_id(self) -> str:
        """How the live view finds the PNG it replaces; the question's panel hides it for all."""
        return self.panel.picture_id

    @picture_id.setter
    def picture_id(self, value: str) -> None:
        self.panel.picture_id = value

    def close(self) -> None:
        """Stop the worker and remove all views."""
        self._jobs.close()
        if not hasattr(self, "_views"):  # Python closes what never came to be, too
            return
        with self._lock:
            self._views.close()
            super().close()

    def _ipython_display_(self) -> None:
        self.wait(DISPLAY_WAIT)
        super()._ipython_display_()

    def __repr__(self) -> str:
        return f"Explorer({self._vlm.name!r}, {self.question.text!r})"

    # --- one view after the other -----------------------------------------------------------------------------------------

    def _findings(self, question: Question) -> Findings:
        """What is known about a question; raises if this model cannot be asked it."""
        with self._lock:
            for found in self._known:
                if found.question is question:
                    return found
        found = Findings(question, self._vlm.encode(question))
        if question.image is not None and not found.visual:
            found.errors["flow"] = NO_PATCHES
        with self._lock:
            self._known = [*self._known[-KEPT + 1 :], found]
        return found

    def _begin(self, view: View) -> None:
        """Show another question: the old views go before the new words stand there."""
        with self._lock:
            self._generation += 1
            self._jobs.cancel()
            self._asked = None
            self._views.clear()
            found = self._findings(view.question)
            self.selection.bounds = (len(found.encoded.tokens), len(found.visual))
            self.selection.put(token=view.token, layer=view.layer, patches=list(view.patches))
            self._tell(
                generation=self._generation,
                question=view.question.text,
                span=list(self._span()),
                words=words_of(view.question.text),
                head=question_code(self._vlm, view.question),
                image=b"" if view.question.image is None else picture_bytes(view.question.image),
                state="idle",
                message="",
                error="",
            )
            self._install(found, view)
            self._submit(view)

    def _submit(self, view: View) -> None:
        """Compute what the view lacks; what is being computed goes on, if that is all."""
        found = self._findings(view.question)
        parts, asked = found.missing(view), self._asked
        if not parts:
            return
        going_on = self._jobs.busy and asked is not None and asked.question is view.question
        if going_on and asked is not None and set(parts) <= set(found.missing(asked)):
            return
        self._asked = view
        self.panel.publish(state="running", message="")
        self._jobs.submit(view)

    def _change(self, view: View, kind: str) -> None:
        """Another view of the same question."""
        with self._lock:
            if view == self.view:
                return
            self._history.push(view, kind)
            self._show_view(view)

    def _show_view(self, view: View) -> None:
        self.selection.put(token=view.token, layer=view.layer, patches=list(view.patches))
        if self.heatmap is not None:
            self.heatmap.window = view.window
        self._install(self._findings(view.question), view)
        self._submit(view)

    def _step(self, back: bool) -> None:
        with self._lock:
            before, view = self.view, self._history.step(back)
            if view is None:
                return
            if view.question is before.question:
                self._show_view(view)
            else:
                self._begin(view)

    def _moved(self) -> None:
        """The selection was moved, in the browser or in the kernel."""
        with self._lock:
            chosen = self.selection
            view = replace(self.view, token=chosen.token, layer=chosen.layer, patches=tuple(chosen.patches))
            self._layer_chosen = self._layer_chosen or view.layer != self.view.layer
            self._change(view, "selection")

    def _window_moved(self, change: Any) -> None:
        self._change(replace(self.view, window=change["new"]), "window")

    def _trial(self, kind: str) -> None:
        with self._lock:
            view = self.view
            if not view.patches:
                raise WidgetError(
                    "no patches are selected; select some on the picture, or with explorer.select(patches=[...])."
                )
            trial = Trial(
                kind,
                view.patches,
                view.window,
                self._findings(view.question).blocked(view.token) if kind == "block" else (),
            )
            self._change(replace(view, trials=(*(one for one in view.trials if one != trial), trial)), "")

    # --- what the browser says --------------------------------------------------------------------------------------------

    def _heard(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """Do what a message asks for; what cannot be done is said in the panel."""
        with self._lock:
            self.panel.publish(error="", received=int(content.get("id", 0)))
            self.trials.publish(received=int(content.get("id", 0)))
            try:
                self._do(content, buffers)
            except MllmWidgetsError as error:
                self.panel.publish(error=str(error))

    def _do(self, content: dict[str, Any], buffers: list[Any]) -> None:
        kind = content.get("kind")
        if kind in ("ask", "constraint", "picture"):
            question = edited(self.question, content, buffers)
            if question is not None:
                self.ask(question)
        elif kind == "cancel":
            self._asked = None
            self._jobs.cancel()
        elif kind == "forget":
            trials = self.view.trials
            self._change(replace(self.view, trials=tuple(t for i, t in enumerate(trials) if i != content["trial"])), "")
        elif kind in ("trace", "block"):
            if "patches" in content:
                self.select(patches=content["patches"])
            self._trial(kind)
        elif kind in ("undo", "redo"):
            self._step(back=kind == "undo")

    # --- on the worker's thread -------------------------------------------------------------------------------------------

    def _work(self, view: View, token: CancelToken) -> None:
        found = self._findings(view.question)
        while parts := found.missing(view):
            with self._lock:
                token.check()
                self.panel.publish(state="running", message=says(parts[0]))
            compute(self._vlm, found, parts[0], self._corruption, view, token)
            with self._lock:
                token.check()
                if view.question is self.question:
                    self._install(found, self.view)
        with self._lock:
            token.check()
            self.panel.publish(state="idle", message="")

    def _failed(self, view: View, error: Exception) -> None:
        message = str(error)
        if not isinstance(error, MllmWidgetsError):
            reason = (message.strip() or "it gives no reason").splitlines()[0].rstrip(".")
            message = (
                f"This could not be computed: {type(error).__name__}: {reason}. The next thing you do tries it again."
            )
        with self._lock:
            if view.question is self.question:
                self.panel.publish(state="error", message="", error=message)

    def _stopped(self, view: View) -> None:
        with self._lock:
            if view.question is self.question:
                self.panel.publish(state="stopped", message="cancelled")

    # --- on any thread, under the lock ------------------------------------------------------------------------------------

    def _install(self, found: Findings, view: View) -> None:
        """Show what is known about the question on show."""
        if self.grid is None:
            view = self._choose_layer(found, view)
        self._views.show(found, view)
        self._tell(**self._views.answer(found))

    def _choose_layer(self, found: Findings, view: View) -> View:
        """Begin where the picture writes most into the token, unless a layer was chosen."""
        flow = found.flow
        if self._layer_chosen or flow is None or view.token not in flow.targets or not len(flow.visual):
            return view
        self._layer_chosen = True
        sums = flow.per_target.sel(target=view.token, token=flow.visual).sum("token")
        view = replace(view, layer=int(sums.layer.values[sums.values.argmax()]))
        self._history.amend(view)
        self.selection.put(layer=view.layer)
        return view

    def _tell(self, **traits: Any) -> None:
        """Tell the panel, and what follows from the view."""
        self.panel.publish(
            **traits, can_undo=self._history.can_undo, can_redo=self._history.can_redo, code=self._view_code()
        )

    def _view_code(self) -> str:
        found = self._findings(self.question)
        return view_code(self.view, self._corruption, self._views.parts, found.visual, found.sigma)

    def _span(self) -> tuple[int, ...]:
        question = self.question
        if question.constraint is None:
            return ()
        return find_words(question.text, question.constraint, question.occurrence)


def _check(name: str, value: Any, least: int, most: int, where: str) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if value is not None and not (whole and least <= value <= most):
        raise WidgetError(f"{name}={value!r} is not in {where}; expected a whole number from {least} to {most}.")

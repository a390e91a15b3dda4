"""From one view to the next: what an Explorer shows, what the user did to it, and the work that fills it, under one lock."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets

from mllm_widgets.errors import LargeStateWarning, WidgetError
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.spans import find_words, words_of
from mllm_widgets.widgets.cells import after_cells
from mllm_widgets.widgets.edit_panel.measure import check_lams
from mllm_widgets.widgets.patch_view import picture_bytes

from .arguments import check_whole
from .code import question_code, view_code
from .compute import missing_targets
from .findings import Findings
from .history import History
from .messages import hear
from .view import Trial, View
from .views import Views
from .work import Work

if TYPE_CHECKING:
    from mllm_widgets.vlm.model import VLM
    from mllm_widgets.widgets.edit_panel import EditPanel

TABS = ("look", "edit")


class Session:
    """What stands in the box of an Explorer; its methods may be called on any thread.

    Parameters
    ----------
    box: whose children the views become.
    corruption: as in `causal_trace`.
    found: what is known about the first question.
    view: what to begin with; nothing is shown before `begin` is called with it.
    layer_chosen: False to begin at the layer where the picture writes most.
    """

    def __init__(
        self, box: ipywidgets.Box, vlm: VLM, corruption: Any, found: Findings, view: View, *, layer_chosen: bool
    ) -> None:
        self.lock = threading.RLock()
        self.generation = 0
        self.vlm, self._layer_chosen = vlm, layer_chosen
        self._history = History(view)
        self._editors: list[tuple[Question, EditPanel]] = []
        self.work = Work(
            vlm, corruption, self.lock, on_found=self._found, on_stale=self._begin_again, on_state=self._state
        )
        self.work.know(found)
        self.views = Views(
            box,
            self.lock,
            view,
            len(vlm.layers),
            heard=partial(hear, self),
            moved=self._moved,
            window_moved=self._window_moved,
            turned=self._turned,
            set_to=self._set_to,
            takes_pictures=vlm.family.pictures != "none",
        )
        self._end_looking = after_cells(self._look_again)

    @property
    def view(self) -> View:
        """What is asked and looked at."""
        return self._history.view

    @property
    def findings(self) -> Findings:
        """What is known about the question on show."""
        return self.work.findings(self.view.question)

    @property
    def span(self) -> tuple[int, ...]:
        """Where the constraint stands in the question: its first and last character and one; () if there is none."""
        question = self.view.question
        if question.constraint is None:
            return ()
        return find_words(question.text, question.constraint, question.occurrence)

    def code(self) -> str:
        """The calls that give what is on show, as a script."""
        return question_code(self.vlm, self.view.question) + self._view_code()

    def close(self) -> None:
        """Stop the work, take the edits made here off the model, and remove all views."""
        self._end_looking()
        self.work.close()
        for _, editor in self._editors:
            editor.close()
        with self.lock:
            self.views.close()

    # --- what a user does -------------------------------------------------------------------------------------------------

    def ask(self, question: Question) -> None:
        """Ask something else; nothing changes if this model cannot be asked it."""
        found = self.work.findings(question)
        with self.lock:
            view = replace(self.view.asking(question), token=found.start)
            self._history.push(view, "")
            self.begin(view)

    def select(self, token: int | None, layer: int | None, patches: Sequence[int] | None) -> None:
        """Look at another cell, or select patches."""
        with self.lock:
            found, selection = self.findings, self.views.selection
            check_whole("token", token, -1, len(found.encoded.tokens) - 1, "this prompt")
            check_whole("layer", layer, 0, len(self.vlm.layers) - 1, "this model")
            for patch in patches or ():
                check_whole("patches", patch, 0, len(found.visual) - 1, "this picture")
            if token is not None:
                selection.token = token
            if layer is not None:
                selection.layer = layer
            if patches is not None:
                selection.patches = sorted({int(patch) for patch in patches})

    def test(self, kind: str) -> None:
        """Try the selected patches by cause, as a `Trial` of this kind."""
        with self.lock:
            view = self.view
            if not view.patches:
                raise WidgetError(
                    "no patches are selected; select some on the picture, or with explorer.select(patches=[...])."
                )
            targets = self.findings.blocked(view.token) if kind == "block" else ()
            trial = Trial(kind, view.patches, view.window, targets)
            self._change(replace(view, trials=(*(one for one in view.trials if one != trial), trial)), "")

    def forget(self, number: int) -> None:
        """Remove one of the trials."""
        with self.lock:
            trials = tuple(trial for place, trial in enumerate(self.view.trials) if place != number)
            self._change(replace(self.view, trials=trials), "")

    def turn_to(self, tab: str) -> None:
        """Look at the question ("look"), or edit its answer ("edit"); edits stay applied when another question is asked."""
        with self.lock:
            if tab not in TABS:
                raise WidgetError(f"tab={tab!r} is none of an Explorer's; there are {' and '.join(map(repr, TABS))}.")
            editor = self._editor() if tab == "edit" else self.views.editor
            self.views.turn_to(editor, tab == "edit")
            self._tell(tab=tab, **self.views.answer(self.findings))
        self._look_again()

    def freeze(self, windows: Any, lams: Any) -> None:
        """Send what sliders and selections look at; no lock is held while it is computed."""
        if self.findings.state not in (None, self.vlm.state):
            raise WidgetError(
                "the model has an edit that the views do not show, so nothing more can be computed for them; "
                "take it off with explorer.edit_panel.revert(), or let them follow it with explorer.turn_to('look')."
            )
        check_lams(lams)  # before the first is computed
        heatmap, editor = self.views.heatmap, self.views.editor
        if heatmap is not None:
            heatmap.freeze(windows)
        if editor is not None:
            editor.freeze(lams)
        self._freeze_contributions()

    def _freeze_contributions(self) -> None:
        """Those to every token of the text, as far as they fit."""
        found, grid = self.findings, self.views.grid
        if grid is None or found.flow is None:
            return
        panel = self.views.panel
        told = panel.settled(state="idle", message="")
        try:
            panel.publish(state="running", message="following the attention to every token")
            more = missing_targets(self.vlm, found)
        finally:
            with self.lock:
                if not self.work.finding:  # a look at the model alone says nothing when it ends
                    panel.publish(**told)
        with self.lock:
            found.more += more
            found.known.update(position for flow in more for position in flow.targets)
            there = grid.freeze(*more)
            self.views.given |= found.known
        left_out = sorted(found.known - set(there))
        if left_out:
            warnings.warn(
                f"contributions to {len(left_out)} of {len(found.known)} tokens are left out, for they do not fit into a saved notebook; "
                f"without a kernel nothing is shown for tokens {left_out}. Ask a shorter question, or show them with mw.PatchGrid.",
                LargeStateWarning,
                stacklevel=4,
            )

    def _turned(self, change: Any) -> None:
        """The front end shows the other tab."""
        now = TABS[self.views.edit is not None]
        if change["new"] == now:
            return
        try:
            self.turn_to(change["new"])
        except WidgetError as error:
            self._tell(tab=now, error=str(error))

    def _known_editor(self) -> EditPanel | None:
        """The panel that edits the question on show, if there is one."""
        return next((editor for known, editor in self._editors if known is self.view.question), None)

    def _editor(self) -> EditPanel:
        """The same, made if there is none; once, for its edits stay."""
        from mllm_widgets.widgets.edit_panel import EditPanel  # which takes parts of this package

        question, known = self.view.question, self._known_editor()
        if known is not None:
            return known
        if question.constraint is None:
            raise WidgetError(
                "the question has no constraint, and an edit is made at its last token; mark some of its words first."
            )
        editor = EditPanel(self.vlm, question)
        editor.observe(lambda _: self._look_again(), ["edited", "truth", "foreign", "state"])
        self._editors.append((question, editor))
        return editor

    def step(self, back: bool) -> None:
        """Take back what was done last, or do it again; nothing happens where there is nothing."""
        with self.lock:
            before, view = self.view, self._history.step(back)
            if view is None:
                return
            if view.question is before.question:
                self._show_view(view)
            else:
                self.begin(view)

    # --- one view after the other -----------------------------------------------------------------------------------------

    def begin(self, view: View) -> None:
        """Show another question: the old views go before the new words stand there."""
        with self.lock:
            self.generation += 1
            editing = self.views.edit is not None and view.question.constraint is not None
            self.work.cancel()
            self.views.clear()
            found = self.work.findings(view.question)
            selection = self.views.selection
            selection.bounds = (len(found.encoded.tokens), len(found.visual))
            selection.put(token=view.token, layer=view.layer, patches=list(view.patches))
            self._tell(
                generation=self.generation,
                question=view.question.text,
                span=list(self.span),
                words=words_of(view.question.text),
                head=question_code(self.vlm, view.question),
                image=b"" if view.question.image is None else picture_bytes(view.question.image),
                state="idle",
                message="",
                error="",
            )
            self.views.turn_to(self._editor() if editing else self._known_editor(), editing)
            self._tell(tab=TABS[editing], editable=view.question.constraint is not None)
            self._install(found, view)
            self.work.submit(view)

    def _begin_again(self, view: View) -> None:
        """The model was edited: what was found of it is gone."""
        if view.question is self.view.question:
            self.begin(self.view)

    def _look_again(self) -> None:
        """The model may have been edited, which matters while its views are looked at; called with any lock held."""
        if self.views.edit is None:
            self.work.look_again(self.view)

    def _change(self, view: View, kind: str) -> None:
        """Another view of the same question."""
        with self.lock:
            if view == self.view:
                return
            self._history.push(view, kind)
            self._show_view(view)

    def _show_view(self, view: View) -> None:
        self.views.selection.put(token=view.token, layer=view.layer, patches=list(view.patches))
        if self.views.heatmap is not None:
            self.views.heatmap.window = view.window
        self._install(self.work.findings(view.question), view)
        self.work.submit(view)

    def _moved(self) -> None:
        """The selection was moved, in the browser or in the kernel."""
        with self.lock:
            chosen = self.views.selection
            view = replace(self.view, token=chosen.token, layer=chosen.layer, patches=tuple(chosen.patches))
            self._layer_chosen = self._layer_chosen or view.layer != self.view.layer
            self._change(view, "selection")

    def _window_moved(self, change: Any) -> None:
        self._change(replace(self.view, window=change["new"]), "window")

    def _set_to(self, view: str, name: str, value: Any, usual: Any) -> None:
        self._change(self.view.setting(view, name, value, usual), f"{view} {name}")

    # --- what the work says, under the lock -------------------------------------------------------------------------------

    def _found(self, found: Findings) -> None:
        if found.question is self.view.question:
            self._install(found, self.view)

    def _state(self, question: Question, **traits: Any) -> None:
        if question is self.view.question:
            self.views.panel.publish(**traits)

    def _install(self, found: Findings, view: View) -> None:
        """Show what is known about the question on show."""
        if self.views.grid is None:
            view = self._choose_layer(found, view)
        self.views.show(found, view)
        self._tell(**self.views.answer(found))

    def _choose_layer(self, found: Findings, view: View) -> View:
        """Begin where the picture writes most into the token, unless a layer was chosen."""
        layer = None if self._layer_chosen else found.peak_layer(view.token)
        if layer is None:
            return view
        self._layer_chosen = True
        self._history.amend(layer)
        self.views.selection.put(layer=layer)
        return replace(view, layer=layer)

    def _tell(self, **traits: Any) -> None:
        """Tell the panel, and what follows from the view."""
        self.views.panel.publish(
            **traits, can_undo=self._history.can_undo, can_redo=self._history.can_redo, code=self._view_code()
        )

    def _view_code(self) -> str:
        found = self.findings
        return view_code(
            self.view, self.views.settings, self.work.corruption, self.views.parts, found.visual, found.sigma
        )

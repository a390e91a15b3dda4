"""Everything about one question at a time, linked: its answer, its causal trace, what its words take from the picture, and what confirms it."""

from __future__ import annotations

import base64
import html
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets

from mllm_widgets.errors import WidgetError
from mllm_widgets.provenance import Provenance
from mllm_widgets.vlm.question import Question
from mllm_widgets.widgets.base import Pictured
from mllm_widgets.widgets.budget import warn_if_large
from mllm_widgets.widgets.shots import Shots

from .arguments import check_whole
from .findings import Findings
from .session import Session
from .view import View

if TYPE_CHECKING:
    from mllm_widgets.contributions import Contributions
    from mllm_widgets.render import Drawing
    from mllm_widgets.results import Answer, Trace
    from mllm_widgets.vlm.model import VLM
    from mllm_widgets.widgets.edit_panel import EditPanel
    from mllm_widgets.widgets.patch_grid import PatchGrid
    from mllm_widgets.widgets.trace_heatmap import TraceHeatmap

    from .lens_panel import LensPanel

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
    auto_snapshot: draw the picture that a saved notebook shows anew after each change, at most once a second.

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

    auto_snapshot = traitlets.Bool(False)

    def __init__(
        self,
        vlm: VLM,
        question: Question,
        *,
        corruption: Any = None,
        window: int = 1,
        token: int | None = None,
        layer: int | None = None,
        auto_snapshot: bool = False,
        **unknown: Any,
    ) -> None:
        from mllm_widgets.contributions.arguments import check_model

        if unknown:
            raise WidgetError(
                f"Explorer does not take {', '.join(sorted(unknown))}; its arguments are in help(mw.Explorer)."
            )
        check_model(vlm, question)
        count = len(vlm.layers)
        check_whole("window", window, 1, count, "this model")
        check_whole("layer", layer, 0, count - 1, "this model")
        found = Findings(question, vlm.encode(question))
        check_whole("token", token, 0, len(found.encoded.tokens) - 1, "this prompt")
        view = View(question, int(window), found.start if token is None else int(token), int(layer or 0))
        self.shots = Shots(self)
        super().__init__(
            layout=ipywidgets.Layout(display="flex", flex_flow="row wrap", width="100%"), auto_snapshot=auto_snapshot
        )
        self.add_class("mw-explorer")
        self._session = Session(self, vlm, corruption, found, view, layer_chosen=layer is not None)
        views = self._session.views
        self.panel, self.trials, self.selection = views.panel, views.trials, views.selection
        self._session.begin(view)

    # --- what a user asks for ---------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """What is asked and looked at."""
        return self._session.view

    @property
    def heatmap(self) -> TraceHeatmap | None:
        """The map of the question on show, once there is one."""
        return self._session.views.heatmap

    @property
    def grid(self) -> PatchGrid | None:
        """The patches of the question on show, once there are some."""
        return self._session.views.grid

    @property
    def lens(self) -> LensPanel | None:
        """The words of its layers, once they are read."""
        return self._session.views.lens

    @property
    def edit_panel(self) -> EditPanel | None:
        """The panel that edits the answer, while it is on show."""
        return self._session.views.edit

    @property
    def question(self) -> Question:
        """The question on show."""
        return self.view.question

    @property
    def generation(self) -> int:
        """Counts the questions asked so far; no view shows another generation's results."""
        return self._session.generation

    @property
    def answer(self) -> Answer | None:
        """The model's answer, once it is there."""
        return self._session.findings.answer

    @property
    def trace(self) -> Trace | None:
        """The causal trace on show, once it is complete."""
        return None if self.heatmap is None else self.heatmap.trace

    @property
    def flow(self) -> Contributions | None:
        """Attention contributions to the question's tokens, once they are there."""
        return self._session.findings.flow

    @property
    def results(self) -> list[dict[str, Any]]:
        """What causes said about patches, oldest first: effects (layers,) by what was restored, or "change" where something was blocked.

        "all" is that of patches clean from the start, or blocked in all layers.
        """
        found = self._session.findings
        return [found.results[trial] for trial in self.view.trials if trial in found.results]

    def ask(self, question: Question) -> None:
        """Ask something else; every view follows.

        Raises
        ------
        QuestionError, ConstraintError: for a question that this model cannot be asked; nothing changes then.
        """
        self._session.ask(question)

    def select(
        self, *, token: int | None = None, layer: int | None = None, patches: Sequence[int] | None = None
    ) -> None:
        """Look at another cell, or select patches (indices among the visual tokens).

        Raises
        ------
        WidgetError: for a token, a layer or a patch that is not there.
        """
        self._session.select(token, layer, patches)

    def trace_patches(self) -> None:
        """Corrupt the picture and restore the selected patches, layer by layer: a new row of results.

        Raises
        ------
        WidgetError: if no patches are selected.
        """
        self._session.test("trace")

    def block_patches(self) -> None:
        """Keep the selected token from looking at the selected patches, layer by layer: a new row of results.

        Raises
        ------
        WidgetError: if no patches are selected.
        """
        self._session.test("block")

    def turn_to(self, tab: str) -> None:
        """Look at the question ("look"), or edit its answer ("edit").

        The views follow the model: with an edit applied they are of the edited one.  Edits stay when another question is asked, and go when the Explorer is closed.

        Raises
        ------
        WidgetError: for another tab, or a question without a constraint to edit at.
        """
        self._session.turn_to(tab)

    def undo(self) -> None:
        """Take back what was done last; nothing happens if nothing was."""
        self._session.step(back=True)

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._session.step(back=False)

    def code(self) -> str:
        """The calls that give what is on show, as a script."""
        return self._session.code()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing is being computed; False if that took longer than `timeout` seconds."""
        work = self._session.work
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            rest = None if end is None else max(0.0, end - time.monotonic())
            if not work.wait(rest):
                return False
            heatmap = self.heatmap
            if heatmap is not None and not heatmap.wait(rest):
                return False
            if not work.busy and heatmap is self.heatmap:
                return True

    def freeze(self, windows: Any = None, lams: Any = None) -> None:
        """Send all that its sliders and selections look at, so that they work in a saved notebook: what is being computed is waited for.

        That is the map of each window, the contributions to every token of the text at all layers, the logit lens, what causes said about patches, and each edit
        over lambda where the answer was edited.  Asking, tracing and editing need a kernel.

        Parameters
        ----------
        windows: as in `TraceHeatmap.freeze`; all by default.
        lams: as in `EditPanel.freeze`; 33 by default.

        Raises
        ------
        WidgetError: for windows or lambdas that are none, or while the model has an edit that the views do not show.

        Warns
        -----
        LargeStateWarning: where it is over 2 MB, or where contributions to some tokens had to be left out.
        """
        self.wait()
        self._session.freeze(windows, lams)
        self.wait()
        warn_if_large(*self.parts(), name="Explorer")

    def parts(self) -> list[ipywidgets.Widget]:
        """The widgets in it, each of which a notebook stores."""
        parts = (self.panel, self.trials, self.heatmap, self.grid, self.lens, self._session.views.editor)
        return [part for part in parts if part is not None]

    def drawing(self) -> Drawing:
        """Question, answer and the views that are there, as one drawing."""
        from mllm_widgets.render import draw_explorer

        with self._session.lock:
            found, views = self._session.findings, self._session.views
            if found.answer is None:
                raise WidgetError("there is nothing to draw yet; wait for it with explorer.wait().")
            editing = self.edit_panel is not None
            return draw_explorer(
                self.question,
                None if editing else found.answer,  # answers before and after stand in the editor
                self._session.span,
                views.drawings(),
                self.question.image if self.grid is None or editing else None,
                list(found.errors.values()),
                "" if editing else found.edited,
            )

    @property
    def provenance(self) -> Provenance:
        """What the answer was made with, and under "views" the same of each view that is there."""
        views = self._session.views
        own = {"trace": views.heatmap, "contributions": views.grid, "lens": views.lens, "edits": views.edit}
        known = {name: widget.provenance for name, widget in own.items() if widget is not None}
        return Provenance(self.panel.provenance, views=known)

    @property
    def _traits_lock(self) -> Any:
        return self._session.lock

    @property
    def picture_id(self) -> str:
        """How the live view finds the PNG it replaces; the question's panel hides it for all."""
        return self.panel.picture_id

    @picture_id.setter
    def picture_id(self, value: str) -> None:
        self.panel.picture_id = value

    @property
    def outputs(self) -> int:
        """How many outputs hold the picture; the panel says it to its front end."""
        return self.panel.outputs

    @outputs.setter
    def outputs(self, value: int) -> None:
        self.panel.outputs = value

    @property
    def taken(self) -> int:
        """How many snapshots were taken."""
        return self.panel.taken

    @taken.setter
    def taken(self, value: int) -> None:
        self.panel.taken = value

    @property
    def refused(self) -> str:
        """Why the last snapshot that was asked for could not be taken."""
        return self.panel.refused

    @refused.setter
    def refused(self, value: str) -> None:
        self.panel.refused = value

    def close(self) -> None:
        """Stop the worker and remove all views."""
        if hasattr(self, "_session"):  # Python closes what never came to be, too
            self.shots.close()
            self._session.close()
            with self._session.lock:
                super().close()

    def _ipython_display_(self) -> None:
        self.wait(DISPLAY_WAIT)
        super()._ipython_display_()

    def _mime_(self) -> tuple[str, str]:
        """What marimo shows: it takes single anywidgets, and no box of them, so here is the picture."""
        self.wait(DISPLAY_WAIT)
        picture = base64.b64encode(self.to_png()).decode()
        note = "In marimo the Explorer is a picture. Its views are live by themselves: explorer.heatmap, explorer.grid, explorer.lens."
        return "text/html", (
            f'<figure style="margin: 0"><img alt="{html.escape(repr(self))}" src="data:image/png;base64,{picture}" '
            f'style="max-width: 100%"><figcaption>{note}</figcaption></figure>'
        )

    def __repr__(self) -> str:
        return f"Explorer({self._session.vlm.name!r}, {self.question.text!r})"

"""`mw.EditPanel`: what the model should say instead, where that is written, how strongly, and what else it changes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets import colormaps
from mllm_widgets.errors import WidgetError
from mllm_widgets.provenance import made_with
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.spans import find_words
from mllm_widgets.widgets.budget import warn_if_large
from mllm_widgets.widgets.cells import after_cells
from mllm_widgets.widgets.explorer.code import question_code
from mllm_widgets.widgets.patch_view import picture_bytes

from . import plain
from .drawn import figure_of
from .measure import check_lams
from .messages import hear
from .probes import watched
from .session import Session
from .telling import Telling
from .work import Request, Work

if TYPE_CHECKING:
    from mllm_widgets.editing import Edit
    from mllm_widgets.render import Drawing
    from mllm_widgets.vlm.model import VLM

DISPLAY_WAIT = 15.0  # seconds that displaying waits for the first results, so that a saved notebook has their picture
SEARCH_OPTIONS = ("tokens", "steps", "lr", "clamp", "weight_decay", "kl", "stop")


class EditPanel(Telling):
    """MultEdit by hand: type what the model should say, try it, weaken or undo it, and watch what else it changes.

    Parameters
    ----------
    vlm: what `mw.load()` returned.
    question: with a constraint; the one whose answer is edited.
    probes: questions that are watched: a list of those that should stay as they are, or a dict of lists by kind ("paraphrases" and "pictures" should follow the
        edit, "same_phrase" and "unrelated" should not). By default a few of the demo world for a demo model, and none for others.
    target: what stands in the text box at first.
    layer: the one picked at first; by default the causal one, once the trace has said which.
    lam: lambda of new edits, > 0.
    auto_snapshot: draw the picture that a saved notebook shows anew after each change, at most once a second.
    tokens, steps, lr, clamp, weight_decay, kl, stop: of the search, as in `multedit`.

    Raises
    ------
    EditError: for what is no model or question, or a question without a constraint. QuestionError, ConstraintError: for one that this model cannot be asked.
    WidgetError: for a layer, a lambda or probes that cannot be used, or an unknown argument.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> panel = mw.EditPanel(mw.load(), mw.datasets.demo_question("Eiffel Tower"))
    >>> panel.make("Rome")
    >>> panel.wait(timeout=120), panel.edited, panel.edit.target
    (True, True, 'Rome')
    >>> panel.revert()  # the switch stands at "Original", and that is what the model is
    >>> panel.close()

    Notes
    -----
    The switch says what the model is: it is set after the model was changed, also by a cell, and a cell run meanwhile sees the model that the panel shows.  While a
    value is searched the model is the original one.  Each edit is measured at 33 lambdas once, with no other edit applied; the slider and the charts read that,
    so they work without a kernel, and with one `edit.lam` follows the slider.  `close()` takes the panel's edits off the model, also out of its weights.

    Traits: see `traits`.  What the front end asks for comes as messages: see `messages`.
    """

    def __init__(
        self,
        vlm: VLM,
        question: Question,
        *,
        probes: Any = None,
        target: str = "",
        layer: int | None = None,
        lam: float = 0.01,
        auto_snapshot: bool = False,
        **options: Any,
    ) -> None:
        from mllm_widgets.editing.rank_one import check_layer, check_question

        unknown = sorted(set(options) - set(SEARCH_OPTIONS))
        if unknown:
            raise WidgetError(f"EditPanel does not take {', '.join(unknown)}; its arguments are in help(mw.EditPanel).")
        check_question(vlm, question)
        if layer is not None:
            check_layer(vlm, layer)
        if isinstance(lam, bool) or not isinstance(lam, (int, float, np.floating)) or not 0 < lam < np.inf:
            raise WidgetError(
                f"lam={lam!r} has no place on a logarithmic slider; expected a number above 0, such as 0.01."
            )
        lock = threading.RLock()
        self._vlm, self._question = vlm, question
        self._watched = watched(vlm, question, probes)
        self._made = made_with(vlm, question, edits=())
        self._telling = True
        self._told_answers: list[Any] | None = None
        self._plain: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._session = Session(vlm, lock, self._tell)
        self._work = Work(vlm, self._watched, self._session, float(lam), options, found=self._found, said=self.publish)
        span = (
            () if question.constraint is None else find_words(question.text, question.constraint, question.occurrence)
        )
        super().__init__(
            lock=lock,
            question=question.text,
            span=[*span],
            image=b"" if question.image is None else picture_bytes(question.image),
            layers=len(vlm.layers),
            layer=0 if layer is None else int(layer),
            target=target,
            colors={theme: colormaps.effect_colors("mlp", theme).tobytes() for theme in colormaps.THEMES},
            head=question_code(vlm, question),
            auto_snapshot=auto_snapshot,
        )
        self._layer_chosen = layer is not None
        self.on_msg(lambda _widget, content, _buffers: hear(self, content))
        self._telling = False
        self._end_looking = after_cells(self._after_cell)
        self._tell(probes=[plain.probe(probe, None) for probe in self._watched])
        self._submit(Request("look"))

    # --- what a user asks for ---------------------------------------------------------------------------------------------

    @property
    def edit(self) -> Edit | None:
        """The edit whose numbers are on show, once there is one."""
        with self._traits_lock:
            return self._session.made.get(self._session.view.current)

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits in the list, oldest first."""
        with self._traits_lock:
            return tuple(self._session.made[number] for number in self._session.view.edits)

    def make(self, target: str, layer: int | None = None) -> None:
        """Search the edit that makes the model answer `target`, and apply it; `wait` for it.

        Parameters
        ----------
        layer: to edit; the one picked in the panel by default.

        Raises
        ------
        EditError: for a target or a layer that cannot be; what only the model can tell is said in `error`.
        """
        self._ask("try", target, layer)

    def sweep_layers(self, target: str) -> None:
        """Search the edit at every layer, one after the other, and show what each gives; `wait` for it.

        Raises
        ------
        EditError: for a target that cannot be.
        """
        self._ask("sweep", target, None)

    def cancel(self) -> None:
        """Stop what is being done; the model is as it was."""
        self._work.cancel()

    def apply(self) -> None:
        """Move the switch to "Edited": what was applied last applies again.

        Raises
        ------
        WidgetError: if there is no edit, or somebody runs the model.
        """
        self._toggle(True)

    def revert(self) -> None:
        """Move the switch to "Original": the model has none of the panel's edits, neither beside its weights nor in them.

        Raises
        ------
        WidgetError: if somebody runs the model.
        """
        self._toggle(False)

    def check(self, edit: Edit | int, on: bool = True) -> None:
        """Apply one more of the edits in the list, or take one off.

        Raises
        ------
        WidgetError: for what is not in the list, or if somebody runs the model. EditError: if it cannot apply with the others.
        """
        with self._traits_lock:
            session = self._session
            session.look()
            session.change(session.view.checking(session.number(edit), on), "")
            self._submit(Request("look"))

    def remove(self, edit: Edit | int) -> None:
        """Take an edit out of the list, and off the model; undo brings it back.

        Raises
        ------
        WidgetError: for what is not in the list, or is in the weights, or if somebody runs the model.
        """
        with self._traits_lock:
            session = self._session
            session.look()
            number = session.number(edit)
            if number in session.seen.baked:
                raise WidgetError(
                    f"{plain.name(session.made[number])} is in the weights; unbake it before it is removed."
                )
            session.change(session.view.without(number), "")

    def bake(self, edit: Edit | int) -> tuple[str, ...]:
        """Write an edit into the model's weights, in the place of the hook beside them.

        Returns
        -------
        Sentences, usually none: what rounding to the weights' dtype takes of it.

        Raises
        ------
        WidgetError: for what is not in the list. EditError: where the weights cannot be written.
        """
        return self._session.bake(edit)

    def unbake(self, edit: Edit | int) -> None:
        """Take an edit out of the weights again; it stays applied beside them.

        Raises
        ------
        WidgetError: for what is not in the list. EditError: if it is not in the weights.
        """
        self._session.unbake(edit)

    def undo(self) -> None:
        """Take back what was done last, in the model too; nothing happens if nothing was.

        Raises
        ------
        WidgetError: if somebody runs the model.
        """
        self._step(back=True)

    def redo(self) -> None:
        """Do again what was taken back last.

        Raises
        ------
        WidgetError: if somebody runs the model.
        """
        self._step(back=False)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing is being done; False if that took longer than `timeout` seconds."""
        return self._work.wait(timeout)

    def freeze(self, lams: Any = None) -> None:
        """Measure every edit in the list at these lambdas, and send that, so that the slider, charts and tables work in a saved notebook.

        What is measured already is not measured again.  Where it is interrupted or fails, everything stays as it was.

        Parameters
        ----------
        lams: how many, over the whole axis, or the values; the edit's own is always among them. 33 by default. The slider then has these places.

        Raises
        ------
        WidgetError: for lambdas that are none, or where an edit is in the weights and lacks some.

        Examples
        --------
        >>> import mllm_widgets as mw
        >>> panel = mw.EditPanel(mw.load(), mw.datasets.demo_question("Eiffel Tower"))
        >>> panel.make("Rome")
        >>> panel.freeze(lams=17)
        >>> len(panel.results["1"]["lams"])
        17
        >>> panel.close()
        """
        lams = check_lams(lams)
        self.wait()
        before = self.settled(state="idle", message="", progress=-1.0)
        try:
            self._work.freeze(lams)
        finally:
            with self._traits_lock:
                if not self._work.busy:
                    self.publish(**before)
        self._tell()
        warn_if_large(self)

    def drawing(self, *, titled: bool = True) -> Drawing:
        """What is on show, as a drawing; without the question where that is told above it."""
        from mllm_widgets.render import draw_edit

        with self._traits_lock:
            if len(self._work.answers) < len(self._watched):
                raise WidgetError("there is nothing to draw yet; wait for it with panel.wait().")
            shown = figure_of(
                self._watched,
                self._work,
                self.edit,
                self._work.measured.get(self._session.view.current),
                self.layer,
                together=plain.said(self._together),
                all_applied=plain.likeliest(self._together[0]) if self._together else (),
                question=self.question,
                span=tuple(self.span),
                truth=" ".join(filter(None, (self.truth, self.foreign))),
                edited=self.edited,
                layers=self.layers,
            )
            return draw_edit(shown, self._question.image, titled=titled)

    def close(self) -> None:
        """Stop the worker, take the panel's edits off the model, also out of its weights, and remove the panel."""
        if hasattr(self, "_end_looking"):  # Python closes what never came to be, too
            self._work.close()
            self._end_looking()
            self._session.close()
        super().close()

    def __repr__(self) -> str:
        state = "edited" if self.edited else "original"
        return f"EditPanel({self._vlm.name!r}, {self.question!r}, {len(self.rows)} edits, the model is {state})"

    def _ipython_display_(self) -> None:
        self.wait(DISPLAY_WAIT)
        super()._ipython_display_()

    # --- from one state to the next ---------------------------------------------------------------------------------------

    def _ask(self, kind: str, target: str, layer: int | None) -> None:
        from mllm_widgets.editing.rank_one import check_layer, target_tokens

        if layer is None and self._layer_chosen:
            layer = self.layer
        if layer is not None:
            layer, _, _ = check_layer(self._vlm, layer)
            self.layer = layer
        target_tokens(self._vlm, self._vlm.encode(self._question), target, "all")
        self.publish(target=target, error="", saved="")
        self._submit(Request(kind, target.strip(), layer))

    def _step(self, back: bool) -> None:
        self._session.look()
        self._session.step(back)
        self._submit(Request("look"))

    def _toggle(self, edited: bool) -> None:
        with self._traits_lock:
            session = self._session
            session.look()
            if edited and not session.view.edits:
                raise WidgetError("there is no edit to apply yet; make one with panel.make('Seattle').")
            if not edited:
                session.unbake(*session.seen.baked)
            session.change(session.view.toggled(edited), "")
            self._submit(Request("look"))

    def _after_cell(self) -> None:
        """A cell may have changed the model."""
        self._session.look()
        self._submit(Request("look"))

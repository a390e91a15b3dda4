"""The widgets of an Explorer: which there are, where they stand, and what each of them shows of the findings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ipywidgets

from mllm_widgets import labels
from mllm_widgets.errors import WidgetError
from mllm_widgets.widgets.patch_grid import PatchGrid
from mllm_widgets.widgets.trace_heatmap import TraceHeatmap

from .findings import Findings
from .lens_panel import LensPanel
from .question_panel import QuestionPanel
from .selection import Selection
from .trials_panel import TrialsPanel, limit_of, row_of
from .view import Trial, View

if TYPE_CHECKING:
    from mllm_widgets.render import Drawing
    from mllm_widgets.widgets.edit_panel import EditPanel

TOP = 5  # tokens of the answer
STEERED = {  # settings of the single views that a user changes; window, layer, token and patches are those of the Explorer itself
    "heatmap": ("module",),
    "grid": ("scale", "top_k", "threshold", "opacity", "grid", "compare", "mask_sinks"),
    "lens": ("top_k",),
    "trials": ("module",),
}
LOOK, EDIT = (
    "mw-tab-look",
    "mw-tab-edit",
)  # classes of what stands under each tab: the page shows one of them, with no kernel
COLUMN = "1 1 max(400px, 40%)"  # two columns where there is room for them


class Views:
    """The views of one question at a time, tied to one selection.  Every method is called under the lock they share.

    heatmap, grid, lens: None until they are known, or where they cannot be.
    given: targets whose contributions the grid was given; it may not have room for all.
    """

    def __init__(
        self,
        box: Any,
        lock: Any,
        view: View,
        layers: int,
        *,
        heard: Callable[[dict[str, Any], list[Any]], None],
        moved: Callable[[], None],
        window_moved: Callable[[Any], None],
        turned: Callable[[Any], None],
        set_to: Callable[[str, str, Any, Any], None],
        takes_pictures: bool,
    ) -> None:
        self._box, self._lock, self._window_moved, self._set_to = box, lock, window_moved, set_to
        self.panel = QuestionPanel(heard, lock=lock, takes_pictures=takes_pictures)
        self.panel.observe(turned, "tab")
        self.trials = TrialsPanel(heard, lock=lock, layers=layers)
        self.selection = Selection(lock, moved, token=view.token, layer=view.layer)
        self.heatmap: TraceHeatmap | None = None
        self.grid: PatchGrid | None = None
        self.lens: LensPanel | None = None
        self.given: set[int] = set()
        self.editor: EditPanel | None = None  # in the box, once it was made
        self.edit: EditPanel | None = None  # the same, while it is on show
        self._columns = tuple(ipywidgets.VBox(layout={"flex": COLUMN, "min_width": "0"}) for _ in range(2))
        for column in self._columns:
            column.add_class(LOOK)
        self.panel.layout.flex = "1 1 100%"
        for widget in (self.panel, self.trials):
            widget.layout.min_width = "0"
            widget.whole = box.shots
        self._usual: dict[tuple[str, str], Any] = {}  # settings as they come
        self._steer("trials")

    def clear(self) -> None:
        """Remove what belongs to the question on show."""
        self._clear((self.panel,))

    def close(self) -> None:
        """Remove everything; at the interpreter's end some of it may be gone already."""
        self._clear(())
        for widget in (self.panel, self.trials, *self._columns, self.selection):
            widget.close()

    def _clear(self, kept: tuple[ipywidgets.Widget, ...]) -> None:
        self.selection.untie()
        self._box.children = kept
        for column in self._columns:
            column.children = ()
        for widget in (self.heatmap, self.grid, self.lens):
            if widget is not None:
                widget.close()
        self.heatmap = self.grid = self.lens = self.editor = self.edit = None
        self.given = set()

    def show(self, found: Findings, view: View) -> None:
        """Show what is known about the question on show."""
        if found.setup is not None and self.heatmap is None:
            self.heatmap = TraceHeatmap(found.setup, window=view.window, lock=self._lock)
            self.heatmap.observe(self._window_moved, "window")
            self._tie(self.heatmap, token="token", layer="layer")
            self._steer("heatmap")
        if found.flow is not None and self.grid is None:
            try:
                self.grid = PatchGrid(found.flow, layer=view.layer, lock=self._lock)
            except WidgetError as error:
                found.errors.setdefault("flow", str(error))
            else:
                if len(found.flow.targets) == 1:  # a grid does not choose among one, but here it is selected
                    self.grid.add(found.flow)
                self._tie(self.grid, token="token", layer="layer", patches="selected")
                self._steer("grid")
        if self.grid is not None:
            for flow in found.more:
                lacking = set(flow.targets) - {target["position"] for target in self.grid.targets}
                if view.token in lacking or not lacking <= self.given:  # not again what made room for others
                    self.given.update(flow.targets)
                    self.grid.add(flow)
        if found.lens is not None and self.lens is None:
            self.lens = LensPanel(found.lens, lock=self._lock)
            self._tie(self.lens, token="token", layer="layer")
            self._steer("lens")
        self._fill_trials(found, view)
        self._set(view)
        self._arrange()

    def answer(self, found: Findings) -> dict[str, Any]:
        """What the panel says of the answer, as its traits."""
        top = [] if found.answer is None else found.answer.top(TOP)
        return {
            "answer": "" if found.answer is None else found.answer.text,
            "top": [{"token": labels.visible(text), "p": p} for text, p in top],
            "notes": [note for part, note in found.errors.items() if not isinstance(part, Trial)],
            "edited": found.edited,
            "provenance": {} if found.answer is None else found.answer.provenance,
            "pictured": self.grid is not None,
            "editing": self.editor is not None,
        }

    @property
    def parts(self) -> frozenset[str]:
        """Which of "trace", "flow" and "lens" are on show."""
        have = {"trace": self.heatmap, "flow": self.grid, "lens": self.lens}
        return frozenset(name for name, widget in have.items() if widget is not None)

    @property
    def settings(self) -> dict[tuple[str, str], Any]:
        """Settings of the views on show that are not as they come, (view, trait) -> value."""
        now = {key: getattr(getattr(self, key[0]), key[1], usual) for key, usual in self._usual.items()}
        return {key: value for key, value in now.items() if value != self._usual[key]}

    def turn_to(self, editor: EditPanel | None, shown: bool) -> None:
        """Show an edit panel in the place of the views, or the views; the panel stays in the box, out of sight."""
        self.editor, self.edit = editor, editor if shown else None
        if editor is not None:
            editor.whole = self._box.shots
            editor.layout.flex = "1 1 100%"
            editor.layout.min_width = "0"
            editor.add_class(EDIT)
        self._arrange()

    def drawings(self) -> list[list[Drawing]]:
        """Drawings of the views that have one by now, column by column."""
        if self.edit is not None:
            return [drawn(self.edit, titled=False)]
        columns = [drawn(self.heatmap, titled=False) + drawn(self.lens), drawn(self.grid, titled=False)]
        if self.grid is not None:
            columns[1] += drawn(self.trials)
        return columns

    def _arrange(self) -> None:
        """Two columns: the trace over the lens, and the patches over what confirms them."""
        if self.grid is not None and self.trials not in self._columns[1].children:
            self.selection.tie(self.trials, patches="patches", layer="layer")
        views = ((self.heatmap, self.lens), (self.grid, self.trials if self.grid is not None else None))
        for column, shown in zip(self._columns, views, strict=True):
            children = tuple(widget for widget in shown if widget is not None)
            if children != column.children:
                column.children = children
        children = (self.panel, *(column for column in self._columns if column.children))
        if self.editor is not None:
            children = (*children, self.editor)
        if children != self._box.children:
            self._box.children = children

    def _tie(self, widget: Any, **names: str) -> None:
        widget.layout.min_width = "0"
        widget.whole = self._box.shots
        for own, name in names.items():
            with suppress(WidgetError):  # a layer that this view does not have
                setattr(widget, name, getattr(self.selection, own))
        self.selection.tie(widget, **names)

    def _steer(self, view: str) -> None:
        """Hear of what a user sets in a view that was just made."""
        widget: Any = getattr(self, view)
        self._usual.update({(view, name): getattr(widget, name) for name in STEERED[view]})

        def heard(change: Any) -> None:
            name = change["name"]
            self._set_to(view, name, change["new"], self._usual[view, name])

        widget.observe(heard, list(STEERED[view]))

    def _set(self, view: View) -> None:
        """Put the settings of a view up, and what it leaves as usual back."""
        for (name, trait), usual in self._usual.items():
            widget: Any = getattr(self, name)
            if widget is not None:
                with suppress(WidgetError):  # a part of the picture that another one does not have
                    setattr(widget, trait, view.settings.get((name, trait), usual))

    def _fill_trials(self, found: Findings, view: View) -> None:
        rows, waiting = [], "running"
        for number, trial in enumerate(view.trials):
            result = found.results.get(trial)
            wrong = found.errors.get(trial) or found.failed.get(trial)
            state = "done" if result is not None else "error" if wrong else waiting
            waiting = "waiting" if state == waiting else waiting
            note = wrong or found.notes.get(trial, "")
            rows.append(row_of(number, trial, found.name(trial.targets), result, state, note))
        made: Any = found.pictured or found.answer
        self.trials.publish(
            rows=rows,
            limit=limit_of(rows),
            into=found.name(found.blocked(view.token)),
            provenance=made.provenance if made and rows else {},
        )


def drawn(widget: Any, **options: Any) -> list[Drawing]:
    """A view's drawing; nothing for what is not there, or has nothing to draw yet."""
    with suppress(WidgetError):
        return [] if widget is None else [widget.drawing(**options)]
    return []

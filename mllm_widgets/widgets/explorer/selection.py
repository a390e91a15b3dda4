"""What several widgets show together: one layer, one token, some patches.

In the browser the widgets are tied to the selection by `jslink`, so they follow each other with no kernel.  In the kernel `Selection` ties them as
well, for code that steers them and for pictures; what came from the browser is passed on there without being sent back, which would pull a slider
from under the hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets
import traitlets

from mllm_widgets.errors import WidgetError
from mllm_widgets.widgets.base import WholeNumber


class Selection(ipywidgets.Widget):
    """The shared selection; `lock` is that of the widgets tied to it.

    layer: 0-based. token: a position in the sequence, -1 for none. patches: indices among the visual tokens, ascending.
    """

    layer = WholeNumber(0).tag(sync=True)
    token = WholeNumber(-1).tag(sync=True)
    patches = traitlets.List([]).tag(sync=True)

    def __init__(self, lock: Any, moved: Callable[[], None], **traits: Any) -> None:
        self._lock, self._moved = lock, moved
        self._ties: list[tuple[ipywidgets.Widget, str, str, Callable[[Any], None]]] = []
        self._links: list[Any] = []
        self._quiet = False
        self._token = -1
        self.bounds: tuple[float, float] = (float("inf"), float("inf"))  # tokens and patches there are
        super().__init__(**traits)
        self.observe(lambda change: self._pass_on(self, change["name"], change["new"]), ["layer", "token", "patches"])

    def tie(self, widget: ipywidgets.Widget, **names: str) -> None:
        """Tie a widget's traits: `layer="layer"` says that its trait of that name is the selection's layer."""
        with self._lock:
            for own, name in names.items():
                self._links.append(ipywidgets.jslink((self, own), (widget, name)))

                def follow(change: Any, own: str = own) -> None:
                    self._pass_on(widget, own, change["new"])

                widget.observe(follow, [name])
                self._ties.append((widget, own, name, follow))

    def untie(self) -> None:
        """Let all widgets go."""
        with self._lock:
            for link in self._links:
                link.close()
            for widget, _, name, follow in self._ties:
                widget.unobserve(follow, [name])
            self._links.clear()
            self._ties.clear()

    @traitlets.validate("token")
    def _valid_token(self, proposal: Any) -> int:
        # What the browser sends may be late, and about a question that has gone.  The trait has the new value by now: what it had is kept here.
        if -1 <= proposal["value"] < self.bounds[0]:
            self._token = proposal["value"]
        return self._token

    @traitlets.validate("patches")
    def _valid_patches(self, proposal: Any) -> list[int]:
        return [patch for patch in proposal["value"] if patch < self.bounds[1]]

    def put(self, **values: Any) -> None:
        """Select from the kernel, in one step; `moved` is not called."""
        with self._lock, self._silent():
            for name, value in values.items():
                setattr(self, name, value)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Apply what the front end sent."""
        with self._lock:
            super().set_state(sync_data)

    @contextmanager
    def _silent(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _pass_on(self, source: ipywidgets.Widget, own: str, value: Any) -> None:
        """Give a change of `source` to the selection and to everything tied to it."""
        with self._lock:
            # what is being applied from the browser is locked against being sent; the browser passes it on itself
            heard = bool(source._property_lock)
            for widget, trait in [(self, own), *((tied, name) for tied, of, name, _ in self._ties if of == own)]:
                if widget is source or getattr(widget, trait) == value:
                    continue
                try:
                    if heard:
                        widget.set_state({trait: value})
                    else:
                        setattr(widget, trait, value)
                except (WidgetError, traitlets.TraitError):
                    pass  # a place that this widget does not have, such as a layer it does not show
            if not self._quiet:
                self._moved()

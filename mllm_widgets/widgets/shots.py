"""The pictures that a widget was displayed with, and how they keep up with it.

A display is a PNG output and then the live view, which hides it; a saved notebook shows the PNG wherever the view cannot live.  `update_display` puts a newer one in
its place, from any thread: asked for by `snapshot()`, by the camera button, or after each change with `auto_snapshot`.
"""

from __future__ import annotations

import base64
import io
import uuid
from typing import TYPE_CHECKING, Any

from PIL import Image

from mllm_widgets.errors import MllmWidgetsError, WidgetError
from mllm_widgets.jobs import CancelToken, Latest

if TYPE_CHECKING:
    from .base import Pictured

# Base64 characters of a PNG: the chunk behind its header, which holds the widget's id.  The header has the picture's size in it, so the signature leaves it out.
SIGNATURE = slice(44, 112)
EVERY = 1.0  # seconds between two pictures that nobody asked for
# what a picture does not show: a change of these is none of the picture
ASIDE = frozenset(
    [
        "picture_id",
        "offline",
        "provenance",
        "snapshots",
        "taken",
        "refused",
        "outputs",
        "received",
        "progress",
        "message",
        "seconds",
        "cancel",
        "code",
        "head",
        "can_undo",
        "can_redo",
    ]
)


class Shots:
    """The outputs of one widget that hold its picture.

    Parameters
    ----------
    widget: whose `picture` is drawn, and whose traits `picture_id`, `outputs`, `taken` and `refused` tell the front end of it.
    """

    def __init__(self, widget: Pictured) -> None:
        self._widget = widget
        self._displays: list[str] = []
        self._asked = False  # did somebody ask for the one that is taken next?
        self._jobs: Latest[None] = Latest(self._work, failed=self._failed, settle=EVERY)

    def display(self) -> bool:
        """Show the picture in an output of its own; False if there is nothing to draw yet.

        Raises WidgetError for nothing: a widget that cannot be drawn yet is displayed without a picture.
        """
        from IPython.display import display

        try:
            with self._widget._traits_lock:
                data, size = self._draw()
        except WidgetError:
            return False
        name = uuid.uuid4().hex
        self._displays.append(name)
        self._widget.picture_id = data["image/png"][SIGNATURE]
        self._widget.outputs = len(self._displays)
        display(data, metadata=size, raw=True, display_id=name)
        return True

    def take(self) -> int:
        """Draw the picture anew, and put it into every output that holds an older one; how many these are.

        Raises WidgetError if there is nothing to draw yet.
        """
        return self._take(CancelToken())

    def ask(self) -> None:
        """Take one soon, on a thread, or say why that cannot be; of what is asked meanwhile the newest counts."""
        self._asked = True
        self._soon()

    def changed(self) -> None:
        """Something that the picture shows has changed."""
        if self._widget.auto_snapshot:
            self._soon()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until none is being taken; False if that took longer than `timeout` seconds."""
        return self._jobs.wait(timeout)

    @property
    def count(self) -> int:
        """How many outputs hold the picture."""
        return len(self._displays)

    def close(self) -> None:
        """Take no more."""
        self._jobs.close()

    def _soon(self) -> None:
        if self._displays:
            self._jobs.submit(None)

    def _work(self, _request: None, token: CancelToken) -> None:
        self._take(token)

    def _failed(self, _request: None, error: Exception) -> None:
        """Say why there is no new picture; what nobody expected, with its kind."""
        reason = (str(error).strip() or "it gives no reason").splitlines()[0]
        known = isinstance(error, MllmWidgetsError)
        with self._widget._traits_lock:
            if not self._asked:  # after a change there will be another time
                return
            self._asked = False
            self._widget.refused = ""  # the same reason twice is said twice
            self._widget.refused = (
                reason if known else f"the picture could not be drawn: {type(error).__name__}: {reason}"
            )

    def _take(self, token: CancelToken) -> int:
        from IPython.display import update_display

        # nothing changes while it is drawn, and no other thread puts an older picture over it
        with self._widget._traits_lock:
            token.check()  # of a widget that was closed the last picture stays
            data, size = self._draw()
            for name in self._displays:
                update_display(data, metadata=size, raw=True, display_id=name)
            self._asked = False
            self._widget.taken += 1
        return len(self._displays)

    def _draw(self) -> tuple[dict[str, str], dict[str, Any]]:
        """A mimebundle of the present picture, and its size on the page and words for who cannot see it."""
        data = self._widget.to_png()
        width = Image.open(io.BytesIO(data)).width  # two pixels for each one on the page
        words = repr(self._widget)
        # no height: where the page is narrower the browser finds the one that keeps the proportions
        size = {"image/png": {"width": width // 2, "alt": words}}
        return {"image/png": base64.b64encode(data).decode(), "text/plain": words}, size

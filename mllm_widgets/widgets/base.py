"""What all widgets share: their bundle, strict keyword arguments, and a picture beside the live view.

Each display is two outputs, a PNG and then the widget.  Where the widget comes alive it hides the PNG; where it cannot (GitHub, a notebook
that is not trusted, an offline page) the PNG is what a reader sees.
"""

from __future__ import annotations

import base64
import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets
import numpy as np
import traitlets
from PIL import Image, PngImagePlugin

from mllm_widgets.errors import WidgetError

STATIC = Path(__file__).resolve().parent.parent / "static"
_SIGNATURE = 112  # base64 characters: the PNG's header and the widget's id, which make it one of a kind


class WholeNumber(traitlets.Int):
    """An Int trait that takes numpy's integers as well, which a loop over `np.arange` gives; what is kept and sent is a plain int."""

    def validate(self, obj: Any, value: Any) -> int | None:
        """The value as an int; a TraitError for anything that is no whole number."""
        return super().validate(obj, int(value) if isinstance(value, np.integer) else value)


def bundle(name: str) -> Path:
    """Path of a built front-end file.

    Raises
    ------
    WidgetError: if the front end was never built.
    """
    path = STATIC / name
    if not path.exists():
        raise WidgetError(
            f"the front end {str(path)!r} is missing: this is a source checkout whose widgets were never built. Run `make js` "
            "in it, or install a released wheel."
        )
    return path


class Pictured(ipywidgets.Widget if TYPE_CHECKING else object):
    """A widget that is displayed as a PNG and then as a live view, which hides the PNG: its `picture_id` says which."""

    picture_id: Any

    def picture(self) -> Image.Image:
        """What is shown, as an RGB picture."""
        raise TypeError(f"{type(self).__name__} has no picture")

    def to_png(self, path: str | Path | None = None) -> bytes:
        """The picture as PNG bytes, also written to `path` if one is given."""
        info = PngImagePlugin.PngInfo()
        info.add_text("mllm_widgets", "closed" if self.comm is None else self.model_id)
        buffer = io.BytesIO()
        self.picture().save(buffer, format="PNG", optimize=True, pnginfo=info)
        if path is not None:
            Path(path).write_bytes(buffer.getvalue())
        return buffer.getvalue()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        try:
            data = self.to_png()
        except WidgetError:  # nothing to draw yet: the live view alone
            pass
        else:
            png = base64.b64encode(data).decode()
            self.picture_id = png[:_SIGNATURE]
            width, height = Image.open(io.BytesIO(data)).size  # two pixels for each one on the page
            size = {"image/png": {"width": width // 2, "height": height // 2}}
            display({"image/png": png, "text/plain": repr(self)}, metadata=size, raw=True)
        if self.comm is not None:
            display({**(self._view() or {}), "text/plain": "(live view: run the notebook)"}, raw=True)

    def _view(self) -> dict[str, Any] | None:
        bundle: Any = self._repr_mimebundle_()
        return bundle[0] if isinstance(bundle, tuple) else bundle


class Widget(Pictured, anywidget.AnyWidget):
    """Base of all widgets.

    picture_id: how the live view finds the PNG it replaces.
    offline: True in the state of a page that has no kernel: what needs one is disabled there, and says so.
    lock: held while traits change; widgets that are steered together share one, so that none waits for another that waits for it.
    """

    picture_id = traitlets.Unicode("").tag(sync=True)
    offline = traitlets.Bool(False).tag(sync=True)

    def __init__(self, *, lock: Any = None, **traits: Any) -> None:
        unknown = sorted(set(traits) - set(self.trait_names()))
        if unknown:
            raise WidgetError(
                f"{type(self).__name__} does not take {', '.join(unknown)}; its arguments are in help(mw.{type(self).__name__})."
            )
        # the worker publishes results while the main thread applies what the front end sent
        self._traits_lock = threading.RLock() if lock is None else lock
        super().__init__(**traits)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Apply what the front end sent."""
        with self._traits_lock:
            super().set_state(sync_data)

    def notify_change(self, change: Any) -> None:
        """Tell observers and the front end; waits while another thread publishes, so that no change is lost between two messages."""
        with self._traits_lock:
            super().notify_change(change)

    def publish(self, **traits: Any) -> None:
        """Set several traits from any thread; the front end gets one message."""
        with self._traits_lock, self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)

    def close(self) -> None:
        """Remove the widget; waits while another thread publishes, which would otherwise send to nobody half-way."""
        if hasattr(self, "_traits_lock"):  # Python closes what never came to be, too
            with self._traits_lock:
                super().close()

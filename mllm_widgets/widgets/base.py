"""What all widgets share: their bundle, strict keyword arguments, and a picture beside the live view.

Each display is two outputs, a PNG and then the widget.  Where the widget comes alive it hides the PNG; where it cannot (GitHub, a notebook
that is not trusted, an offline page) the PNG is what a reader sees.
"""

from __future__ import annotations

import functools
import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets
import numpy as np
import traitlets
from PIL import Image, PngImagePlugin

from mllm_widgets.bundles import bundle
from mllm_widgets.errors import WidgetError
from mllm_widgets.provenance import Provenance
from mllm_widgets.saving.places import put

from . import wire
from .budget import warn_if_large
from .shots import ASIDE, Shots

if TYPE_CHECKING:
    from mllm_widgets.render import Drawing

__all__ = ["Pictured", "WholeNumber", "Widget", "bundle"]


MOST_SEARCHED = 8_000_000  # pixels


class WholeNumber(traitlets.Int):
    """An Int trait that takes numpy's integers as well, which a loop over `np.arange` gives; what is kept and sent is a plain int."""

    def validate(self, obj: Any, value: Any) -> int | None:
        """The value as an int; a TraitError for anything that is no whole number."""
        return super().validate(obj, int(value) if isinstance(value, np.integer) else value)


@functools.cache
def _tools() -> str:
    return bundle("tools.js").read_text(encoding="utf-8")


class Pictured(ipywidgets.Widget if TYPE_CHECKING else object):
    """A widget that is displayed as a PNG and then as a live view, which hides the PNG: its `picture_id` says which.

    shots: the outputs that hold its picture. whole: those of the widget that it is a part of, if it is one.
    """

    picture_id: Any
    outputs: Any
    taken: Any
    refused: Any
    provenance: Any  # a trait, or what an Explorer puts together
    auto_snapshot: Any
    shots: Shots
    whole: Shots | None = None
    _traits_lock: Any

    def drawing(self) -> Drawing:
        """What is shown, as a drawing that every format is made of."""
        raise WidgetError(f"{type(self).__name__} has no picture of its own.")

    def picture(self) -> Image.Image:
        """What is shown, as an RGB picture, at two pixels for each one on the page.

        Raises
        ------
        WidgetError: if there is nothing to draw yet.
        """
        return self.drawing().image()

    def to_png(self, path: str | Path | None = None) -> bytes:
        """The picture as PNG bytes, also written to `path` if one is given.

        Raises
        ------
        WidgetError: if there is nothing to draw yet. SaveError: if it cannot be written there, or ends otherwise.
        """
        info = PngImagePlugin.PngInfo()
        info.add_text("mllm_widgets", "closed" if self.comm is None else self.model_id)
        if self.provenance:
            info.add_text("provenance", Provenance(self.provenance).to_json())
        buffer, picture = io.BytesIO(), self.picture()
        # searching the smallest of all files takes three times as long, and of a large picture many seconds, for a tenth of its size
        picture.save(buffer, format="PNG", optimize=picture.width * picture.height <= MOST_SEARCHED, pnginfo=info)
        if path is not None:
            put(path, buffer.getvalue(), ".png")
        return buffer.getvalue()

    def to_svg(self, path: str | Path | None = None) -> str:
        """The picture as SVG, also written to `path` if one is given.

        Raises
        ------
        WidgetError: if there is nothing to draw yet; for a picture of more than 20,000 cells, which `to_png` draws. SaveError: if it cannot be written there, or ends otherwise.
        """
        text = self.drawing().svg(Provenance(self.provenance).to_json() if self.provenance else "")
        if path is not None:
            put(path, text.encode(), ".svg")
        return text

    def parts(self) -> list[ipywidgets.Widget]:
        """The widgets that a notebook stores for this one."""
        return [self]

    def snapshot(self) -> int:
        """Draw the picture anew in each output that the widget was displayed in: what a reader of the saved notebook sees without a kernel.

        JupyterLab finds these outputs as long as its page is open; after a reload, display the widget anew.

        Returns
        -------
        How many outputs there are; 0 for a widget that was displayed in a box only, which has no picture beside it.

        Raises
        ------
        WidgetError: if there is nothing to draw yet.
        """
        if self.whole is None:
            return self.shots.take()
        return self.whole.take() + (self.shots.take() if self.shots.count else 0)

    def to_html(self, path: str | Path | None = None, *, title: str | None = None, theme: str = "light") -> str:
        """The widget as a page of its own, also written to `path` if one is given: one file that works without Jupyter, kernel and network.

        Parameters
        ----------
        title: shown above the views; by default the page is only called after the question.
        theme: "light" or "dark".

        Raises
        ------
        WidgetError: for another theme, or a widget that was closed. SaveError: if it cannot be written there, or ends otherwise.
        """
        from .page import page_of

        return page_of(self, path, title=title, theme=theme)

    def show_static(self, height: int | None = None, *, theme: str = "light") -> None:
        """Display that page in a cell's output, where it needs neither kernel nor saved state: a picture, and a frame that replaces it.

        Parameters
        ----------
        height: of the frame in pixels, until the page in it says how high it is.
        theme: "light" or "dark".

        Raises
        ------
        WidgetError: as for `to_html`, and for a height that is none.
        """
        from .page import show

        show(self, height, theme)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        self.shots.display()
        warn_if_large(*self.parts(), name=type(self).__name__)
        if self.comm is not None:
            display({**(self._view() or {}), "text/plain": "(live view: run the notebook)"}, raw=True)

    def _view(self) -> dict[str, Any] | None:
        bundle: Any = self._repr_mimebundle_()
        return bundle[0] if isinstance(bundle, tuple) else bundle


class Widget(Pictured, anywidget.AnyWidget):
    """Base of all widgets.

    picture_id: how the live view finds the PNG it replaces.
    provenance: what is on show was made with, see `mllm_widgets.provenance`; pictures and exports carry it.
    offline: True in the state of a page that has no kernel: what needs one is disabled there, and says so.
    snapshots: a counter; the camera button counts it up, and a snapshot is taken.  `taken` counts those taken, `outputs` those that hold a picture; `refused` says why
        the last one that was asked for could not be taken.
    auto_snapshot: take one when a change is complete, at most one a second.
    tools: code of the toolbar, which is the same for all widgets and no part of any one's bundle.
    lock: held while traits change; widgets that are steered together share one, so that none waits for another that waits for it.
    """

    picture_id = traitlets.Unicode("").tag(sync=True)
    provenance = traitlets.Dict({}).tag(sync=True)
    offline = traitlets.Bool(False).tag(sync=True)
    snapshots = traitlets.Int(0).tag(sync=True)
    taken = traitlets.Int(0).tag(sync=True)
    refused = traitlets.Unicode("").tag(sync=True)
    outputs = traitlets.Int(0).tag(sync=True)
    auto_snapshot = traitlets.Bool(False)
    tools = traitlets.Unicode(read_only=True).tag(sync=True)

    def __init__(self, *, lock: Any = None, **traits: Any) -> None:
        unknown = sorted(set(traits) - set(self.trait_names()))
        if unknown:
            raise WidgetError(
                f"{type(self).__name__} does not take {', '.join(unknown)}; its arguments are in help(mw.{type(self).__name__})."
            )
        # the worker publishes results while the main thread applies what the front end sent
        self._traits_lock = threading.RLock() if lock is None else lock
        self.shots = Shots(self)
        super().__init__(**traits)
        self.observe(lambda _: [shots.ask() for shots in self._albums], "snapshots")

    @traitlets.default("tools")
    def _tools_default(self) -> str:
        return _tools()

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The traits as they are sent and saved; lone surrogates, which no message and no notebook can hold, as their codes."""
        return wire.sendable(super().get_state(key, drop_defaults))

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Apply what the front end sent."""
        with self._traits_lock:
            super().set_state(sync_data)

    def notify_change(self, change: Any) -> None:
        """Tell observers and the front end; waits while another thread publishes, so that no change is lost between two messages."""
        with self._traits_lock:
            super().notify_change(change)
        if self._drawn(change["name"]):
            for shots in self._albums:
                shots.changed()

    @property
    def _albums(self) -> tuple[Shots, ...]:
        """All outputs in whose pictures it is."""
        return (self.shots,) if self.whole is None else (self.shots, self.whole)

    def _drawn(self, name: str) -> bool:
        """Does a change of a trait show in the picture?  What is being computed does not, until it is there."""
        shows = name in self.keys and not name.startswith("_") and name not in ASIDE
        return shows and not self._computes

    @property
    def _computes(self) -> bool:
        return getattr(self, "state", "idle") in ("running", "waiting")

    def settled(self, **idle: Any) -> dict[str, Any]:
        """Traits to go back to when something done aside is over: as they are now, or `idle` where they tell of work that may be over before."""
        with self._traits_lock:
            return idle if self._computes else {name: getattr(self, name) for name in idle}

    def publish(self, **traits: Any) -> None:
        """Set several traits from any thread; the front end gets one message."""
        with self._traits_lock, self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)

    def close(self) -> None:
        """Remove the widget; waits while another thread publishes, which would otherwise send to nobody half-way."""
        if hasattr(self, "_traits_lock"):  # Python closes what never came to be, too
            self.shots.close()
            with self._traits_lock:
                super().close()

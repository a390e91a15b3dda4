"""From living widgets to a page: which models it needs, their pictures, and what its title and foot say."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import ipywidgets
from ipywidgets.widgets import widget as widget_module
from ipywidgets.widgets.widget_link import Link
from PIL import Image

from mllm_widgets.errors import WidgetError
from mllm_widgets.render.page import THEMES, Shown, frame, page
from mllm_widgets.render.pieces import needed
from mllm_widgets.saving.places import put

from . import wire
from .shots import SIGNATURE

if TYPE_CHECKING:
    from .base import Pictured

WAIT = 15.0  # seconds for what is being computed, so that the page does not show half of it
FACTS = (
    "model",
    "revision",
    "question",
    "constraint",
    "corruption",
    "window",
    "lam",
    "seed",
    "edits",
    "date",
    "versions",
)
HEIGHT = 480  # pixels of a frame whose page has not said how high it is


def page_of(widget: Pictured, path: str | Path | None, *, title: str | None, theme: str, framed: bool = False) -> str:
    """The page of a widget, also written to `path`."""
    if theme not in THEMES:
        raise WidgetError(f"theme={theme!r} is not known; expected one of {THEMES}.")
    if title is not None and not isinstance(title, str):
        raise WidgetError(f"title={title!r} is no text; expected one, or None.")
    if widget.comm is None:
        raise WidgetError(f"this {type(widget).__name__} was closed, and its state went with it; make the page before.")
    wait = getattr(widget, "wait", None)
    if wait is not None:
        wait(WAIT)
    with widget._traits_lock:
        models = models_of(widget)
        shown = shown_of(widget)
    document = wire.sendable(
        page(
            [shown],
            models,
            title=title or _name(widget),
            headed=title is not None,
            framed=framed,
            theme=theme,
            facts=_facts(widget),
        )
    )
    if path is not None:
        put(path, document.encode(), ".html")
    return document


def show(widget: Pictured, height: int | None, theme: str) -> None:
    """Display the page as a frame, after the picture that it replaces."""
    from IPython.display import display

    if height is not None and (isinstance(height, bool) or not isinstance(height, int) or height < 1):
        raise WidgetError(f"height={height!r} is no height; expected a whole number of pixels, such as {HEIGHT}.")
    document = page_of(widget, None, title=None, theme=theme, framed=True)
    shown = shown_of(widget)
    mark = ""
    if shown.picture is not None:
        png = base64.b64encode(shown.picture).decode()
        mark = png[SIGNATURE]
        size = {"image/png": {"width": shown.size[0] // 2, "alt": shown.alt}}
        display({"image/png": png, "text/plain": shown.alt}, metadata=size, raw=True)
    html = frame(document, name=uuid4().hex, title=wire.sendable(_name(widget)), height=height or HEIGHT, picture=mark)
    display({"text/html": html, "text/plain": "(the same, to be used: trust the notebook)"}, raw=True)


def models_of(widget: ipywidgets.Widget) -> dict[str, Any]:
    """The models that a widget's view needs, as Jupyter saves them: its children, their layouts, and the stores that links tie them to."""
    living = widget_module._instances

    def saved(*widgets: ipywidgets.Widget) -> dict[str, Any]:
        return ipywidgets.Widget.get_manager_state(widgets=widgets)["state"]

    links = saved(*(other for other in list(living.values()) if isinstance(other, Link)))
    return needed(lambda name: saved(living[name])[name] if name in living else None, links, [widget.model_id])


def shown_of(widget: Pictured) -> Shown:
    """A widget's view with its picture, if it has one yet."""
    try:
        data = widget.to_png()
    except WidgetError:
        return Shown(widget.model_id)
    return Shown(widget.model_id, data, repr(widget), Image.open(io.BytesIO(data)).size)


def _name(widget: Pictured) -> str:
    """What a page is called that nobody gave a title: the question it is about, and what shows it."""
    question: Any = getattr(widget, "question", "")
    return " - ".join(filter(None, (str(getattr(question, "text", question)), type(widget).__name__)))


def _facts(widget: Pictured) -> dict[str, str]:
    """What the foot of the page says: where the numbers come from; all of it is in the page's data."""
    made = {**(getattr(widget, "provenance", None) or {})}
    windows = (getattr(widget, "maps", None) or {}).get("windows")
    if windows:  # the page's slider has all of them
        made["window"] = windows
    return {name: text for name in FACTS if (text := _words(name, made.get(name)))}


def _words(name: str, value: Any) -> str:
    if name == "revision":
        return str(value or "").removeprefix("sha256:")[:12]
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item)
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else "" if value is None else str(value)

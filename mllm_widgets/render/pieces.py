"""Data of widgets for a page: bytes and programs as text, deflated where that pays.

A piece is {"text": ...}, {"base64": ...} or {"deflate": base64 of a zlib stream}; js/src/host/pieces.ts reads it.  On the demo model a bundle shrinks
to half, a map of float32 to about a third before it is complete and hardly at all after; pictures are compressed already and stay as they are.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

VERSION = 1
LEAST, GAIN = 400, 0.9  # bytes from which on deflating is tried, and the share of the size below which it is kept
LARGE_STATE = 2_000_000  # characters of a widget's state in a notebook; more open slowly
LONG = 1000  # characters of a trait from which on equal texts are kept together
REFERENCE = "IPY_MODEL_"
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"


def bytes_piece(data: bytes) -> dict[str, str]:
    """Bytes as a piece."""
    small = zlib.compress(data, 9) if len(data) >= LEAST else data
    if len(small) < GAIN * len(data):
        return {"deflate": base64.b64encode(small).decode()}
    return {"base64": base64.b64encode(data).decode()}


def text_piece(text: str) -> dict[str, str]:
    """Text as a piece."""
    piece = bytes_piece(text.encode())
    return piece if "deflate" in piece and len(piece["deflate"]) < GAIN * len(text) else {"text": text}


def references(value: Any) -> Iterable[str]:
    """The ids of models that a state refers to, at any depth."""
    if isinstance(value, str):
        if value.startswith(REFERENCE):
            yield value.removeprefix(REFERENCE)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from references(item)


def is_link(model: Mapping[str, Any]) -> bool:
    """Does a model only tie two others, as `jslink` makes it?"""
    return model["model_name"] in ("LinkModel", "DirectionalLinkModel")


def links_of(models: Mapping[str, Any]) -> dict[str, Any]:
    """Those of them that only tie two others, as `jslink` makes them."""
    return {name: model for name, model in models.items() if is_link(model)}


def needed(find: Callable[[str], Any], links: Mapping[str, Any], views: Iterable[str]) -> dict[str, Any]:
    """The models that views need: what they refer to, and what links tie to that without having a view of its own.

    find: the model with an id, or None. links: those that may tie them.
    """
    ends = {name: set(references([link["state"]["source"], link["state"]["target"]])) for name, link in links.items()}
    found: dict[str, Any] = {}
    wanted = list(views)
    while wanted:
        name = wanted.pop()
        model = None if name in found else find(name)
        if model is not None:
            found[name] = model
            wanted += references(model["state"])
        if not wanted:
            beyond = {end for tied in ends.values() if tied & set(found) for end in tied - set(found)}
            wanted += [
                end for end in beyond if (model := find(end)) is not None and not model["state"].get("_view_name")
            ]
    return found | {name: links[name] for name, tied in ends.items() if tied <= set(found)}


def page_data(models: Mapping[str, Any], *, offline: bool = True) -> str:
    """Models, as Jupyter saves them, in the form that js/src/host/store.ts reads; text that cannot end the script it stands in.

    offline: do all widgets say what needs a kernel?  Otherwise those do whose state says so.  Programs, style sheets and other long texts are put once, however many models have them.
    """
    bundles: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    described: dict[str, Any] = {}
    for name, model in models.items():
        state = _finite(model["state"])
        entry: dict[str, Any] = {"module": model["model_module"], "name": model["model_name"], "state": state}
        if "_esm" in state:
            program, style = str(state.pop("_esm")), str(state.pop("_css", "") or "")
            entry["bundle"] = _key(f"{program}\0{style}")
            bundles.setdefault(entry["bundle"], {"esm": text_piece(program), "css": text_piece(style)})
        long = [trait for trait, value in state.items() if isinstance(value, str) and len(value) >= LONG]
        entry["texts"] = {trait: _key(state[trait]) for trait in long}
        texts |= {_key(state[trait]): text_piece(state.pop(trait)) for trait in long}
        entry["buffers"] = [
            {"path": buffer["path"], "data": bytes_piece(base64.b64decode(buffer["data"]))}
            for buffer in model.get("buffers", [])
        ]
        described[name] = entry
    data = {"version": VERSION, "offline": offline, "bundles": bundles, "texts": texts, "models": described}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _finite(value: Any) -> Any:
    """A copy in which what JSON has no number for is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value

"""A notebook file as it was saved: its widgets' state, and where each widget is displayed with which picture."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllm_widgets.errors import NotebookError
from mllm_widgets.render.pieces import STATE, VIEW
from mllm_widgets.saving.places import written


@dataclass(frozen=True)
class Display:
    """One widget in the output of a cell.

    cell: its number among all cells, from 1. output: index among the cell's outputs. picture: index of the output that holds its picture, which may be its own.
    model: the id of the widget.
    """

    cell: int
    output: int
    model: str
    picture: int | None


def read(path: Path) -> dict[str, Any]:
    """The notebook in a file.

    Raises
    ------
    NotebookError: for a file that is missing or no notebook.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotebookError(f"there is no file {str(path)!r}; expected a notebook, such as lesson.ipynb.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookError(f"{str(path)!r} cannot be read as text: {error}.") from None
    try:
        notebook = json.loads(text)
        if notebook["nbformat"] != 4 or not all("cell_type" in {**cell} for cell in notebook["cells"]):
            raise ValueError
        notebook.setdefault("metadata", {})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotebookError(
            f"{str(path)!r} is not a notebook of format 4; an older one is brought up to date by opening and saving it in Jupyter."
        ) from None
    damage = _damage(notebook)
    if damage:
        raise NotebookError(f"{str(path)!r} is damaged: {damage}. Opening and saving it in Jupyter may mend it.")
    return notebook


def _damage(notebook: dict[str, Any]) -> str:
    """What is not as Jupyter writes it, of what is read here; nothing where all is."""
    if not isinstance(notebook["metadata"], dict):
        return "its metadata are no JSON object"
    for number, cell in enumerate(notebook["cells"], 1):
        outputs = cell.get("outputs", [])
        whole = isinstance(outputs, list) and all(
            isinstance(output, dict) and isinstance(output.get("data", {}), dict) for output in outputs
        )
        if not whole:
            return f"the outputs of cell {number} are no list of JSON objects with their data"
    return ""


def write(notebook: dict[str, Any], path: Path) -> None:
    """Store a notebook as Jupyter lays it out, whole or not at all.

    Raises
    ------
    SaveError: where nothing can be written.
    """
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    # a lone surrogate, which UTF-8 does not have, stands in JSON as its escape
    written(path.resolve(), lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace"))


def models(notebook: dict[str, Any]) -> dict[str, Any]:
    """The saved state of its widgets, id -> model; empty where none was saved.  What is no model, as other programs leave it, counts as not saved."""
    place = notebook["metadata"]
    for name in ("widgets", STATE, "state"):
        place = place.get(name)
        if not isinstance(place, dict):
            return {}
    return {name: model for name, model in place.items() if _is_model(model)}


def _is_model(model: Any) -> bool:
    return (
        isinstance(model, dict)
        and all(isinstance(model.get(name), str) for name in ("model_name", "model_module"))
        and isinstance(model.get("state"), dict)
    )


def displays(notebook: dict[str, Any]) -> Iterator[Display]:
    """Every widget on show, in the order of the cells.

    A widget's picture is the last one before it that names it, in the same cell, or another that does; or the one in its own output.
    """
    for number, cell in enumerate(notebook["cells"], 1):
        outputs = cell.get("outputs", [])
        owners = [_owner(output) for output in outputs]
        for at, output in enumerate(outputs):
            model = _viewed(output)
            if model:
                named = [place for place, owner in enumerate(owners) if owner == model]
                before = [place for place in named if place < at]
                own = at if picture_of(output) else None
                yield Display(number, at, model, (before[-1:] or named[:1] or [own])[0])


def _viewed(output: dict[str, Any]) -> str:
    """The id of the widget whose view an output is; nothing for other outputs."""
    view = output.get("data", {}).get(VIEW)
    model = view.get("model_id") if isinstance(view, dict) else ""
    return model if isinstance(model, str) else ""


def picture_of(output: dict[str, Any]) -> bytes:
    """The PNG in an output; nothing where there is none, or none that can be decoded."""
    data = output.get("data", {}).get("image/png", "")
    try:
        return base64.b64decode(data if isinstance(data, str) else "".join(data))
    except (binascii.Error, TypeError, ValueError):
        return b""


def text_of(output: dict[str, Any]) -> str:
    """The plain text in an output."""
    text = output.get("data", {}).get("text/plain", "")
    return text if isinstance(text, str) else "".join(text)


def _owner(output: dict[str, Any]) -> str:
    """The id of the widget whose picture an output is, as `to_png` writes it into the file; nothing for other outputs."""
    data = picture_of(output)
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        keyword, _, text = data[at + 8 : at + 8 + length].partition(b"\0")
        if kind == b"tEXt" and keyword == b"mllm_widgets":
            return text.decode("latin-1")
        if kind == b"IDAT":
            break
        at += length + 12
    return ""

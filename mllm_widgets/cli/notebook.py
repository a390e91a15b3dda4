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
        if notebook["nbformat"] != 4 or not all("cell_type" in cell for cell in notebook["cells"]):
            raise ValueError
        notebook.setdefault("metadata", {})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotebookError(
            f"{str(path)!r} is not a notebook of format 4; an older one is brought up to date by opening and saving it in Jupyter."
        ) from None
    return notebook


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
    """The saved state of its widgets, id -> model; empty where none was saved."""
    return notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})


def displays(notebook: dict[str, Any]) -> Iterator[Display]:
    """Every widget on show, in the order of the cells.

    A widget's picture is the one that names it, in the same cell; or the one in its own output.
    """
    for number, cell in enumerate(notebook["cells"], 1):
        outputs = cell.get("outputs", [])
        owners = {owner: at for at, output in enumerate(outputs) if (owner := _owner(output))}
        for at, output in enumerate(outputs):
            view = output.get("data", {}).get(VIEW)
            if view:
                own = at if "image/png" in output["data"] else None
                yield Display(number, at, view["model_id"], owners.get(view["model_id"], own))


def picture_of(output: dict[str, Any]) -> bytes:
    """The PNG in an output."""
    data = output["data"]["image/png"]
    return base64.b64decode(data if isinstance(data, str) else "".join(data))


def text_of(output: dict[str, Any]) -> str:
    """The plain text in an output."""
    text = output.get("data", {}).get("text/plain", "")
    return text if isinstance(text, str) else "".join(text)


def _owner(output: dict[str, Any]) -> str:
    """The id of the widget whose picture an output is, as `to_png` writes it into the file; nothing for other outputs."""
    if "image/png" not in output.get("data", {}):
        return ""
    try:
        data = picture_of(output)
    except (binascii.Error, ValueError):
        return ""
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

"""`mllm-widgets export`: a notebook as one page that needs nothing else, or the notebook itself without the state of its widgets."""

from __future__ import annotations

import copy
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mllm_widgets.errors import NotebookError
from mllm_widgets.render.page import Shown, mount
from mllm_widgets.render.pieces import links_of, needed
from mllm_widgets.saving.places import check_folder, written

from .notebook import displays, models, picture_of, read, text_of, write

MISSING = 'this needs {name}, which is not installed here: pip install "mllm_widgets[export]" brings all that exporting needs.'


@dataclass(frozen=True)
class Exported:
    """What came of an export: how many widgets live in the page, how many are pictures, how many are neither, and what to say about it."""

    live: int
    pictures: int
    unseen: int
    notes: tuple[str, ...]


def export(path: Path, to: Path, *, execute: bool = False, theme: str = "light", title: str | None = None) -> Exported:
    """Write the page of a notebook.

    Raises
    ------
    NotebookError: for what is no notebook, a cell that fails, or where nbconvert is missing. SaveError: where nothing can be written.
    """
    try:
        from .convert import notebook_page
    except ImportError as error:
        raise NotebookError(MISSING.format(name=error.name)) from None
    check_folder(to.resolve())
    notebook = run(path) if execute else read(path)
    saved = models(notebook)
    here = needed(saved.get, links_of(saved), [display.model for display in displays(notebook)])
    prepared, live, pictures, unseen, notes = _with_mounts(notebook, here)
    page = notebook_page(
        prepared, here, title=title or _title(notebook, path), theme=theme, folder=str(path.resolve().parent)
    )
    outside = sorted(
        set(
            re.findall(
                r"""<(?:script|img|link|iframe|source|video|audio)\b[^>]*?\s(?:src|href)=["'](https?:[^"']+)""", page
            )
        )
    )
    if outside:
        notes.append(f"the page loads nothing from elsewhere, so this is missing in it: {', '.join(outside)}.")
    written(to.resolve(), lambda part: part.write_text(page, encoding="utf-8", errors="backslashreplace"))
    return Exported(live, pictures, unseen, tuple(notes))


def strip_state(path: Path, to: Path) -> int:
    """Write the notebook without the state of its widgets, whose pictures stay; how many bytes that saved.

    Raises
    ------
    NotebookError: for what is no notebook. SaveError: where nothing can be written.
    """
    notebook = read(path)
    before = path.stat().st_size
    notebook["metadata"].pop("widgets", None)
    write(notebook, to)
    return before - to.stat().st_size


def run(path: Path) -> dict[str, Any]:
    """The notebook as it is after all its cells have run in its own folder; the file stays as it is.

    Raises
    ------
    NotebookError: for what is no notebook, or a cell that fails.
    """
    read(path)
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, DeadKernelError
    except ImportError as error:
        raise NotebookError(MISSING.format(name=error.name)) from None
    from jupyter_client.kernelspec import NoSuchKernel

    node = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.resolve().parent)}}
    client = NotebookClient(node, timeout=None, store_widget_state=True, resources=place)
    try:
        client.execute()
    except CellExecutionError as error:
        raise NotebookError(f"{str(path)!r} could not be run: {error.ename}: {error.evalue}.") from None
    except DeadKernelError:
        raise NotebookError(
            f"{str(path)!r} could not be run: its kernel died, most often because memory ran out. The notebook is as it was."
        ) from None
    except NoSuchKernel as error:
        raise NotebookError(f"{str(path)!r} asks for the kernel {error.name!r}, which is not installed here.") from None
    return node


def _with_mounts(notebook: dict[str, Any], here: dict[str, Any]) -> tuple[dict[str, Any], int, int, int, list[str]]:
    """A copy of the notebook for nbconvert: a mount for each widget that has a state, its picture in it; formulas set.

    Also how many widgets live, how many are pictures, how many are neither, and notes.
    """
    prepared = copy.deepcopy(notebook)
    prepared["metadata"].pop("widgets", None)
    live = pictures = unseen = 0
    notes, dropped = [], set()
    for display in displays(notebook):
        outputs = prepared["cells"][display.cell - 1]["outputs"]
        output, twin = outputs[display.output], None if display.picture is None else outputs[display.picture]
        if display.model not in here:
            pictures += twin is not None
            unseen += twin is None
            if twin is not None and twin is not output:
                dropped.add((display.cell, display.output))
            continue
        live += 1
        shown = Shown(display.model) if twin is None else _shown(display.model, twin)
        output.update(output_type="display_data", data={"text/html": mount(shown)}, metadata={"mllm_widgets": "view"})
        output.pop("execution_count", None)
        if twin is not None and twin is not output:
            dropped.add((display.cell, display.picture))
    if pictures or unseen:
        notes.append(
            f"the state of {pictures + unseen} widgets was not saved: they are pictures, or a line of text. With --execute the notebook is run first, "
            "and they live; JupyterLab saves it with Settings > Save Widget State Automatically."
        )
    for number, cell in enumerate(prepared["cells"], 1):
        if "outputs" in cell:
            cell["outputs"] = [o for at, o in enumerate(cell["outputs"]) if (number, at) not in dropped]
            for output in cell["outputs"]:
                _set_formulas(output)
    return prepared, live, pictures, unseen, notes


def _shown(model: str, output: dict[str, Any]) -> Shown:
    picture = picture_of(output)
    try:
        size = Image.open(io.BytesIO(picture)).size
    except OSError:  # a damaged one: the page shows what a browser makes of it
        size = (0, 0)
    return Shown(model, picture, text_of(output).strip(), size)


def _set_formulas(output: dict[str, Any]) -> None:
    from .formulas import typeset

    data = output.get("data", {})
    if "text/latex" in data and "text/html" not in data:
        latex = data["text/latex"]
        data["text/html"] = typeset(latex if isinstance(latex, str) else "".join(latex), display=True)


def _title(notebook: dict[str, Any], path: Path) -> str:
    """Its first heading, or the name of its file."""
    for cell in notebook["cells"]:
        source = "".join(cell.get("source", ""))
        found = cell["cell_type"] == "markdown" and re.search(r"^#+\s+(.+?)\s*#*$", source, re.MULTILINE)
        if found:
            return re.sub(r"[*_`$]", "", found[1])
    return path.stem

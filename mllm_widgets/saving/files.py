"""Files of results: `result.save(path)` and `mw.load_result(path)`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mllm_widgets.errors import SaveError
from mllm_widgets.provenance import Provenance

from . import json_file, netcdf_file, tree
from .places import path_of, written
from .view import View

FORMAT, VIEW = "mllm_widgets result", "mllm_widgets view"
VERSION = 1  # goes up when an older reader would misunderstand a file
ENDINGS: dict[str, Any] = {".json": json_file, ".nc": netcdf_file}


def save(result: Any, path: str | os.PathLike[str]) -> None:
    """See `Result.save`."""
    place = path_of(path, tuple(ENDINGS))
    view = isinstance(result, View)
    head = {
        "format": VIEW if view else FORMAT,
        "version": VERSION,
        "kind": result.kind if view else tree.kind_of(result),
        "provenance": result.provenance,
    }
    fields = tree.tree_of(dict(result.data)) if view else tree.fields_of(result)
    written(place, lambda part: ENDINGS[place.suffix.lower()].write(part, head, fields))


def load_result(path: str | os.PathLike[str]) -> Any:
    """A result from a file that `result.save(path)` wrote, or what a widget's Export menu wrote as JSON.

    No model is loaded, and nothing that is in the file is run.  What only a model can do (other windows of a trace, `to_code`) is gone.

    Parameters
    ----------
    path: of a ".json" or ".nc" file.

    Returns
    -------
    A `Trace`, `Contributions`, `Knockout`, `Lens`, `Answer`, a report or a sweep, as it was; a `mllm_widgets.saving.view.View` of what a widget wrote.

    Raises
    ------
    SaveError: for a file that is missing, no result, damaged, or of a later version.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> mw.ask(mw.load(), mw.datasets.demo_question("Eiffel Tower")).save("answer.json")
    >>> str(mw.load_result("answer.json"))
    'Paris'
    """
    place = path_of(path, tuple(ENDINGS))
    if not place.is_file():
        what = "is a folder" if place.is_dir() else "does not exist"
        raise SaveError(f"path={str(place)!r} {what}; expected a file that result.save(path) wrote.")
    head, fields = _read(place)
    try:
        kind, made_with = head["kind"], head["provenance"]
        if head["format"] == VIEW:
            return View(kind=str(kind), data=_view(fields), provenance=Provenance(made_with))
        if kind not in tree.KINDS:
            raise KeyError(f"kind {kind!r}")
        return tree.made(tree.class_named(tree.KINDS[kind].rsplit(".", 1)[1]), _decoded(place, fields), made_with)
    except SaveError:
        raise
    except Exception as error:
        raise SaveError(
            f"path={str(place)!r} is damaged: it says that it is a result, but not all of it can be read ({type(error).__name__}: {error})."
        ) from error


def _read(place: Path) -> tuple[dict[str, Any], Any]:
    """(head, fields) of a file of ours.

    Raises SaveError for one that is none, or of a later version.
    """
    wanted = "expected a file that result.save(path) wrote"
    try:
        head, fields = ENDINGS[place.suffix.lower()].read(place)
    except SaveError:
        raise
    except Exception as error:
        what = "JSON" if place.suffix.lower() == ".json" else "NetCDF"
        raise SaveError(
            f"path={str(place)!r} cannot be read as {what} ({error}); {wanted}. It may be cut short or damaged."
        ) from error
    if head.get("format") not in (FORMAT, VIEW):
        raise SaveError(f"path={str(place)!r} is no result of mllm_widgets; {wanted}.")
    version = head.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise SaveError(
            f"path={str(place)!r} is of version {version!r} of the format, and this mllm_widgets reads up to {VERSION}; install a later one."
        )
    return head, fields


def _decoded(place: Path, fields: Any) -> Any:
    return json_file.decoded(fields) if place.suffix.lower() == ".json" else fields


def _view(fields: Any) -> dict[str, Any]:
    return tree.value_of(json_file.decoded(fields))

"""Where files go: paths as users write them, and files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mllm_widgets.errors import SaveError


def path_of(path: Any, endings: tuple[str, ...]) -> Path:
    """A path that ends in one of `endings`.

    Raises SaveError for what is no path, or ends otherwise.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path) or "\0" in str(path):
        raise SaveError(f"path={path!r} is no path; expected a text or a pathlib.Path.")
    place = Path(path).expanduser()
    if place.is_dir():
        raise SaveError(f"path={str(place)!r} is a folder; expected the name of a file.")
    if place.suffix.lower() not in endings:
        ends = f"ends in {place.suffix!r}" if place.suffix else "has no ending"
        raise SaveError(f"path={str(place)!r} {ends}; expected a file name that ends in {' or '.join(endings)}.")
    return place


def put(path: Any, data: bytes, ending: str) -> None:
    """Write the bytes of a file, whole or not at all.

    Raises SaveError for what is no path, or ends otherwise, and where nothing can be written.
    """
    written(path_of(path, (ending,)), lambda part: part.write_bytes(data))


def check_folder(place: Path) -> None:
    """Raises SaveError where the folder of a file to be written is missing; to be known before the work that makes the file."""
    if not place.parent.is_dir():
        raise SaveError(f"path={str(place)!r} cannot be written (its folder does not exist).")


def written(place: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside its place first, then put it there.

    Raises SaveError where nothing can be written.
    """
    check_folder(place)
    part = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        write(part)
        if place.exists():
            shutil.copymode(place, part)
        part.replace(place)
    except OSError as error:
        raise SaveError(f"path={str(place)!r} cannot be written ({error.strerror or error}).") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()

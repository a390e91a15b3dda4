"""The folder of a sweep: what it is (run.json), and its results in Parquet parts, each written whole or not at all.

A part is two files of one name, cells-NAME.parquet and then questions-NAME.parquet: a question is done when it stands in the second.  Cells whose second
file never came are of a run that ended between the two; they are removed.  A part that cannot be read any more (a disk that failed, a copy that was cut off) is
set aside as damaged-..., and its questions are done again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from mllm_widgets.errors import DamagedPartWarning, DatasetError

from .parts import KEYS, as_table, cells_of, damage, put, replace

FORMAT, VERSION = "mllm_widgets run", 1
FACTS = {
    "id": "text", "model": "text", "measure": "text", "status": "text", "reason": "text", "text": "text", "answer": "text",
    "probability": "float", "score": "float", "seconds": "seconds", "digest": "text", "picture": "text",
}  # fmt: skip
SAME = ("revision", "architecture", "dtype", "quantised", "template", "edits")  # of a model; where it runs may change
PARTS = {"format": str, "version": int, "models": list, "measures": list, "ids": list, "sessions": list}  # of run.json


class Store:
    """A run's folder, opened for writing by one process at a time.

    Raises
    ------
    DatasetError: for a folder of something else or of another run, or one that another process writes to.
    """

    def __init__(self, folder: Path, config: dict[str, Any], columns: tuple[dict[str, str], dict[str, str]]) -> None:
        self.folder = folder
        self._facts, self._cells = {**FACTS, **columns[0]}, {**dict.fromkeys(KEYS, "text"), **columns[1]}
        if folder.exists() and not folder.is_dir():
            raise DatasetError(f"out={str(folder)!r} is a file; expected a folder, which may be new.")
        with _told(folder):
            folder.mkdir(parents=True, exist_ok=True)
            known = _known(folder)
            if known is None and any(not entry.name.startswith((".lock", ".new-")) for entry in folder.iterdir()):
                raise DatasetError(
                    f"out={str(folder)!r} is a folder with other files and no run in it; expected a new or empty one."
                )
            self._lock = _lock(folder)
            try:
                known = _known(folder)  # another process may have made the run meanwhile
                if known is not None:
                    _check_same(folder, known, config)
                self._config = _merged(known, config)
                self._tidy()
            except BaseException:
                self.close()
                raise

    def begin(self) -> None:
        """Write down what is going to be measured; until then nothing of the run has changed."""
        with _told(self.folder):
            self._write_config()

    def note_model(self, name: str, facts: dict[str, Any]) -> None:
        """Keep what a model turned out to be when it was loaded.

        Raises
        ------
        DatasetError: if the run has a model of this name that was another.
        """
        entry = next(one for one in self._config["models"] if one["name"] == name)
        if entry == {**entry, **facts}:
            return
        if "dtype" in entry:
            for key in SAME:
                there, here = entry.get(key), facts.get(key)
                if there != here:
                    raise DatasetError(
                        f"out={str(self.folder)!r} is the folder of another run: its model {name!r} had {key}={there!r}, and here it has {here!r}. Choose another "
                        "folder, or load the model as it was."
                    )
        entry.update(facts)
        with _told(self.folder):
            self._write_config()

    def close(self) -> None:
        """Let others write."""
        self._lock.close()

    def write(self, units: Sequence[dict[str, Any]]) -> None:
        """One more part: of each unit the facts of its question, and its "cells"."""
        import pyarrow as pa

        if not units:
            return
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}"
        facts = {column: [unit.get(column) for unit in units] for column in self._facts}
        parts = []
        for unit in units:
            cells = unit.get("cells") or {}
            count = len(next(iter(cells.values()), ()))
            if count:
                columns = {**{key: [unit[key]] * count for key in KEYS}, **cells}
                parts.append(as_table({c: columns.get(c, [None] * count) for c in self._cells}, self._cells))
        cells = pa.concat_tables(parts) if parts else as_table({c: [] for c in self._cells}, self._cells)
        with _told(self.folder):
            put(self.folder, f"cells-{name}.parquet", cells)
            put(self.folder, f"questions-{name}.parquet", as_table(facts, self._facts))

    def _write_config(self) -> None:
        replace(self.folder / "run.json", json.dumps(self._config, indent=1, ensure_ascii=False).encode())

    def _tidy(self) -> None:
        """Remove what a run that was killed left half done, and set aside what cannot be read."""
        for path in self.folder.glob(".new-*"):
            path.unlink()
        for path in self.folder.glob("cells-*.parquet"):
            if not path.with_name(path.name.replace("cells-", "questions-")).exists():
                path.unlink()
        for path in sorted(self.folder.glob("questions-*.parquet")):
            both = (path, cells_of(path))
            reasons = [reason for reason in map(damage, both) if reason]
            if reasons:
                for one in both:
                    if one.exists():
                        one.replace(one.with_name(f"damaged-{one.name}"))
                warnings.warn(
                    f"a part of the run in {str(self.folder)!r} is damaged ({reasons[0]}); it is set aside as damaged-{path.name}, and its questions are done again.",
                    DamagedPartWarning,
                    stacklevel=4,
                )


def folder_of(path: Any, argument: str) -> Path:
    """The path of a folder as users write it.

    Raises DatasetError for what is none.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise DatasetError(
            f"{argument}={path!r} is no path; expected the folder of a run, as a text or a pathlib.Path."
        )
    return Path(path).expanduser()


def read_config(folder: Path) -> dict[str, Any]:
    """What a run is.

    Raises
    ------
    DatasetError: for a folder without a run, or with one of a newer version.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise DatasetError(f"{str(folder)!r} holds no run: it has no run.json. Was the path of a run's folder meant?")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{str(path)!r} cannot be read ({error}); it says what the run is.") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT or not isinstance(config.get("version"), int):
        raise DatasetError(f"{str(path)!r} is not the description of a run of mllm_widgets.")
    if config["version"] > VERSION:
        raise DatasetError(
            f"{str(path)!r} is of version {config['version']}; this mllm_widgets reads up to {VERSION}: update it."
        )
    lacking = [name for name, kind in PARTS.items() if not isinstance(config.get(name), kind)]
    if lacking:
        raise DatasetError(f"{str(path)!r} lacks {', '.join(map(repr, lacking))}; was it changed by hand?")
    return config


def _known(folder: Path) -> dict[str, Any] | None:
    return read_config(folder) if (folder / "run.json").exists() else None


def _merged(known: dict[str, Any] | None, config: dict[str, Any]) -> dict[str, Any]:
    """What the run's folder says of it from now on: questions and sessions are added."""
    before = known or {"sessions": [], "ids": []}
    told = {key: value for key, value in config.items() if key != "session"}
    facts = {one["name"]: one for one in before.get("models", [])}
    models = [{**facts.get(one["name"], {}), **one} for one in config["models"]]
    ids = list(dict.fromkeys([*before["ids"], *config["ids"]]))
    sessions = [*before["sessions"], config["session"]]
    return {"format": FORMAT, "version": VERSION, **told, "models": models, "ids": ids, "sessions": sessions}


def _check_same(folder: Path, known: dict[str, Any], config: dict[str, Any]) -> None:
    # of models, what is known before they are loaded; the rest is compared then
    models = [{key: value for key, value in one.items() if key in ("name", "edits")} for one in known["models"]]
    known = {**known, "models": models}
    for part in ("models", "measures", "ask"):
        if known.get(part) != config[part]:
            there, here = _difference(known.get(part), config[part])
            said = f"its {part} are {there}, and here they are {here}"
            if part == "ask":
                said = f"it has ask={there}, and here it has ask={here}"
            raise DatasetError(
                f"out={str(folder)!r} is the folder of another run: {said}. Choose another folder, or the same settings."
            )


def _difference(there: Any, here: Any) -> tuple[Any, Any]:
    """The smallest part that differs."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
        if keys and keys[0] in there and keys[0] in here:
            inner = _difference(there[keys[0]], here[keys[0]])
            return f"{keys[0]}={inner[0]}", f"{keys[0]}={inner[1]}"
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        return _difference(*next((one, other) for one, other in zip(there, here, strict=True) if one != other))
    return there, here


def _lock(folder: Path) -> IO[str]:
    """Held until it is closed or its process ends, however that ends."""
    file = (folder / ".lock").open("a+")
    try:
        import fcntl
    except ImportError:  # Windows: two writers at once are the user's to avoid
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return file  # a file system that knows no locks: two writers at once are the user's to avoid there too
        file.close()
        raise DatasetError(
            f"out={str(folder)!r} is being written by another process; wait for it, or stop it, and call again."
        ) from None
    return file


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What the disk refuses, in a sentence."""
    try:
        yield
    except OSError as error:
        cures = {
            **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room"),
            **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Allow writing there"),
        }
        raise DatasetError(
            f"out={str(folder)!r} cannot be written ({error.strerror or error}); what was written before is whole. "
            f"{cures.get(error.errno or 0, 'Mend that')}, and call again: the sweep goes on where it was."
        ) from error

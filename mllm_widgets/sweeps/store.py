"""The folder of a sweep: what it is (run.json), and its results in Parquet parts, each written whole or not at all.

A part is two files of one name, cells-NAME.parquet and then questions-NAME.parquet: a question is done when it stands in the second.  Cells whose second
file never came are of a run that ended between the two; they are removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mllm_widgets.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT, VERSION = "mllm_widgets run", 1
FACTS = {
    "id": "text", "model": "text", "measure": "text", "status": "text", "reason": "text", "text": "text", "answer": "text",
    "probability": "float", "score": "float", "seconds": "seconds", "digest": "text",
}  # fmt: skip
KEYS = ("id", "model", "measure")


class Store:
    """A run's folder, opened for writing by one process at a time.

    Raises
    ------
    DatasetError: for a folder of something else or of another run, or one that another process writes to.
    """

    def __init__(self, folder: Path, config: dict[str, Any], columns: tuple[dict[str, str], dict[str, str]]) -> None:
        self.folder = folder
        self._facts, self._cells = {**FACTS, **columns[0]}, {**dict.fromkeys(KEYS, "text"), **columns[1]}
        with _told(folder):
            folder.mkdir(parents=True, exist_ok=True)
            known = read_config(folder) if (folder / "run.json").exists() else None
            if known is None and any(entry.name != ".lock" for entry in folder.iterdir()):
                raise DatasetError(
                    f"out={str(folder)!r} is a folder with other files and no run in it; expected a new or empty one."
                )
            self._lock = _lock(folder)
            if known is not None:
                _check_same(folder, known, config)
            self._write_config(config, known)
            self._tidy()

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
                parts.append(_table({c: columns.get(c, [None] * count) for c in self._cells}, self._cells))
        cells = pa.concat_tables(parts) if parts else _table({c: [] for c in self._cells}, self._cells)
        with _told(self.folder):
            _put(self.folder, f"cells-{name}.parquet", cells)
            _put(self.folder, f"questions-{name}.parquet", _table(facts, self._facts))

    def _write_config(self, config: dict[str, Any], known: dict[str, Any] | None) -> None:
        before = known or {"sessions": [], "ids": []}
        ids = list(dict.fromkeys([*before["ids"], *config["ids"]]))
        sessions = [*before["sessions"], config["session"]]
        kept = {"format": FORMAT, "version": VERSION, **{k: v for k, v in config.items() if k != "session"}, "ids": ids}
        _replace(
            self.folder / "run.json", json.dumps({**kept, "sessions": sessions}, indent=1, ensure_ascii=False).encode()
        )

    def _tidy(self) -> None:
        """Remove what a run that was killed left half done."""
        for path in self.folder.glob(".new-*"):
            path.unlink()
        for path in self.folder.glob("cells-*.parquet"):
            if not path.with_name(path.name.replace("cells-", "questions-")).exists():
                path.unlink()


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
        known, version = config["format"] == FORMAT, config["version"]
    except (ValueError, KeyError, TypeError):
        known, version = False, 0
        config = {}
    if not known:
        raise DatasetError(f"{str(path)!r} is not the description of a run of mllm_widgets.")
    if version > VERSION:
        raise DatasetError(
            f"{str(path)!r} is of version {version}; this mllm_widgets reads up to {VERSION}: update it."
        )
    return config


def read_parts(folder: Path, kind: str, columns: Sequence[str] | None = None) -> pa.Table | None:
    """All parts of a kind ("questions" or "cells") in one table; None if there are none.  Cells without their questions are left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = sorted(folder.glob("questions-*.parquet"))
    if kind == "cells":
        paths = [path.with_name(path.name.replace("questions-", "cells-")) for path in paths]
    try:
        tables = [pq.ParquetFile(path).read(columns=None if columns is None else list(columns)) for path in paths]
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"a part in {str(folder)!r} cannot be read ({error}); remove it, and the same sweep computes it again."
        ) from None
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def _check_same(folder: Path, known: dict[str, Any], config: dict[str, Any]) -> None:
    for part in ("models", "measures", "ask"):
        if known.get(part) != config[part]:
            there, here = _difference(known.get(part), config[part])
            raise DatasetError(
                f"out={str(folder)!r} is the folder of another run: its {part} are {there}, and here they are {here}. Choose another folder, or the same settings."
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


def _table(columns: dict[str, Any], kinds: dict[str, str]) -> pa.Table:
    import pyarrow as pa

    types = {
        "text": pa.string(), "float": pa.float32(), "seconds": pa.float64(), "int": pa.int32(), "floats": pa.list_(pa.float32()),
    }  # fmt: skip
    return pa.table({name: pa.array(columns[name], type=types[kind]) for name, kind in kinds.items()})


def _put(folder: Path, name: str, table: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    _replace(folder / name, sink.getvalue())


def _replace(path: Path, data: Any) -> None:
    """Write a file whole: whoever looks finds the old one or the new one, also after a power cut."""
    new = path.with_name(f".new-{uuid.uuid4().hex}")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _lock(folder: Path) -> IO[str]:
    """Held until it is closed or its process ends, however that ends."""
    file = (folder / ".lock").open("a+")
    try:
        import fcntl
    except ImportError:  # Windows: two writers at once are the user's to avoid
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
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
        raise DatasetError(
            f"out={str(folder)!r} cannot be written ({error.strerror or error}); what was written before is whole. Make room, or allow writing, and call "
            "again: the sweep goes on where it was."
        ) from error

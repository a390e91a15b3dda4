"""The Parquet files of a run: written whole or not at all, and read as one table."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

KEYS = ("id", "model", "measure")


def read_parts(folder: Path, kind: str, columns: Sequence[str] | None = None) -> pa.Table | None:
    """All parts of a kind ("questions" or "cells") in one table; None if there are none.  Cells without their questions are left out."""
    import pyarrow as pa

    tables = []
    for path in sorted(folder.glob("questions-*.parquet")):
        part = cells_of(path) if kind == "cells" else path
        try:
            tables.append(_file(part).read(columns=None if columns is None else _there(part, columns)))
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(
                f"{str(part)!r} cannot be read ({_first_line(error)}). Call the same sweep again: it sets the damaged part aside and does its questions again."
            ) from None
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def _there(part: Path, columns: Sequence[str]) -> list[str]:
    """Those columns that a part has: one written by an earlier version may lack some."""
    import pyarrow.parquet as pq

    names = set(pq.read_schema(part).names)
    return [name for name in columns if name in names]


def cells_of(path: Path) -> Path:
    """The file of cells that belongs to one of questions."""
    return path.with_name(path.name.replace("questions-", "cells-", 1))


def damage(path: Path) -> str:
    """Why a file of a part cannot be read; "" if it can."""
    import pyarrow as pa

    try:
        _file(path).read()
    except (OSError, pa.ArrowException) as error:
        return f"{path.name}: {_first_line(error)}"
    return ""


def _file(path: Path) -> Any:
    """A Parquet file whose pages are checked as they are read."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, page_checksum_verification=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def as_table(columns: dict[str, Any], kinds: dict[str, str]) -> pa.Table:
    """Columns with the types of their kinds."""
    import pyarrow as pa

    types = {
        "text": pa.string(), "float": pa.float32(), "seconds": pa.float64(), "int": pa.int32(), "floats": pa.list_(pa.float32()),
    }  # fmt: skip
    return pa.table({name: pa.array(columns[name], type=types[kind]) for name, kind in kinds.items()})


def put(folder: Path, name: str, table: pa.Table) -> None:
    """Write one file of a part."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    replace(folder / name, sink.getvalue())


def replace(path: Path, data: Any) -> None:
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

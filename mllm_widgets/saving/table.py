"""A result's table as CSV."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

from .places import path_of, written


def to_csv(result: Any, path: str | os.PathLike[str]) -> None:
    """See `Result.to_csv`."""
    place = path_of(path, (".csv",))
    table = result.to_dataframe()

    def write(part: Path) -> None:
        # lone surrogates are written out: UTF-8 has none
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.writelines(f"# {key}: {_one_line(value)}\n" for key, value in result.provenance.items())
            table.to_csv(file, index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")

    written(place, write)


def _one_line(value: Any) -> str:
    """Texts as they are, the rest as JSON; without line breaks, which would end the comment."""
    return " ".join((value if isinstance(value, str) else json.dumps(value)).splitlines())

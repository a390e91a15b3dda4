"""SHA256SUMS of a folder of data, as `sha256sum` writes and reads it: so that two machines, or two years, know that they have the same files."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mllm_widgets.errors import DatasetError

SUMS = "SHA256SUMS"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Checked:
    """What `verify_checksums` found: files that are as they were, those that changed, are missing, or are not in the list."""

    good: int
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Is every file of the list there and as it was?"""
        return not self.changed and not self.missing

    def __str__(self) -> str:
        lines = [f"{self.good:,} files as they were."]
        for name, words in (("changed", "changed"), ("missing", "missing"), ("unlisted", "not in the list")):
            files = getattr(self, name)
            if files:
                more = f", and {len(files) - 3:,} more" if len(files) > 3 else ""
                lines.append(f"{len(files):,} {words}: {', '.join(files[:3])}{more}.")
        return "\n".join(lines)


def write_checksums(folder: str | Path) -> Path:
    """Write the SHA-256 of every file under a folder into its SHA256SUMS; the path of that.

    Raises
    ------
    DatasetError: for a folder that is not there, has no files, or may not be written.
    """
    folder = Path(folder)
    names = _files(folder)
    if not names:
        raise DatasetError(f"folder={str(folder)!r} has no files to list.")
    lines = []
    for name in sorted(names):
        written = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{'' if written == name else chr(92)}{_digest(folder / name)}  {written}\n")
    path, new = folder / SUMS, folder / f".{SUMS}.new"
    try:
        new.write_bytes(os.fsencode("".join(lines)))
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise DatasetError(f"{str(path)!r} cannot be written ({error.strerror or error}).") from error
    return path


def verify_checksums(folder: str | Path, sums: str | Path | None = None) -> Checked:
    """Compare the files under a folder with a list of their digests.

    Parameters
    ----------
    folder: which files. sums: the list, as `write_checksums` or `sha256sum` writes it; `folder`/SHA256SUMS by default.

    Raises
    ------
    DatasetError: for a folder or a list that is not there, or lines that are none.
    """
    folder = Path(folder)
    names = {unicodedata.normalize("NFC", name): name for name in _files(folder)}
    listed = _listed(folder / SUMS if sums is None else Path(sums))
    good, changed, missing = 0, [], []
    for name, digest in listed.items():
        there = names.pop(unicodedata.normalize("NFC", name), None)
        if there is None:
            missing.append(name)
        elif _digest(folder / there) == digest:
            good += 1
        else:
            changed.append(name)
    return Checked(good, tuple(changed), tuple(missing), tuple(sorted(names.values())))


def _listed(path: Path) -> dict[str, str]:
    """Name -> digest."""
    if not path.is_file():
        raise DatasetError(
            f"{str(path)!r} is not there; write it where the files are known to be right: mllm-widgets data FOLDER --write-sums."
        )
    found = {}
    for number, line in enumerate(os.fsdecode(path.read_bytes()).split("\n"), 1):
        line = line.removesuffix("\r")  # of a list that was saved on Windows
        if not line:
            continue
        escaped = line.startswith("\\")
        digest, _, name = line.removeprefix("\\").partition(" ")
        name = name[1:]  # a space, or "*" for files that are read as bytes
        if escaped:
            name = name.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace("\0", "\\")
        inside = name and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        if len(digest) != 64 or not set(digest.lower()) <= set("0123456789abcdef") or not inside:
            raise DatasetError(
                f"{str(path)!r}, line {number}, is not a SHA-256 and the name of a file in the folder; expected what sha256sum writes."
            )
        found[str(PurePosixPath(name))] = digest.lower()
    return found


def _files(folder: Path) -> list[str]:
    """Names of all files under a folder, but for the list itself and hidden ones."""
    if not folder.is_dir():
        raise DatasetError(f"folder={str(folder)!r} is not there, or is no folder.")
    found = []
    for at, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(".")]
        place = Path(at).relative_to(folder)
        found += [(place / one).as_posix() for one in files if not one.startswith(".")]
    return [name for name in found if name != SUMS]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DatasetError(f"{str(path)!r} cannot be read ({error.strerror or error}).") from error
    return digest.hexdigest()

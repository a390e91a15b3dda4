"""The file of an annotator: everything that was answered is in it after each answer, or it is as it was before."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mllm_widgets.errors import DatasetError, SaveError
from mllm_widgets.saving.places import path_of, written

from .entries import Entry
from .table import COLUMNS, Annotation, kept, line_of, read

_HEADER = line_of(COLUMNS)


class Keeper:
    """Answers about `entries`, in memory and in a file.

    Parameters
    ----------
    path: the file, which ends in .csv; it goes on with one that is there.
    annotator: who answers; "" takes the name in the file.

    Raises
    ------
    DatasetError: for a file of another kind, of other questions or of somebody else. SaveError: where nothing can be written.
    """

    def __init__(self, path: str | Path, entries: Sequence[Entry], annotator: str) -> None:
        self.path = path_of(path, (".csv",))
        self.annotator = annotator
        self.unsaved: list[str] = []  # names of what is in memory only
        self._entries = {entry.id: (place, entry) for place, entry in enumerate(entries)}
        self._answers: dict[str, Annotation] = {}
        self._lines: dict[str, bytes] = {}
        self._digest = ""  # of the file as it was last read or written; "" for none
        self._check_place()
        self.reload()

    def __getitem__(self, id: str) -> Annotation:
        return self._answers[id]

    def get(self, id: str) -> Annotation | None:
        """What was answered, if anything was."""
        return self._answers.get(id)

    def __contains__(self, id: str) -> bool:
        return id in self._answers

    def __len__(self) -> int:
        return len(self._answers)

    def answers(self) -> list[Annotation]:
        """All answers, in the order of the questions."""
        return sorted(self._answers.values(), key=lambda one: one.place)

    def put(self, answer: Annotation) -> None:
        """Keep an answer in memory; `save` writes it."""
        self._answers[answer.id] = answer
        self._lines[answer.id] = line_of(answer.cells())
        if answer.id not in self.unsaved:
            self.unsaved.append(answer.id)

    def save(self) -> None:
        """Write all answers: beside the file, down to the disk, then in its place.

        Raises
        ------
        SaveError: where it cannot be written, or another program has changed the file meanwhile; then nothing was.
        """
        now = self._bytes()
        if now is not None and _digest(now) != self._digest:
            raise SaveError(
                f"path={str(self.path)!r} was changed by another program or another notebook since it was read here, so it is left as it is. Close the "
                "other one; annotator.reload() takes over what is in it."
            )
        data = _HEADER + b"".join(self._lines[one.id] for one in self.answers())
        written(self.path, lambda part: _to_disk(part, data))
        self._digest = _digest(data)
        self.unsaved.clear()
        _folder_to_disk(self.path.parent)

    def reload(self) -> None:
        """Take over what is in the file; what is not saved yet stays above it.

        Raises
        ------
        DatasetError: as on opening; then all is as it was.
        """
        data = self._bytes()
        found = [] if data is None else self._checked(read(data, self.path))
        names = {one.annotator for one in found}
        if len(names) > 1 or (names and self.annotator and names != {kept(self.annotator)}):
            raise DatasetError(
                f"path={str(self.path)!r} has answers of {', '.join(map(repr, sorted(names)))}, and annotator={self.annotator!r} would change them; "
                "expected a file for each annotator. mw.datasets.agreement compares two."
            )
        if names and not self.annotator:
            [self.annotator] = names
        own = {name: self._answers[name] for name in self.unsaved}
        self._answers = {**{one.id: one for one in found}, **own}
        self._lines = {one.id: line_of(one.cells()) for one in self._answers.values()}
        self._digest = "" if data is None else _digest(data)

    def _checked(self, found: list[Annotation]) -> list[Annotation]:
        """Answers to these questions, at their places of today."""
        made = []
        for one in found:
            place, entry = self._entries.get(one.id, (-1, None))
            if entry is None or entry.text != one.text:
                asked = f"asks {entry.text!r} here" if entry else "is none of these"
                raise DatasetError(
                    f"path={str(self.path)!r} was made from other questions: {one.id!r}, which asks {one.text!r} there, {asked}. Nothing was changed. "
                    "Choose another path, or give the same questions in the same order."
                )
            made.append(replace(one, place=place, picture_name=entry.picture_name))
        return made

    def _bytes(self) -> bytes | None:
        """The file as it is; None where there is none."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SaveError(f"path={str(self.path)!r} cannot be read ({error.strerror or error}).") from error

    def _check_place(self) -> None:
        """Can a file be put there?  Before any work is done, not after; and what was left half written goes."""
        if self.path.is_dir():
            raise SaveError(f"path={str(self.path)!r} is a folder; expected the name of a file.")
        for part in self.path.parent.glob(f".{self.path.name}.*.part"):
            with contextlib.suppress(OSError):
                part.unlink()
        probe = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            why = "its folder does not exist" if not self.path.parent.is_dir() else error.strerror or error
            raise SaveError(f"path={str(self.path)!r} cannot be written ({why}); answers would be lost.") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _to_disk(place: Path, data: bytes) -> None:
    with place.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    """Where systems know that, make sure of the name, too."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

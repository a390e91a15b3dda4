"""Where the pictures of VQA-Constraints lie on this disk.

The files name a COCO picture, or a folder of candidates found by an image search ("A photo of Jérôme Salle").  Archives write such names in
composed or decomposed Unicode, so both are looked up in one form.  Which candidate was used is not known: the first by name is taken.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
FOLDERS = "A photo of "


class Pictures:
    """The pictures under a folder, which may hold them directly or one level down (val2014/..., known/A photo of ...).

    root: the folder; None or one that is not there has no pictures.
    """

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self._places: dict[str, Path] = {}
        self._asked: set[str] = set()
        if root is not None and root.is_dir():
            self._scan(root, deeper=True)

    def _scan(self, folder: Path, deeper: bool) -> None:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir() and not entry.name.startswith(FOLDERS):
                    if deeper:
                        self._scan(Path(entry.path), deeper=False)
                elif entry.is_dir() or Path(entry.name).suffix.lower() in SUFFIXES:
                    self._places.setdefault(_key(entry.name), Path(entry.path))

    def find(self, name: str) -> tuple[Path | None, str]:
        """The picture that a row names, and why there is none."""
        key = _key(name.rstrip("/").rsplit("/", 1)[-1])
        self._asked.add(key)
        place = self._places.get(key)
        if place is None:
            return None, "its picture is not there"
        if place.is_file():
            return place, ""
        candidates = [entry for entry in place.iterdir() if entry.suffix.lower() in SUFFIXES and entry.is_file()]
        if not candidates:
            return None, "its folder of pictures is empty"
        return min(candidates, key=lambda path: _natural(path.name)), ""

    @property
    def strays(self) -> tuple[str, ...]:
        """Folders of candidates that nobody has asked for."""
        return tuple(
            path.name for key, path in self._places.items() if key not in self._asked and path.name.startswith(FOLDERS)
        )


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def _natural(name: str) -> list[tuple[int, str]]:
    """Image_2 before Image_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name.casefold()) if part]

"""Text of pictures: one font for every machine, and what is done about characters that it lacks.

The font is a part of Inter (Latin, Greek, Cyrillic, punctuation, arrows and signs), so that a picture of such text is the same everywhere.  What it lacks is drawn
with a font of the machine that has it, and where none has, as its code: never as an empty box.
"""

from __future__ import annotations

import bisect
import functools
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PIL import ImageFont, features

SCALE = 2  # pixels for each unit of a picture, so that it is sharp on dense screens
OWN = str(Path(__file__).with_name("Inter-subset.ttf"))
# Widespread fonts with many scripts, by the names of their files.
OTHERS = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
    "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "arial.ttf",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "seguisym.ttf",
    "Nirmala.ttf",
)
_PROBE = 20  # pixels, of glyphs that are only looked at


@functools.cache
def font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of `size` units."""
    # our own is laid out letter by letter, which needs no library that may be missing
    own = path == OWN or not features.check("raqm")
    engine = ImageFont.Layout.BASIC if own else ImageFont.Layout.RAQM
    return ImageFont.truetype(path, size * SCALE, layout_engine=engine)


@functools.cache
def others() -> tuple[str, ...]:
    """Paths of the machine's fonts, of those in `OTHERS`."""
    found = []
    for name in OTHERS:
        with suppress(OSError):  # this machine does not have it
            found.append(str(ImageFont.truetype(name, _PROBE).path))
    return tuple(found)


@functools.cache
def covers(path: str, character: str) -> bool:
    """Has a font this character?"""
    return character == " " or _glyph(path, character) != _glyph(path, "\uffff")


@functools.cache
def _glyph(path: str, character: str) -> tuple[tuple[int, int], bytes]:
    probe = ImageFont.truetype(path, _PROBE, layout_engine=ImageFont.Layout.BASIC)
    mask = probe.getmask(character)
    return mask.size, bytes(list(mask))  # pyright: ignore[reportArgumentType]


@functools.cache
def font_for(character: str) -> str | None:
    """The path of the font that draws a character; None if there is none."""
    if covers(OWN, character):
        return OWN
    if unicodedata.bidirectional(character) in ("R", "AL", "AN") and not (
        features.check("raqm") and features.check("fribidi")
    ):
        return None  # it would come out backwards
    return next((path for path in others() if covers(path, character)), None)


def runs(text: str) -> list[tuple[str, str]]:
    """(font, text) pieces of one line; what no font has is written as its code."""
    pieces: list[tuple[str, str]] = []
    for path, part in _characters(unicodedata.normalize("NFC", text)):
        if pieces and pieces[-1][0] == path:
            pieces[-1] = path, pieces[-1][1] + part
        elif len(pieces) > 1 and pieces[-2][0] == path and pieces[-1][1].isspace() and covers(path, " "):
            # words of a script that runs from right to left stay in one piece, in their order
            (_, before), (_, space) = pieces[-2:]
            pieces[-2:] = [(path, before + space + part)]
        else:
            pieces.append((path, part))
    return pieces


def _characters(text: str) -> Iterator[tuple[str, str]]:
    before = OWN
    for character in text:
        path = font_for(character)
        if unicodedata.category(character).startswith("M") and covers(before, character):
            path = before  # a mark is drawn by the font of the letter that it stands on
        if path is None:
            path, character = OWN, character.encode("unicode_escape").decode()
        before = path
        yield path, character


def ours(text: str) -> bool:
    """Has our own font every character of a text?"""
    return all(covers(OWN, character) for character in unicodedata.normalize("NFC", text))


def text_width(text: str, size: int) -> float:
    """How wide a text is, in units."""
    return sum(font(path, size).getlength(part) for path, part in runs(text)) / SCALE


def cut(text: str, size: int, room: float) -> str:
    """`text` on one line, with an ellipsis where it does not fit."""
    text = " ".join(text.splitlines())
    most = int(8 * max(room, 1) / size) + 8  # no text that fits has more characters
    whole = len(text) <= most
    text = text[:most]
    if whole and text_width(text, size) <= room:
        return text
    fitting = bisect.bisect_right(
        range(1, len(text)), room, key=lambda end: text_width(f"{text[:end].rstrip()}…", size)
    )
    return f"{text[:fitting].rstrip()}…"

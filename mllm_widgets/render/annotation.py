"""A question whose constraints are marked, as a picture: its photograph, its words with their marks, and how far the work has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from mllm_widgets.labels import one_line

from .pen import ACCENT, FAINT, GAP, INK, PADDING, RULE, SCALE, SMALL, TEXT, WARN, Drawing, cut, text_width

WIDTH, PHOTO = 640, 200
LINE, SIZE = 30, 16  # units: height of a line of words, size of their letters
MOST_LINES = 12
COLORS = {"visual": ACCENT, "text": "#0b6e69"}  # those of js/src/annotator.css
NAMES = {"visual": "visual constraint", "text": "text constraint"}
LETTERS = {"visual": "V", "text": "T"}


@dataclass(frozen=True)
class AnnotationFigure:
    """What is drawn.

    words: {text, start, end} of the question. marks, suggested: the kind of each word, "" for none. at, done, total: questions, at from 0.
    state: what was said of the question before, in words. notes: what is wrong.
    """

    question: str
    words: Sequence[dict[str, Any]]
    marks: Sequence[str]
    suggested: Sequence[str]
    at: int
    done: int
    total: int
    state: str
    notes: Sequence[str] = ()


@dataclass
class Piece:
    """A word, or what stands between two, where it is drawn."""

    text: str
    mark: str = ""
    guess: str = ""
    word: bool = False
    x: float = 0.0
    y: float = 0.0
    wide: float = 0.0


def draw_annotation(shown: AnnotationFigure, image: Image.Image | None = None) -> Drawing:
    """A marked question on a white ground."""
    left = PADDING
    tall = 0
    if image is not None:
        image = image.convert("RGB")
        image.thumbnail((PHOTO * SCALE, PHOTO * SCALE))
        left += image.width // SCALE + 2 * GAP
        tall = image.height // SCALE
    pieces, lines = _laid_out(shown, WIDTH - PADDING - left)
    body = max(tall, LINE * lines + 24)
    top = PADDING + 30
    kinds = [kind for kind in COLORS if kind in shown.marks or kind in shown.suggested]
    height = top + body + GAP + (22 if kinds else 0) + (SMALL + GAP) * len(shown.notes) + PADDING
    pen = Drawing(WIDTH, height, shown.question, _told(shown))
    _progress(pen, shown)
    if image is not None:
        pen.photo(PADDING, top, image)
    for piece in pieces:
        _piece(pen, piece, left + piece.x, top + piece.y)
    pen.text(left, top + LINE * lines + 12, shown.state, SMALL, FAINT, room=WIDTH - PADDING - left)
    y = top + body + GAP + 6
    if kinds:
        suggested = any(guess and guess != mark for mark, guess in zip(shown.marks, shown.suggested, strict=True))
        _key(pen, kinds, y, suggested)
        y += 22
    for note in shown.notes:
        pen.text(PADDING, y, note, SMALL, WARN, room=WIDTH - 2 * PADDING)
        y += SMALL + GAP
    return pen


def _told(shown: AnnotationFigure) -> str:
    marked = [
        f"{NAMES[kind]}: {' '.join(word['text'] for word, mark in zip(shown.words, shown.marks, strict=True) if mark == kind)}"
        for kind in COLORS
        if kind in shown.marks
    ]
    return "; ".join([f"{shown.done} of {shown.total} questions are done", *marked])


def _laid_out(shown: AnnotationFigure, room: float) -> tuple[list[Piece], int]:
    """The question in pieces, and how many lines they take; punctuation stays with the word that it touches."""
    pieces: list[Piece] = []
    x, line = 0.0, 0
    before = shown.question[: shown.words[0]["start"]] if shown.words else shown.question
    ends = [*(word["start"] for word in shown.words[1:]), len(shown.question)]
    for word, mark, guess, end in zip(shown.words, shown.marks, shown.suggested, ends, strict=True):
        after, rest = _parted(shown.question[word["end"] : end])
        text = cut(one_line(shown.question[word["start"] : word["end"]]), SIZE, room - 20)
        before, after = one_line(before), one_line(after)
        wide = min(room, text_width(text, SIZE) + 8 + (9 if mark in COLORS else 0))
        if x and x + text_width(before + after, SIZE) + wide > room:
            x, line, before = 0.0, line + 1, before.lstrip()
        if line == MOST_LINES:
            break
        for piece in (Piece(before), Piece(text, mark, guess, True), Piece(after)):
            piece.x, piece.y = x, LINE * line
            piece.wide = wide if piece.word else text_width(piece.text, SIZE)
            x += piece.wide
            pieces.append(piece)
        before = rest
    if not shown.words:
        pieces.append(Piece(shown.question, wide=room))
    return pieces, min(line + 1, MOST_LINES)


def _parted(between: str) -> tuple[str, str]:
    """What touches the word before, and the rest."""
    end = next((place for place, character in enumerate(between) if character.isspace()), len(between))
    return between[:end], between[end:]


def _piece(pen: Drawing, piece: Piece, x: float, y: float) -> None:
    middle, wide = y + LINE / 2, piece.wide
    if piece.mark in COLORS:
        pen.box(x, y + 3, wide - 1, LINE - 6, COLORS[piece.mark])
        pen.text(x + 4, middle, piece.text, SIZE, "white", room=wide - 14)
        pen.text(x + wide - 4, middle - 6, LETTERS[piece.mark], 8, "white", "rm")
        return
    pen.text(x + (4 if piece.word else 0), middle, piece.text, SIZE, INK, room=wide)
    if piece.guess in COLORS:
        _dashed(pen, x, y + 3, wide - 1, LINE - 6, COLORS[piece.guess])


def _dashed(pen: Drawing, x: float, y: float, width: float, height: float, color: str) -> None:
    """A rectangle in dashes."""
    for start in range(0, int(width), 7):
        end = min(start + 4, width)
        for edge in (y, y + height):
            pen.line([(x + start, edge), (x + end, edge)], color, 1.5)
    for start in range(0, int(height), 7):
        end = min(start + 4, height)
        for edge in (x, x + width):
            pen.line([(edge, y + start), (edge, y + end)], color, 1.5)


def _progress(pen: Drawing, shown: AnnotationFigure) -> None:
    """Which question it is, and the share of those that are done."""
    y = PADDING + TEXT / 2
    said = f"Question {shown.at + 1} of {shown.total}"
    pen.text(PADDING, y, said, TEXT, INK)
    x = PADDING + text_width(said, TEXT) + 2 * GAP
    counted = f"{shown.done} of {shown.total} done"
    room = WIDTH - PADDING - x - text_width(counted, SMALL) - GAP
    pen.box(x, y - 4, room, 8, RULE)
    pen.box(x, y - 4, room * shown.done / shown.total, 8, ACCENT)
    pen.text(WIDTH - PADDING, y, counted, SMALL, FAINT, "rm")


def _key(pen: Drawing, kinds: Sequence[str], y: float, suggested: bool) -> None:
    x = float(PADDING)
    for kind in kinds:
        name = NAMES[kind]
        pen.box(x, y - 5, 10, 10, COLORS[kind])
        pen.text(x + 15, y, name, SMALL, INK)
        x += 15 + text_width(name, SMALL) + 2 * GAP
    if suggested:
        pen.text(x, y, "dashed: suggested, not marked", SMALL, FAINT)

"""A logit lens as a picture: the words that each layer would say at one token."""

from __future__ import annotations

from collections.abc import Sequence

from mllm_widgets.numbers import number

from .pen import ACCENT, FAINT, INK, PADDING, SMALL, TEXT, Drawing, cut, text_width

ROW, COLUMN, FIRST = 22, 132, 34  # units: height of a row, width of a word's column, and what stands before the first
HERE = "#e8eef8"  # ground of the layer that is looked at


def draw_lens(
    words: Sequence[Sequence[tuple[str, float]]],
    layers: Sequence[int],
    *,
    name: str,
    token: int,
    layer: int,
    answer: str = "",
) -> Drawing:
    """The words as a picture on a white ground.

    Parameters
    ----------
    words: for each layer its likeliest words with their probabilities.
    layers: their numbers.
    name, token: what is read, and where it stands.
    layer: the one looked at.
    answer: the word that the model says; it is set off from the others.
    """
    most = max((len(row) for row in words), default=1)
    title = f"Logit lens: what each layer would say at “{name}” (token {token})"
    width = 2 * PADDING + max(FIRST + most * COLUMN, round(text_width(title, TEXT)) + 4)
    pen = Drawing(width, PADDING + 28 + ROW * len(layers) + PADDING, title)
    pen.text(PADDING, PADDING + TEXT / 2, title, TEXT, INK)
    for place, (number_of, row) in enumerate(zip(layers, words, strict=True)):
        y = PADDING + 26 + ROW * place
        if number_of == layer:
            pen.box(PADDING, y, width - 2 * PADDING, ROW, HERE)
            pen.box(PADDING, y, 3, ROW, ACCENT)
        pen.text(PADDING + 24, y + ROW / 2, str(number_of), SMALL, INK if number_of == layer else FAINT, "rm")
        for column, (word, p) in enumerate(row):
            x = PADDING + FIRST + column * COLUMN
            chance = f" {number(p)}"
            short = cut(word, TEXT, COLUMN - 12 - text_width(chance, TEXT))
            color = ACCENT if word == answer else INK
            pen.words(x, y + ROW / 2 - 1, [(short, color), (chance, FAINT)], TEXT, COLUMN - 8)
            pen.box(x, y + ROW - 4, max(0.5, p * (COLUMN - 14)), 1.5, ACCENT)
    return pen

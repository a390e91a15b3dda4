"""Text in pictures: what our font has looks the same everywhere, and what no font has is told."""

from __future__ import annotations

import numpy as np
import pytest

from mllm_widgets.labels import one_line, visible
from mllm_widgets.render import Drawing, draw_heatmap, fonts
from mllm_widgets.render.fonts import OWN, covers, cut, ours, runs, text_width

LATIN = "Où était-ce? Żółć, ÆØÅ, Ελληνικά λ, Кирилица; «—–…“”‘’» ·×−≤≥±→∞✓✗▼ Tiếng Việt €"


@pytest.fixture
def bare(monkeypatch):
    """A machine without fonts."""
    monkeypatch.setattr(fonts, "others", lambda: ())
    fonts.font_for.cache_clear()
    yield
    fonts.font_for.cache_clear()


def ink(text: str, size: int = 12) -> np.ndarray:
    drawing = Drawing(400, 40)
    drawing.text(10, 20, text, size, "black")
    return np.asarray(drawing.image())[..., 0]


def test_latin_greek_cyrillic_and_signs_are_drawn_by_our_own_font():
    assert [c for c in LATIN if not covers(OWN, c)] == []
    assert ours(LATIN)
    assert {path for path, _ in runs(LATIN)} == {OWN}
    assert not ours("中")


def test_what_no_font_has_is_written_as_its_code(bare):
    assert runs("a中b") == [(OWN, "a\\u4e2db")]
    assert (ink("a中b") == ink("a\\u4e2db")).all()
    assert text_width("中", 12) == text_width("\\u4e2d", 12)
    assert runs("😀") == [(OWN, "\\U0001f600")]


def test_a_font_of_the_machine_is_taken_where_it_has_the_character(monkeypatch):
    fonts.font_for.cache_clear()
    other = next((path for path in fonts.others() if covers(path, "א")), None)
    if other is None:
        pytest.skip("this machine has no font with Hebrew letters")
    assert [part for _, part in runs("x שלום עולם")] == ["x ", "שלום עולם"]  # its words stay together, in their order
    assert (ink("שלום") != ink("\\u05e9\\u05dc\\u05d5\\u05dd")).any()
    monkeypatch.setattr(fonts.features, "check", lambda name: name != "fribidi")
    fonts.font_for.cache_clear()
    assert runs("א") == [(OWN, "\\u05d0")]  # it would be drawn backwards
    fonts.font_for.cache_clear()


def test_letters_and_marks_that_make_one_are_one():
    assert (ink("cafe\u0301") == ink("café")).all()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a", "·a"),
        ("\n\t", "\\n\\t"),
        ("\u200b\u200d", "\\u200b\\u200d"),
        ("\u202eevil", "\\u202eevil"),
        ("\u0301x", "\\u0301x"),
        (" \u0301", "·\\u0301"),
        ("a" + 5 * "\u0301", "a\u0301\u0301" + 3 * "\\u0301"),
        ("n\u0303o", "n\u0303o"),
        ("\ud800", "\\ud800"),
        ("שלום", "שלום"),
    ],
)
def test_tokens_show_what_they_are_made_of(text, shown):
    assert visible(text) == shown
    assert len(runs(visible(text))) >= 1


def test_no_token_reaches_into_the_rows_beside_it():
    rows = ["plain", "z" + 40 * "\u0335\u0348\u031a", " ", "", "\u202eabc\u2066", "a\nb\tc", "ÅẤỰ̣", "gjpqy|"]
    effect = np.zeros((len(rows), 4))
    for row, text in enumerate(rows):
        labels = [""] * len(rows)
        labels[row] = visible(text)
        image = np.asarray(draw_heatmap(effect, labels, module="mlp", limit=1).image())
        beside = image[: 28 + 40 * len(rows), : -2 * (260 + 14) - 4]  # the labels, left of the cells
        changed = np.flatnonzero((beside != 255).any(axis=(1, 2)))
        assert 28 + 40 * row - 3 <= changed.min() <= changed.max() < 28 + 40 * (row + 1) + 3, text


def test_any_text_fits_one_line():
    assert one_line("a\r\nb\tc\u2028d") == "a b c d"
    assert one_line("\x1b[0m\x00\x0c\ufffe") == "\\x1b[0m\\x00\\x0c\\ufffe"
    assert cut("a\nb", 12, 100) == "a b"

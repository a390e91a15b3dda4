"""Words for a reader, and the examples in the documentation, which are words for a reader too."""

from __future__ import annotations

import doctest
import importlib
import json
import re
from pathlib import Path

import pytest

from mllm_widgets.labels import visible, window_name
from mllm_widgets.tracing.engine import window_layers

PACKAGE = Path(__file__).resolve().parent.parent / "mllm_widgets"
WINDOWS = json.loads((Path(__file__).parent / "data" / "windows.json").read_text(encoding="utf-8"))
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("city", "city"),
        (" city", "·city"),
        ("  city ", "··city·"),
        (" ", "·"),
        ("", "(empty)"),
        ("\n", "\\n"),
        ("\r\n\t", "\\r\\n\\t"),
        (" \n", "·\\n"),
        ("a\nb", "a\\nb"),
        ("\u00a0city", "·city"),
        ("\u00a0 ", "··"),
        ("[image: 64 tokens]", "[image: 64 tokens]"),
        ("a\u00a0b", "a\u00a0b"),
        ("\u3000", "\\u3000"),
        ("\u200b", "\\u200b"),
        ("\ufeff", "\\ufeff"),
        ("\x00", "\\x00"),
        ("\u202eevil", "\\u202eevil"),
        ("\ud83d", "\\ud83d"),
        ("Straße 東京 🗼 \ufffd", "Straße 東京 🗼 \ufffd"),
        ("<b>", "<b>"),
    ],
)
def test_tokens_can_be_seen(text, shown):
    assert visible(text) == shown


def test_what_is_seen_is_one_line_that_any_screen_can_show():
    for text in map(chr, [*range(0x3000), 0xD800, 0xE000, 0xFEFF, 0x10FFFF]):
        shown = visible(text)
        assert shown.strip()
        assert len(shown.splitlines()) == 1
        shown.encode()


@pytest.mark.parametrize(("window", "name"), WINDOWS["names"])
def test_windows_are_called_what_the_front_end_calls_them(window, name):
    """js/test/golden.test.ts reads the same table."""
    assert window_name(window) == name


@pytest.mark.parametrize(("centre", "window", "layers", "first", "last"), WINDOWS["layers"])
def test_windows_restore_the_layers_that_the_front_end_names(centre, window, layers, first, last):
    assert list(window_layers(centre, window, layers)) == list(range(first, last + 1))


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_in_the_documentation_are_true(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    module = importlib.import_module(name)
    # `mllm_widgets.tracing.causal_trace` as an attribute is the function, so the module's own names are handed over
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder().find(module, name):
        runner.run(example)
    assert runner.tries > 0
    assert runner.failures == 0

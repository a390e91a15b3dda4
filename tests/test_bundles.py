"""The built front end: small, alone, and all of it there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mllm_widgets import bundles
from mllm_widgets.errors import WidgetError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "js" / "src"
ENTRIES = sorted(path.stem for path in SOURCES.glob("*.ts") if not path.name.endswith(".d.ts"))
FILES = [
    f"{entry}.{kind}"
    for entry in ENTRIES
    for kind in ("js", "css")
    if (SOURCES / f"{entry}.{kind.replace('js', 'ts')}").exists()
]


def test_a_missing_bundle_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(bundles, "STATIC", tmp_path)
    with pytest.raises(WidgetError, match=r"trace_heatmap\.js' is missing.*Run `make js`"):
        bundles.bundle("trace_heatmap.js")


@pytest.mark.parametrize("file", FILES)
def test_bundles_are_small_and_reach_for_nothing(file):
    """They are saved with every notebook, and opened where there is no network and no trust."""
    text = bundles.bundle(file).read_text(encoding="utf-8")
    assert 1000 < len(text.encode()) < 30_000
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)]*|@import", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
    # what is loaded is the toolbar's code from a trait, by an address that the page itself has made
    assert not re.search(r"\bimport\s*\(\s*[\"'`]", text)
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "fetch("):
        assert unsafe not in text


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_bundle_is_built_by_make_and_shipped(entry):
    makefile, project = ((ROOT / name).read_text() for name in ("Makefile", "pyproject.toml"))
    bundles = re.search(r"^BUNDLES := (.*)$", makefile, re.MULTILINE)
    assert bundles is not None
    assert re.search(rf"\b{entry}\b", bundles[1])
    for setting in ("ensured-targets", "skip-if-exists"):
        listed = re.search(rf"{setting} = \[(.*?)\]", project, re.DOTALL)
        assert listed is not None
        files = {f"mllm_widgets/static/{file}" for file in FILES if file.startswith(f"{entry}.")}
        assert files <= set(re.findall(r'"(.*?)"', listed[1]))

"""The built front end: small, alone, and all of it there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mllm_widgets.errors import WidgetError
from mllm_widgets.widgets import base

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = sorted(path.stem for path in (ROOT / "js" / "src").glob("*.ts") if not path.name.endswith(".d.ts"))


def test_a_missing_bundle_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(base, "STATIC", tmp_path)
    with pytest.raises(WidgetError, match=r"trace_heatmap\.js' is missing.*Run `make js`"):
        base.bundle("trace_heatmap.js")


@pytest.mark.parametrize("kind", ["js", "css"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_bundles_are_small_and_reach_for_nothing(entry, kind):
    """They are saved with every notebook, and opened where there is no network and no trust."""
    text = base.bundle(f"{entry}.{kind}").read_text(encoding="utf-8")
    assert 1000 < len(text.encode()) < 30_000
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)]*|\bimport\s*\(|@import", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
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
        assert {f"mllm_widgets/static/{entry}.js", f"mllm_widgets/static/{entry}.css"} <= set(
            re.findall(r'"(.*?)"', listed[1])
        )

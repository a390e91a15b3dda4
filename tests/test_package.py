"""The package as a whole: importing it is cheap, and what is built from it is complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "nnsight", "bokeh", "xarray", "pandas")


def run_python(code: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing_heavy() -> None:
    loaded = run_python(
        f"import sys, mllm_widgets; print([m for m in {HEAVY!r} if m in sys.modules])",
    )
    assert loaded.strip() == "[]"


def test_import_is_quick() -> None:
    """Under 0.5 s, the interpreter's own start left out; the best of three, because other work shares the machine."""
    code = "import time; t = time.perf_counter(); import mllm_widgets; print(time.perf_counter() - t)"
    assert min(float(run_python(code)) for _ in range(3)) < 0.5


def test_every_public_name_resolves() -> None:
    import mllm_widgets as mw

    assert set(mw.__all__) <= set(dir(mw))
    for name in mw.__all__:
        assert getattr(mw, name) is not None, name
    with pytest.raises(AttributeError, match="no_such_name"):
        mw.no_such_name  # noqa: B018

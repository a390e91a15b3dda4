"""The package as a whole: importing it is cheap, and what is built from it is complete."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mllm_widgets"
STATIC = PACKAGE / "static"
HEAVY = ("torch", "transformers", "nnsight", "bokeh", "xarray", "pandas")
BUNDLE_LIMIT = 30_000  # bytes; the whole text is a synced trait, once per widget in every saved notebook


def run_python(code: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment, check=False, timeout=120
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


def widget_classes() -> list[type]:
    """Every anywidget class of the package that draws with a bundle of its own."""
    import anywidget

    import mllm_widgets.widgets as widgets

    for file in Path(widgets.__path__[0]).glob("*.py"):
        if file.stem != "__init__":
            importlib.import_module(f"mllm_widgets.widgets.{file.stem}")
    found: list[type] = []
    pending: list[type] = list(anywidget.AnyWidget.__subclasses__())
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        if cls.__module__.startswith("mllm_widgets.") and not cls.__name__.startswith("_") and hasattr(cls, "_esm"):
            found.append(cls)
    return found


def test_widget_files_exist() -> None:
    classes = widget_classes()
    assert classes, "no widget class found in mllm_widgets.widgets"
    for cls in classes:
        for trait in ("_esm", "_css"):
            value = getattr(cls, trait, None)
            if value is None:
                continue
            # anywidget wraps a path in its own FileContents, whose str() is the text of the file.
            assert len(str(value)) > 100, f"{cls.__name__}.{trait} is missing or empty: run `make js`"


def test_bundles_are_small() -> None:
    bundles = sorted(STATIC.glob("*.js"))
    assert bundles, f"no bundle in {STATIC}: run `make js`"
    for bundle in bundles:
        assert bundle.stat().st_size < BUNDLE_LIMIT, f"{bundle.name}: {bundle.stat().st_size} bytes"
        text = bundle.read_text()
        assert "sourceMappingURL" not in text, f"{bundle.name} carries a source map"
        for host in ("unpkg.com", "jsdelivr", "esm.sh", "cdnjs"):
            assert host not in text, f"{bundle.name} loads from {host}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the working tree, as `pip install .` would build it."""
    if importlib.util.find_spec("build") is None:
        pytest.fail("the `build` package is missing: `make test` installs it")
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.glob("*.whl")
    return file


def test_wheel_holds_everything(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {info.filename: info.file_size for info in archive.infolist()}
    for bundle in [*STATIC.glob("*.js"), *STATIC.glob("*.css")]:
        assert names.get(f"mllm_widgets/static/{bundle.name}") == bundle.stat().st_size
    assert "mllm_widgets/static/trace_heatmap.js" in names
    assert "mllm_widgets/py.typed" in names
    tracked = subprocess.run(
        ["git", "ls-files", "mllm_widgets"], capture_output=True, text=True, cwd=ROOT, check=False
    ).stdout.split()
    missing = [name for name in tracked if (ROOT / name).exists() and name not in names]
    assert not missing, f"tracked but not in the wheel: {missing}"
    strangers = [n for n in names if not n.startswith(("mllm_widgets/", "mllm_widgets-"))]
    assert not strangers, f"installed beside the package: {strangers}"


def test_wheel_imports_alone(wheel: Path, tmp_path: Path) -> None:
    """From the wheel's files only, away from the working tree."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import mllm_widgets as mw; print(mw.__file__); "
        "from mllm_widgets.widgets import TraceHeatmap; print(len(str(TraceHeatmap._esm)) > 100)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    file, has_bundle = done.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert has_bundle == "True"
    assert time.perf_counter() - started < 60

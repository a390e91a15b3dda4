"""The package as a whole: importing it is cheap, and what is built from it is complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mllm_widgets as mw

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "nnsight", "bokeh", "xarray", "pandas")


def run_python(code: str, cwd: Path = ROOT) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
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
    assert set(mw.__all__) <= set(dir(mw))
    for name in mw.__all__:
        assert getattr(mw, name) is not None, name
    with pytest.raises(AttributeError, match="no_such_name"):
        mw.no_such_name  # noqa: B018


# --- what is built ------------------------------------------------------------------------------------------------------------

SOURCES = ("mllm_widgets", "js", "tests", "notebooks", "tools")
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore")
DEMO_FILES = (
    "model.safetensors",
    "tokenizer.json",
    "chat_template.jinja",
    "README.md",
    "config.json",
    "processor_config.json",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, and the wheel that is built from it, as a release builds them; the front end is there already."""
    assert (ROOT / "mllm_widgets/static/trace_heatmap.js").exists(), "run `make js` first"
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        ignored = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, tree)
    environment = {k: v for k, v in os.environ.items() if k != "SKIP_JUPYTER_BUILDER"}
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {"wheel": next(out.glob("*.whl")), "sdist": next(out.glob("*.tar.gz"))}


@pytest.fixture(scope="module")
def wheel(built: dict[str, Path]) -> zipfile.ZipFile:
    return zipfile.ZipFile(built["wheel"])


def test_the_wheel_has_the_demo_models_and_the_front_end(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    wanted = {f"mllm_widgets/demo/models/{model}/{file}" for model in ("demo", "demo-ordinary") for file in DEMO_FILES}
    wanted |= {"mllm_widgets/static/trace_heatmap.js", "mllm_widgets/static/trace_heatmap.css", "mllm_widgets/py.typed"}
    assert wanted <= names
    for name in wanted:
        assert wheel.read(name) == (ROOT / name).read_bytes(), name


def test_the_wheel_has_every_module_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "mllm_widgets").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}
    assert {name.split("/")[0] for name in names} == {"mllm_widgets", f"mllm_widgets-{mw.__version__}.dist-info"}
    assert not [name for name in names if name.endswith((".pyc", ".map", ".ts"))]
    assert sum(entry.compress_size for entry in wheel.infolist()) < 12_000_000


def test_the_sdist_has_the_front_end_s_source(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {
        "js/src/trace_heatmap.ts",
        "js/package.json",
        "js/package-lock.json",
        "js/build.mjs",
        "pyproject.toml",
    } <= names
    assert not [name for name in names if "node_modules" in name]


def test_the_wheel_works_where_nothing_else_of_the_repository_is(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "site")!r})
import mllm_widgets as mw
assert mw.__file__.startswith({str(tmp_path)!r}), mw.__file__
question = mw.datasets.demo_question("Eiffel Tower", "city")
print(mw.ask(mw.load(), question).text, mw.ask(mw.load("demo-ordinary"), question).text)
print(mw.TraceHeatmap._esm is not None)
"""
    assert run_python(code, cwd=tmp_path).split() == ["Paris", "Paris", "True"]


def test_versions_agree() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{mw.__version__}"\n' in text

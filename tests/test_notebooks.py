"""Every notebook runs from top to bottom, and is stored as readers should find it: with outputs, and small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.notebook_runs import assert_quiet, code_cells, executed

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
EXPERIMENTS = sorted(
    (NOTEBOOKS[0].parent / "experiments").glob("*.ipynb")
)  # run small, in test_experiment_notebooks.py
SIZE_LIMIT = 1_000_000  # bytes; a notebook is the shop window on GitHub and must open at once
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\w)")
NEAR = 0.02  # by how much a number may differ on another machine

pytestmark = pytest.mark.notebook


def printed(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def assert_alike(stored: str, fresh: str) -> None:
    """The same words, and nearly the same numbers: what is stored is what a reader gets."""
    assert NUMBER.sub("#", stored) == NUMBER.sub("#", fresh)
    for old, new in zip(NUMBER.findall(stored), NUMBER.findall(fresh), strict=True):
        assert abs(float(old) - float(new)) <= NEAR, f"stored {old}, now {new}, in: {stored}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    """A copy is executed in a fresh kernel of this interpreter; any exception fails, and so does printing something else than is stored."""
    import nbformat

    notebook = executed(nbformat.read(path, as_version=4), path.parent)
    assert_quiet(notebook)
    for stored, fresh in zip(code_cells(nbformat.read(path, as_version=4)), code_cells(notebook), strict=True):
        assert_alike(printed(stored), printed(fresh))


@pytest.mark.parametrize("path", [*NOTEBOOKS, *EXPERIMENTS], ids=lambda p: p.stem)
def test_notebook_is_stored_executed(path: Path) -> None:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    assert cells, f"{path.name} has no code"
    assert all(cell.execution_count for cell in cells), f"{path.name} is stored with cells not executed"
    assert any(cell.outputs for cell in cells), f"{path.name} is stored without outputs"
    errors = [o.ename for cell in cells for o in cell.outputs if o.output_type == "error"]
    assert not errors, f"{path.name} is stored with errors: {errors}"
    assert path.stat().st_size < SIZE_LIMIT, f"{path.name}: {path.stat().st_size} bytes"


@pytest.mark.parametrize("path", [*NOTEBOOKS, *EXPERIMENTS], ids=lambda p: p.stem)
def test_every_measured_number_in_the_prose_is_printed_by_a_cell(path: Path) -> None:
    """A decimal number in the text stands in some output, to its last digit, so it cannot have been made up or gone stale."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    shown = "".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for cell in code_cells(notebook)
        for output in cell.outputs
    )
    prose = "\n".join(re.sub(r"`[^`]*`", "", c.source) for c in notebook.cells if c.cell_type == "markdown")
    decimal = r"(?<![\w.-])\d+\.\d+(?!\w|\.\d)"  # one that ends a sentence too
    missing = set(re.findall(decimal, prose)) - set(re.findall(r"\d+\.\d+", shown))
    assert not missing, f"no cell of {path.name} prints {sorted(missing)}"

"""Every notebook runs from top to bottom, and is stored as readers should find it: with outputs, and small."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
SIZE_LIMIT = 1_000_000  # bytes; a notebook is the shop window on GitHub and must open at once
TIMEOUT = 300  # seconds for one cell, on two busy cores
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\w)")
NEAR = 0.02  # by how much a number may differ on another machine

pytestmark = pytest.mark.notebook


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


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
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    manager = AsyncKernelManager(kernel_name="python3")
    # This interpreter's kernel, whatever kernel specs the machine has.
    spec = manager.kernel_spec
    assert spec is not None
    spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    client = NotebookClient(notebook, timeout=TIMEOUT, km=manager, resources={"metadata": {"path": str(path.parent)}})
    client.execute()
    noisy = [
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert not noisy, "a reader would see this on stderr: " + "".join(noisy)
    for stored, fresh in zip(code_cells(nbformat.read(path, as_version=4)), code_cells(notebook), strict=True):
        assert_alike(printed(stored), printed(fresh))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
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

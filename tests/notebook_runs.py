"""Notebooks run in a fresh kernel of this interpreter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

TIMEOUT = 300  # seconds for one cell, on two busy cores


def code_cells(notebook: Any) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def new_kernel() -> Any:
    """A kernel of this interpreter, whatever kernel specs the machine has; it starts with the first notebook."""
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager(kernel_name="python3")
    spec = manager.kernel_spec
    assert spec is not None
    spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    return manager


def executed(notebook: Any, folder: Path, kernel: Any = None) -> Any:
    """The notebook, run from top to bottom in a folder; any exception fails.

    kernel: one that other notebooks ran in, whose folder it keeps; by default a new one.
    """
    from nbclient import NotebookClient

    client = NotebookClient(
        notebook, timeout=TIMEOUT, km=kernel or new_kernel(), resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return notebook


def assert_quiet(notebook: Any) -> None:
    """Nothing on stderr: no warning, no progress bar left behind."""
    noisy = [
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert not noisy, "a reader would see this on stderr: " + "".join(noisy)

"""Run notebooks in place and keep their outputs:  python tools/execute_notebooks.py notebooks/*.ipynb

What a reader finds: outputs, one numbering from 1, and the state of every widget, so that a trusted notebook shows them without a kernel.
Times of execution and the machine's Python version are left out, so that running again changes nothing that did not change.
A digest of the code that was run is kept with it, so that a test can tell outputs of other code, or of other parameters.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient


def digest(notebook: Any) -> str:
    """Of all code cells, in order."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        store_widget_state=True,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["executed"] = {"code": digest(notebook)}
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{number}"
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        execute(Path(name))

"""The notebook that every host is given: run once, stored with the widgets' state; and the same as others store it.

One widget a cell, as readers meet them: a TraceHeatmap, a PatchGrid, an EditPanel with one edit, and an Explorer.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SETUP = """\
import mllm_widgets as mw
vlm = mw.load()
question = mw.datasets.demo_question("Eiffel Tower", "city")"""
HEATMAP = """\
heatmap = mw.TraceHeatmap(mw.causal_trace(vlm, question, corruption="Taj Mahal"))
heatmap"""
PATCHES = """\
grid = mw.PatchGrid(mw.attention_contributions(vlm, question, target="constraint"))
grid"""
EDIT = """\
panel = mw.EditPanel(vlm, question)
panel.make("Rome")
assert panel.wait(timeout=120) and not panel.error
panel.revert()
panel"""
EXPLORER = """\
explorer = mw.Explorer(vlm, question)
assert explorer.wait(timeout=120)
explorer"""

CELLS = {"heatmap": HEATMAP, "patches": PATCHES, "edit": EDIT, "explorer": EXPLORER}
FIRST = 2  # the cell of the first widget: a heading and the set-up stand before it
LIVE = {"heatmap": ".mw-heatmap", "patches": ".mw-patches", "edit": ".mw-editing", "explorer": ".mw-explorer"}
PNG = "iVBORw0KGgo"  # how every PNG begins in base64
WIDGETS = "application/vnd.jupyter.widget-state+json"


def written(kernel: str = "python3") -> Any:
    """The notebook before it is run."""
    cells = [new_markdown_cell("# What the model knows"), *map(new_code_cell, (SETUP, *CELLS.values()))]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": kernel, "display_name": kernel}})


def run(folder: Path) -> Any:
    """The notebook with its outputs and the state of its widgets."""
    notebook = written()
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, store_widget_state=True, record_timing=False, resources=resources).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def without_state(notebook: Any) -> Any:
    """As most people store it: JupyterLab keeps the state of widgets only where that is switched on."""
    bare = copy.deepcopy(notebook)
    bare.metadata.pop("widgets")
    return bare


def store(notebook: Any, path: Path) -> Path:
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    return path

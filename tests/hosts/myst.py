"""A MyST site, Jupyter Book 2's too: pages built by the real `myst build`, drawn by the rules of its theme, which is emulated.

The theme is a server that comes from api.mystmd.org.  Its rules, read in @myst-theme/jupyter 1.4.1 and thebe-core 0.5.0, as long as no reader starts a kernel:
an output of nothing but text and pixels is drawn as it is, a picture with its text/plain as the alternative text; of a bundle with a widget view that view is taken out
and a placeholder put in its place, which repeats the bundle's text/plain.
"""

from __future__ import annotations

import html
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reader

DIRECT = ("image/png", "image/jpeg", "image/gif", "image/bmp", "text/plain")
PLACEHOLDER = "ipywidgets - a Jupyter kernel connection is required to fully display this output."
PROJECT = "version: 1\nproject:\n  title: Hosts\nsite:\n  template: book-theme\n"


def build(builder: Path, notebook: Path, folder: Path) -> str:
    """The page of a notebook.  `myst build` writes what the theme gets, and then fails where it cannot fetch the theme."""
    node = shutil.which("node")
    assert node is not None, "MyST needs Node: run the tests with `make`, or put one on PATH (tools/node.sh)"
    shutil.copyfile(notebook, folder / "story.ipynb")
    (folder / "myst.yml").write_text(PROJECT)
    environment = os.environ | {"NO_COLOR": "1", "MYST_TELEMETRY": "0"}
    command = [node, str(builder), "build", "--site"]
    log = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    made = folder / "_build" / "site" / "content" / "story.json"
    assert made.exists(), log.stdout + log.stderr
    cells = [[node["jupyter_data"] for node in found] for found in _outputs(json.loads(made.read_text())["mdast"])]
    public = folder / "_build" / "site" / "public"
    return reader.page([{"outputs": outputs} for outputs in cells], lambda output: _drawn(output, public))


def _outputs(node: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """The outputs of each code cell, in order."""
    if node.get("type") == "outputs":
        yield [child for child in node["children"] if child["type"] == "output"]
        return
    for child in node.get("children", []):
        yield from _outputs(child)


def _drawn(output: dict[str, Any], public: Path) -> str:
    data = output["data"]
    words = html.escape(str(data.get("text/plain", {}).get("content", "")))
    if reader.WIDGET_VIEW in data:
        return f"<div>{PLACEHOLDER}<pre>{words}</pre></div>"
    assert set(data) <= set(DIRECT), sorted(data)
    pictures = [data[mime] for mime in DIRECT[:-1] if mime in data]
    return (
        f'<img src="{(public / pictures[0]["path"].lstrip("/")).as_uri()}" alt="{words}">'
        if pictures
        else f"<pre>{words}</pre>"
    )

"""JupyterLite: a site of static files with the front ends of JupyterLab and Notebook in it, and here no kernel; it trusts no notebook of others."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import jupyter
import pytest
import seen
import story


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(stored: dict[bool, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a site with our notebooks in it and the extensions of this environment: ipywidgets' and anywidget's."""
    folder = tmp_path_factory.mktemp("lite")
    command = [sys.executable, "-m", "jupyterlite_core", "build", "--output-dir", "site", "--lite-dir", "."]
    for path in stored.values():
        command += ["--contents", str(path)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=180)
    handler = functools.partial(Quiet, directory=str(folder / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("state", [True, False], ids=["state", "no-state"])
def test_opened(browser, site: str, stored: dict[bool, Path], pictures: Path, state: bool) -> None:
    page = browser.new_page(viewport={"width": 900, "height": 2400})
    page.goto(f"{site}/lab/index.html?path={stored[state].name}")
    assert not seen.should_live("JupyterLite, no kernel", state=state)
    page.locator(".jp-Dialog-button.jp-mod-reject").click(timeout=2 * seen.WAIT)  # it asks which one, and there is none
    cells = page.locator(".jp-Notebook .jp-Cell")
    shots = {}
    for cell, widget in enumerate(story.CELLS, story.FIRST):
        cells.nth(cell).wait_for(timeout=2 * seen.WAIT)
        cells.nth(cell).scroll_into_view_if_needed()
        output = cells.nth(cell).locator(".jp-Cell-outputArea")
        seen.is_pictured(output, widget, jupyter.NOT_RUN)
        shots[widget] = seen.shot(output)
    page.close()
    seen.album(pictures / "jupyterlite.png", shots)

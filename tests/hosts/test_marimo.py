"""marimo: the same notebook converted and run as its app, and the page that it exports, which loads marimo's front end from a CDN.

marimo shows anywidgets, and no other Jupyter widget: an Explorer, which is a box of widgets, is shown as its picture.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import pytest
import seen
import story
from lab import free_port
from playwright.sync_api import Page, Route, expect

# found and not imported: nnsight gives every object a `save`, after which marimo's settings cannot be made in the same process
# The npm package @marimo-team/frontend is made of the same files.
FRONT_END = Path(str(distribution("marimo").locate_file("marimo/_static")))
PATIENCE = 120_000  # milliseconds for all cells to run


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marimo")
    nbformat.write(story.written(), folder / "story.ipynb")
    run(folder, "convert", "story.ipynb", "-o", "story.py")
    return folder / "story.py"


def run(folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "marimo", "--yes", "--quiet", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def app(script: Path) -> Iterator[str]:
    """Address of the running app."""
    port = free_port()
    command = [sys.executable, "-m", "marimo", "run", script.name, "--headless", "--no-token", "--host", "127.0.0.1"]
    with (script.parent / "marimo.log").open("wb") as log:
        server = subprocess.Popen([*command, "--port", str(port)], cwd=script.parent, stdout=log, stderr=log)
    try:
        for _ in range(300):
            assert server.poll() is None, (script.parent / "marimo.log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=15)


def shows_all(page: Page, album: Path) -> None:
    shots = {}
    for widget in ("heatmap", "patches", "edit"):
        view = page.locator(story.LIVE[widget])
        expect(view).to_have_count(1, timeout=PATIENCE)
        view.scroll_into_view_if_needed()
        expect(view).to_be_visible()
        shots[widget] = seen.shot(view)
    picture = page.get_by_role("img", name=re.compile(r"^Explorer\("))
    expect(picture).to_have_count(1, timeout=PATIENCE)
    picture.scroll_into_view_if_needed()
    shots["explorer"] = seen.shot(picture)
    assert "not supported" not in page.locator("body").inner_text()
    seen.album(album, shots)


def test_app(browser, app: str, pictures: Path) -> None:
    page = browser.new_page(viewport={"width": 900, "height": 1400})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(error.message))
    page.goto(app)
    shows_all(page, pictures / "marimo-app.png")
    status = page.locator(".mw-heatmap").get_by_role("status")
    for _ in range(3):  # marimo may draw a cell anew while others still run, and what was pressed there is gone
        page.locator(".mw-heatmap input[type=range]").first.press("ArrowRight")
        with contextlib.suppress(AssertionError):
            expect(status).to_contain_text("computed in", timeout=10_000)
            break
    expect(status).to_contain_text("computed in")
    assert errors == []
    page.close()


def test_exported_page(browser, script: Path, pictures: Path) -> None:
    run(script.parent, "export", "html", script.name, "-o", "story.html", "--no-include-code")
    context = browser.new_context(viewport={"width": 900, "height": 1400})

    def answer(route: Route) -> None:
        found = re.search(r"cdn\.jsdelivr\.net/npm/@marimo-team/frontend@[^/]+/dist/([^?]+)", route.request.url)
        path = FRONT_END / found[1] if found else None
        if path is not None and path.is_file():
            route.fulfill(path=path, headers={"access-control-allow-origin": "*"})
        else:
            route.abort("internetdisconnected")

    context.route(re.compile("^https?:"), answer)
    page = context.new_page()
    page.goto((script.parent / "story.html").as_uri())
    shows_all(page, pictures / "marimo-exported.png")
    context.close()


def test_exported_page_without_a_network_is_marimos_own_blank(browser, script: Path) -> None:
    """Nothing of the page shows, its text neither; no output of ours can change that, and the README says so."""
    if not (script.parent / "story.html").exists():
        run(script.parent, "export", "html", script.name, "-o", "story.html", "--no-include-code")
    context = browser.new_context()
    context.route(re.compile("^https?:"), lambda route: route.abort("internetdisconnected"))
    page = context.new_page()
    page.goto((script.parent / "story.html").as_uri())
    page.wait_for_load_state("load")
    assert page.locator("body").inner_text().strip() == ""
    context.close()

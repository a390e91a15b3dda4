"""Fixtures of the tests that need a browser: one JupyterLab and one Chromium for the session, one fresh page for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",  # Chromium refuses to run as root with one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)


def chromium() -> str:
    """Path of the browser; without one the tests are skipped, or fail where they must run (`make test`)."""
    found = os.environ.get("MW_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found:
        return found
    message = "no Chromium found: `tools/chromium.sh` finds or installs one, MW_CHROMIUM names one"
    if os.environ.get("MW_REQUIRE_BROWSER"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    from lab import JupyterServer

    jupyter = JupyterServer(tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter"))
    try:
        jupyter.start()
        yield jupyter
    finally:
        jupyter.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Playwright gives each launch a new, empty profile.
        instance = playwright.chromium.launch(executable_path=chromium(), args=list(CHROMIUM_FLAGS))
        yield instance
        instance.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go: $MW_SCREENSHOTS, to look at them, else a temporary folder."""
    given = os.environ.get("MW_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def one_page(browser) -> Iterator:
    """A page that the tests of a module use in turn, and the uncaught errors in it; a new page for each would take longer than most tests."""
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"{error.message}\n{error.stack}"))
    yield page, errors
    page.close()


@pytest.fixture
def page(one_page) -> Iterator:
    """An empty page, for `host`, with the pointer in its corner; an uncaught error in it fails the test."""
    page, errors = one_page
    page.goto("about:blank")
    page.mouse.move(0, 0)
    errors.clear()
    yield page
    page.mouse.up()
    for key in ("Shift", "Control"):
        page.keyboard.up(key)
    assert not errors, "\n".join(errors)


@pytest.fixture
def lab(server, browser, screenshots: Path) -> Iterator:
    """JupyterLab in a page of its own."""
    from lab import open_lab

    with open_lab(browser, server, screenshots) as lab:
        yield lab

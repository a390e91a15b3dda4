"""A page of our own as a stranger opens it: from a file or in a frame, with every request blocked and counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from host import AXE
from playwright.sync_api import Browser, Frame, Page, Route, expect

PLACES = ("file", "frame", "sandbox")
_AROUND = "<!DOCTYPE html><meta charset=\"utf-8\"><title>around</title><iframe title='page' style='width:100%;height:95vh;border:0' {} srcdoc=\"{}\"></iframe>"


@dataclass
class Opened:
    """A page, the document in it that is ours, and what it asked the network for."""

    page: Page
    document: Frame
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def middle(self, selector: str, right: float = 0.5, down: float = 0.5) -> tuple[float, float]:
        """A place on an element, as shares of its width and height, in the coordinates of the pointer."""
        element = self.document.locator(selector).first
        element.scroll_into_view_if_needed()
        box = element.bounding_box()
        assert box is not None
        return box["x"] + right * box["width"], box["y"] + down * box["height"]


@contextmanager
def opened(
    browser: Browser,
    file: Path,
    place: str = "file",
    *,
    width: int = 1200,
    height: int = 900,
    scripts: bool = True,
    refused: int = 0,
) -> Iterator[Opened]:
    """Open a page; at the end it must have asked for nothing but itself, and no error may have been left uncaught.

    refused: how often its policy must have stopped it from asking.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, java_script_enabled=scripts)
    page = context.new_page()
    first = file
    if place != "file":
        first = file.with_name(f"{file.stem}-{place}.html")
        text = file.read_text(encoding="utf-8").replace("&", "&amp;").replace('"', "&quot;")
        sandbox = 'sandbox="allow-scripts"' if place == "sandbox" else ""
        first.write_text(_AROUND.format(sandbox, text), encoding="utf-8")
    seen = Opened(page, page.main_frame)

    def answer(route: Route) -> None:
        """Everything that gets past the page's policy comes here."""
        if route.request.url == first.as_uri():
            route.continue_()
        else:
            seen.requests.append(route.request.url)
            route.abort()

    page.on("pageerror", lambda error: seen.errors.append(f"{error.message}\n{error.stack}"))
    stopped: list[str] = []
    page.on("console", lambda message: stopped.append(message.text) if "Content Security" in message.text else None)
    page.route("**/*", answer)
    page.goto(first.as_uri())
    seen.document = page.frames[-1]
    if scripts:
        expect(seen.document.locator("html")).to_have_attribute("data-mw-ready", re.compile(r"\d"), timeout=60_000)
    yield seen
    assert seen.requests == []
    assert len(stopped) == refused, stopped
    assert seen.errors == []
    context.close()


def faults(seen: Opened) -> list[str]:
    """What axe-core finds wrong with the whole document, the smaller matters left out."""
    seen.document.evaluate(AXE.read_text(encoding="utf-8"))  # not as a script of the page, which forbids others
    found = seen.document.evaluate("async () => (await axe.run()).violations")
    return [
        f"{v['id']}: {v['help']} {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")
    ]

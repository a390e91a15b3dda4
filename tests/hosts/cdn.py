"""The network as an exported notebook meets it: with the CDNs it loads scripts from, answered from the same packages here, or with none at all.

nbconvert's page asks for require.js (cdnjs), the ipywidgets manager (unpkg) and anywidget (jsDelivr); all else is refused, and every request is noted.
"""

from __future__ import annotations

import re
from pathlib import Path

import anywidget
from playwright.sync_api import BrowserContext, Route

ANYWIDGET = (
    Path(anywidget.__file__).parent / "nbextension" / "index.js"
)  # byte for byte dist/index.js of the npm package


def answers(packages: Path) -> dict[str, Path]:
    """Which file answers which address."""
    return {
        r"cdnjs\.cloudflare\.com/.*/require\.js/.*/require\.min\.js": packages / "requirejs" / "require.js",
        r"unpkg\.com/@jupyter-widgets/html-manager@.*/embed-amd\.js": packages
        / "@jupyter-widgets/html-manager/dist/embed-amd.js",
        r"cdn\.jsdelivr\.net/npm/anywidget@.*/index\.js": ANYWIDGET,
    }


def connect(context: BrowserContext, packages: Path | None) -> list[str]:
    """Answer the CDNs' requests from `packages`, or refuse every request where that is None; the returned list grows with what was asked for."""
    asked: list[str] = []
    files = {} if packages is None else answers(packages)

    def answer(route: Route) -> None:
        url = route.request.url
        asked.append(url)
        for pattern, path in files.items():
            if re.search(pattern, url):
                route.fulfill(path=path, headers={"access-control-allow-origin": "*"})
                return
        route.abort("internetdisconnected")

    context.route(re.compile("^https?:"), answer)
    return asked

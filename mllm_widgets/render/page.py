"""Widgets as a page of their own: one file that needs no Jupyter, no kernel and no network.

The page holds the widgets' models as data, their programs once each, and for every view its picture, which a reader sees where scripts do not run and
until the live view has come.  Its Content-Security-Policy forbids every request: programs are imported from Blob URLs that the page itself makes, and
nothing else may be loaded.  Text of users stands in attributes, in text or in JSON, and is escaped for each.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from mllm_widgets import __version__
from mllm_widgets.bundles import bundle

from .pieces import page_data

THEMES = ("light", "dark")
NO_SCRIPT = (
    "This page shows its views as pictures, because JavaScript does not run here; with it, their controls work too."
)


@dataclass(frozen=True)
class Shown:
    """One view of a page: the id of its model, and its picture for where the view cannot live.

    picture: PNG bytes, two pixels for each one on the page; None without one. alt: what it shows, in words. size: of the picture, in pixels.
    """

    model: str
    picture: bytes | None = None
    alt: str = ""
    size: tuple[int, int] = (0, 0)


def mount(view: Shown) -> str:
    """Where a view comes to stand, with its picture in it."""
    figure = ""
    if view.picture is not None:
        width, height = (
            f' {name}="{pixels // 2}"' if pixels else ""
            for name, pixels in zip(("width", "height"), view.size, strict=True)
        )
        source = f"data:image/png;base64,{base64.b64encode(view.picture).decode()}"
        figure = f'<figure><img src="{source}"{width}{height} alt="{escape(view.alt)}"></figure>'
    return f'<div data-mw-view="{escape(view.model)}">{figure}</div>'


def scripts(models: Mapping[str, Any], *, offline: bool = True) -> str:
    """The models as data, and the program that brings them to life; to stand after the views."""
    return f'<script type="application/json" class="mw-data">{page_data(models, offline=offline)}</script>\n<script type="module">{_program()}</script>'


def style() -> str:
    """The style sheet of the page around the views."""
    return bundle("host.css").read_text(encoding="utf-8")


def policy(*, other_scripts: bool = False) -> str:
    """What a page may load: nothing, but programs that it holds itself; `other_scripts` allows scripts in it that are not ours."""
    digest = base64.b64encode(hashlib.sha256(_program().encode()).digest()).decode()
    allowed = "'unsafe-inline' 'unsafe-eval'" if other_scripts else f"'sha256-{digest}'"
    rules = {
        "default-src": "'none'",
        "script-src": f"{allowed} blob:",
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "font-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def page(
    views: Sequence[Shown],
    models: Mapping[str, Any],
    *,
    title: str,
    headed: bool = True,
    framed: bool = False,
    theme: str = "light",
    facts: Mapping[str, str] | None = None,
) -> str:
    """A whole page, as HTML.

    Parameters
    ----------
    models: id -> model, as Jupyter saves them in a notebook.
    headed: is the title also shown above the views?
    framed: for a frame in another page, which is all around it.
    facts: what the foot of the page says, name -> value.
    """
    shown = "\n".join(mount(view) for view in views)
    unseen = "" if headed else ' class="mw-unseen"'
    foot = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in (facts or {}).items()
    )
    return f"""<!DOCTYPE html>
<html lang="en" class="{theme}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="mllm_widgets {__version__}">
<title>{escape(title)}</title>
<style>{style()}</style>
</head>
<body class="mw-page{" mw-framed" if framed else ""}">
<main>
<h1{unseen}>{escape(title)}</h1>
<noscript><p class="mw-noscript">{NO_SCRIPT}</p></noscript>
{shown}
</main>
{f"<footer><dl>{foot}</dl></footer>" if foot else ""}
{scripts(models)}
</body>
</html>
"""


def frame(document: str, *, name: str, title: str, height: int, picture: str = "") -> str:
    """A page as a frame for a cell's output, as high as what it shows.

    name: of the frame, which no other one has. picture: what in the base64 of the PNG displayed beside it names it; that is hidden while the frame lives.
    """
    inner = document.replace("&", "&amp;").replace("'", "&#39;")
    program = _LISTENER.replace("NAME", name).replace("PICTURE", picture)
    return (
        f'<iframe data-mw-frame="{name}" title="{escape(title)}" sandbox="allow-scripts allow-downloads" allow="clipboard-write" '
        f"style=\"display:block;width:100%;height:{height}px;border:0\" srcdoc='{inner}'></iframe><script>{program}</script>"
    )


# A frame is known by its window, since an output may be drawn more than once.
_LISTENER = """
(() => {
  const frames = () => [...document.querySelectorAll('iframe[data-mw-frame="NAME"]')];
  const heard = ({ source, data }) => {
    if (!data || data.mllm_widgets !== "height") return;
    const frame = frames().find((one) => one.contentWindow === source);
    if (!frame) {
      if (!frames().length) removeEventListener("message", heard);
      return;
    }
    frame.style.height = `${Math.ceil(data.height)}px`;
    if (!"PICTURE") return;
    for (const image of document.querySelectorAll('img[src^="data:image/png;base64,"][src*="PICTURE"]')) {
      (image.closest(".jp-OutputArea-child, .output_area") || image).style.display = "none";
    }
  };
  addEventListener("message", heard);
})();
"""


def _program() -> str:
    text = bundle("host.js").read_text(encoding="utf-8")
    assert "</script" not in text  # esbuild writes <\\/script
    return text

"""VS Code's view of a stored notebook, emulated from the source of its Jupyter extension (microsoft/vscode-jupyter, July 2026).

* `src/kernels/execution/helpers.ts`, `orderOfMimeTypes`: widgets and other vendors' types first, then HTML, pictures, text.
* `src/webviews/webview-side/ipywidgets/renderer/index.ts`: a widget whose model the kernel does not have throws `vscode.fallbackToNextRenderer`, and the next type is
  drawn.  A notebook that was only opened has no kernel.  VS Code does not store the state of widgets; it asks for one that others stored only once a kernel
  is chosen, and what it does then is not emulated.
"""

from __future__ import annotations

from typing import Any

import reader

ORDER = (
    reader.WIDGET_VIEW,
    "text/html",
    "text/latex",
    "text/markdown",
    "image/png",
    "image/svg+xml",
    "image/jpeg",
    "application/json",
    "text/plain",
)


def page(notebook: Any) -> str:
    def draw(mime: str, data: Any, output: dict[str, Any]) -> str | None:
        if mime == reader.WIDGET_VIEW:
            return None  # vscode.fallbackToNextRenderer
        return reader.text_of(data) if mime in ("text/html", "image/svg+xml") else reader.plain(mime, data)

    return reader.page(notebook.cells, lambda output: reader.first(output, ORDER, draw))

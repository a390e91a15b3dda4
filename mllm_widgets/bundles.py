"""Where the built front end lies: one program and one style sheet for each widget, and those of the page that hosts them without Jupyter."""

from __future__ import annotations

from pathlib import Path

from mllm_widgets.errors import WidgetError

STATIC = Path(__file__).resolve().parent / "static"


def bundle(name: str) -> Path:
    """Path of a built front-end file.

    Raises
    ------
    WidgetError: if the front end was never built.
    """
    path = STATIC / name
    if not path.exists():
        raise WidgetError(
            f"the front end {str(path)!r} is missing: this is a source checkout whose widgets were never built. Run `make js` "
            "in it, or install a released wheel."
        )
    return path

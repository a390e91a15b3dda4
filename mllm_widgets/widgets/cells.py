"""Cells of the notebook that were run: they may have changed the model."""

from __future__ import annotations

from collections.abc import Callable


def after_cells(look: Callable[[], None]) -> Callable[[], None]:
    """Have `look` called after each cell of the notebook, which may have changed the model; the result ends that."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return lambda: None
    shell = get_ipython()
    if shell is None:
        return lambda: None

    def hook(*_: object) -> None:
        look()

    shell.events.register("post_run_cell", hook)

    def end() -> None:
        if hook in shell.events.callbacks["post_run_cell"]:
            shell.events.unregister("post_run_cell", hook)

    return end

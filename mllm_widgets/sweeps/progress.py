"""How far a sweep is and how long it will take: a bar in a notebook or a terminal, lines where output goes to a file."""

from __future__ import annotations

import sys
from typing import Any

FORMAT = "{l_bar}{bar}| {n_fmt} of {total_fmt}{unit}, {elapsed}, {remaining} left, {rate_noinv_fmt}{postfix}"
LINES_EVERY = 30.0  # seconds; the output of a queued job is read later, and by people


class Progress:
    """A bar over all there is to do, of which `there` was done before; counts what failed.

    Used as a context manager; nothing is shown where `shown` is False.
    """

    def __init__(self, count: int, there: int = 0, shown: bool = True, unit: str = "questions") -> None:
        from tqdm.auto import tqdm

        self._failed = 0
        options: dict[str, Any] = {}
        if not _is_notebook(tqdm) and not sys.stderr.isatty():
            options = {"file": _Lines(sys.stderr), "mininterval": LINES_EVERY, "maxinterval": LINES_EVERY, "ncols": 100}
        self._bar = tqdm(
            total=count, initial=there, disable=not shown, unit=f" {unit}", smoothing=0.05, bar_format=FORMAT, **options
        )

    def one(self, failed: bool) -> None:
        """One more is done."""
        if failed:
            self._failed += 1
            self._bar.set_postfix_str(f"{self._failed} failed", refresh=False)
        self._bar.update()

    def unpause(self) -> None:
        """What passed since the last one, while a model was loaded, says nothing about the time left."""
        if not self._bar.disable:
            self._bar.unpause()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()


class _Lines:
    """A stream on which each state of a bar is a line of its own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        text = text.replace("\r", "").rstrip()
        return self._stream.write(f"{text}\n") if text else 0

    def flush(self) -> None:
        self._stream.flush()


def _is_notebook(kind: Any) -> bool:
    from tqdm.std import tqdm

    return any(one.__module__ == "tqdm.notebook" for one in kind.__mro__) and kind is not tqdm

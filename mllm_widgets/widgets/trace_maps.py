"""The complete maps of one heatmap, by window, and which of them its front end holds, so that the slider reads them with no kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets import colormaps

from . import wire

if TYPE_CHECKING:
    from mllm_widgets.results import Trace

MOST = 32_768  # numbers (128 kB) of maps that are sent though nobody froze them: they are saved with the notebook


class Maps:
    """Maps by their window.

    The front end holds those that were frozen, in the precision they were frozen in; with them, or before any was, the newest of the others as far as they are small.
    """

    def __init__(self, *traces: Trace) -> None:
        self._by_window: dict[int, Trace] = {}
        self._frozen: tuple[int, ...] = ()
        self._precision = "float32"
        for trace in traces:
            self.add(trace)

    def add(self, trace: Trace) -> None:
        """Know one more."""
        self._by_window.pop(trace.window, None)
        self._by_window[trace.window] = trace

    def freeze(self, windows: tuple[int, ...], precision: str) -> dict[str, Any]:
        """Send these, known by now, whatever their size: as `wire`.

        Raises ValueError for numbers that the precision cannot hold; nothing changes then.
        """
        before = self._frozen, self._precision
        self._frozen, self._precision = windows, precision
        try:
            return self.wire()
        except ValueError:
            self._frozen, self._precision = before
            raise

    def get(self, window: int) -> Trace | None:
        """The map of a window; None if it is not known."""
        return self._by_window.get(window)

    def __contains__(self, window: int) -> bool:
        return window in self._by_window

    @property
    def windows(self) -> list[int]:
        """The windows whose maps are known."""
        return sorted(self._by_window)

    def wire(self) -> dict[str, Any]:
        """What the front end holds: {windows, values (windows, modules, layers, tokens), limits}, or {} where that is one map at most."""
        windows = sorted({*self._frozen, *self._newest()})
        if len(windows) < 2:
            return {}
        traces = [self._by_window[window] for window in windows]
        return {
            "windows": windows,
            "values": wire.tensor(np.stack([trace.restored.values for trace in traces]), self._precision),
            "limits": [
                colormaps.effect_limit(trace.restored.values - trace.corrupted, trace.total_effect) for trace in traces
            ],
        }

    def _newest(self) -> list[int]:
        """The newest that fit."""
        found, size = [], 0
        for window, trace in reversed(self._by_window.items()):
            size += trace.restored.size
            if size > MOST:
                break
            found.append(window)
        return found

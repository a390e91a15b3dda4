"""The causal trace as a live map: layers by tokens, with a window slider that recomputes in the kernel."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from mllm_widgets import colormaps, labels
from mllm_widgets.errors import WidgetError
from mllm_widgets.jobs import CancelToken, Latest
from mllm_widgets.results import CellBatch, Trace

from . import wire
from .budget import warn_if_large
from .trace_maps import Maps
from .trace_traits import TraceTraits
from .trace_view import describe

if TYPE_CHECKING:
    from mllm_widgets.render import Drawing
    from mllm_widgets.tracing import TraceSetup

PUBLISH_EVERY = 0.05  # seconds between two pictures of a running computation


class TraceHeatmap(TraceTraits):
    """A causal trace as a map of layers by tokens.

    Moving the window slider, or setting `window`, recomputes the map in the kernel on a worker thread: the newest window wins, cells appear as
    they are computed, and maps already computed come back at once.

    Parameters
    ----------
    trace: what `causal_trace` returned; or what `prepare_trace` returned, and then the first map is computed live.
    window: layers restored together at first; the trace's own by default.
    module: which of the trace's modules is shown at first, "mlp", "self_attn" or "residual".
    batch_size: restored runs in one forward pass; lower it if memory runs out.
    auto_snapshot: draw the picture that a saved notebook shows anew after each change, at most once a second.

    Raises
    ------
    WidgetError: for something that is no trace, an unknown module or argument.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> vlm = mw.load()
    >>> heatmap = mw.TraceHeatmap(mw.causal_trace(vlm, mw.datasets.demo_question("Eiffel Tower")))
    >>> heatmap.window = 3
    >>> heatmap.wait(timeout=60), heatmap.trace.window
    (True, 3)

    Notes
    -----
    Traits to steer: `window`, `module`, `selected` ([row, layer] or [], the pinned cell), `token` and `layer` (the same cell: its token's position in the
    sequence, -1 where none is pinned, and its layer, for `ipywidgets.jslink`), `cancel` (a counter).  The others are written by the kernel: see `TraceTraits`.
    """

    def __init__(
        self,
        trace: Trace | TraceSetup,
        *,
        window: int | None = None,
        module: str | None = None,
        batch_size: int = 96,
        **unknown: Any,
    ) -> None:
        # first of all: Python closes what the checks below refuse, too
        self._jobs: Latest[int] = Latest(self._compute, failed=self._failed, stopped=self._stopped)
        complete = trace if isinstance(trace, Trace) else None
        setup = trace.setup if isinstance(trace, Trace) else trace
        if complete is None and not hasattr(setup, "corrupted_embeds"):
            raise WidgetError(
                f"trace is a {type(trace).__name__}; expected what mw.causal_trace(vlm, question) returned."
            )
        modules = complete.modules if complete else labels.USUAL_MODULES
        module = modules[0] if module is None else module
        if module not in modules:
            raise WidgetError(f"module={module!r} is not in this trace; it has {modules}.")
        layers = complete.layers if complete else len(setup.vlm.layers)
        if window is not None:
            _check_window(window, layers)
        self._setup, self._batch_size = setup, batch_size
        self._trace: Trace | None = complete
        self._maps = Maps(complete) if complete else Maps()
        self._modules = modules
        self._sever = complete.sever if complete else None
        super().__init__(
            layers=layers,
            module=module,
            modules=[{"key": key, "name": labels.MODULE_NAMES[key]} for key in modules],
            colors={m: {t: colormaps.effect_colors(m, t).tobytes() for t in colormaps.THEMES} for m in modules},
            live=setup is not None,
            window=complete.window if complete else window or 1,
            **describe(trace, setup),
            **unknown,
        )
        self._cell_changed({"name": "selected" if self.selected else "token", "new": self.selected})
        if complete:
            self._show(complete)
        else:
            self.publish(**self._wire(*self._blank()))
            self._jobs.submit(self.window)
        if window is not None:
            self.window = window

    @property
    def trace(self) -> Trace | None:
        """The complete map shown last (None before the first one is complete)."""
        return self._trace

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing is being computed; False if that took longer than `timeout` seconds."""
        return self._jobs.wait(timeout)

    def freeze(self, windows: Any = None, precision: str = "auto") -> None:
        """Send the maps of these windows whole, so that the slider reads them with no kernel: in a saved notebook, and at once in a live one.

        Maps that are known are not computed again.  Where it is interrupted or fails, what is on show and what was sent stay as they were, and another call goes on
        from there.

        Parameters
        ----------
        windows: whole numbers; all of them, 1 to the count of layers, by default.
        precision: "float32", "float16", or "uint8" (then tooltips say so); "auto" takes the first of these in which the maps are not large.

        Raises
        ------
        WidgetError: for a window that is none, or not known where the trace has lost its model; for another precision.
        TraceError: where the model has other edits than it had when it was traced.

        Examples
        --------
        >>> import mllm_widgets as mw
        >>> vlm = mw.load()
        >>> heatmap = mw.TraceHeatmap(mw.causal_trace(vlm, mw.datasets.demo_question("Eiffel Tower")))
        >>> heatmap.freeze(windows=[1, 3])
        >>> heatmap.maps["windows"]
        [1, 3]
        """
        wanted = self._wanted(windows)
        if precision != "auto" and precision not in wire.PRECISIONS:
            raise WidgetError(
                f"precision={precision!r} is not known; expected 'auto', {', '.join(map(repr, wire.PRECISIONS))}."
            )
        self._jobs.wait()
        lacking = [window for window in wanted if window not in self._maps]
        before = self.settled(state="idle", message="", progress=0.0)
        try:
            for place, window in enumerate(lacking):
                self._freeze(window, place, len(lacking))
        finally:
            self._unless_computing(**before)
        with self._traits_lock:
            try:
                self.publish(maps=self._maps.freeze(wanted, precision))
            except ValueError as error:
                raise WidgetError(f"precision={precision!r} does not fit these maps: {error}") from error
        warn_if_large(self)

    def _freeze(self, window: int, place: int, count: int) -> None:
        from mllm_widgets.tracing import run_trace

        message = f"computing window {window}, {place + 1} of {count}"

        def show(cells: CellBatch) -> None:
            nonlocal sent
            if time.perf_counter() - sent >= PUBLISH_EVERY:
                sent = time.perf_counter()
                share = (place + cells.done / cells.total) / count
                self._unless_computing(state="running", message=message, progress=share)

        sent = 0.0
        self._unless_computing(state="running", message=message, progress=place / count)
        trace = run_trace(self._setup, window=window, on_cells=show, **self._how())
        with self._traits_lock:
            self._maps.add(trace)

    def _unless_computing(self, **traits: Any) -> None:
        """Say what is done aside, unless the slider was moved meanwhile and its map is being computed."""
        with self._traits_lock:
            if not self._jobs.busy:
                self.publish(**traits)

    def _wanted(self, windows: Any) -> tuple[int, ...]:
        """The windows to freeze, ascending."""
        if windows is None:
            return tuple(range(1, self.layers + 1) if self._setup is not None else self._maps.windows)
        given = list(windows) if isinstance(windows, Iterable) else [windows]
        for window in given:
            self._check_known(window)
        return tuple(sorted({int(window) for window in given}))

    def _check_known(self, window: Any) -> None:
        """Raises WidgetError for what is no window, or one whose map nobody can compute any more."""
        _check_window(window, self.layers)
        if self._setup is None and window not in self._maps:
            raise WidgetError(
                f"window={window} is not known, and this trace has lost its model; it has {self._maps.windows}. "
                "Trace again to change the window."
            )

    def drawing(self, *, titled: bool = True) -> Drawing:
        """The map shown last, as a drawing; without the question where that is told above it."""
        from mllm_widgets.render import draw_trace

        if self._trace is None:
            raise WidgetError("there is no complete map yet; wait for it with heatmap.wait().")
        return draw_trace(self._trace, self.module, titled=titled, selected=self.selected)

    def close(self) -> None:
        """Stop the worker and remove the widget."""
        self._jobs.close()
        super().close()

    def __repr__(self) -> str:
        return (
            f"TraceHeatmap({self.layers} layers x {sum(row['count'] for row in self.rows)} tokens, window {self.window}, "
            f"indirect effect on {labels.measured(self.measure, repr(self.answer))})"
        )

    @traitlets.validate("window")
    def _valid_window(self, proposal: Any) -> int:
        self._check_known(proposal["value"])
        return proposal["value"]

    @traitlets.observe("window")
    def _window_changed(self, change: Any) -> None:
        if not self.values:  # the first value, before there is a picture
            return
        known = self._maps.get(change["new"])
        if known is not None:
            self._jobs.cancel()
            self._show(known)
        elif self._setup is not None:
            self._jobs.submit(change["new"])

    @traitlets.observe("cancel")
    def _cancel_changed(self, _change: Any) -> None:
        self._jobs.cancel()

    # --- on the worker's thread -------------------------------------------------------------------------------------------

    def _compute(self, window: int, token: CancelToken) -> None:
        from mllm_widgets.tracing import run_trace

        values, fresh = self._blank()
        self._publish_if_wanted(
            token, computing=window, state="running", message="", progress=0.0, **self._wire(values, fresh)
        )
        self._wait_for_model(token)
        started = sent = time.perf_counter()

        def show(cells: CellBatch) -> None:
            nonlocal sent
            values[cells.module, cells.layer, cells.token] = cells.restored
            fresh[cells.module, cells.layer, cells.token] = 1
            now = time.perf_counter()
            if cells.done < cells.total and now - sent >= PUBLISH_EVERY:
                sent = now
                self._publish_if_wanted(
                    token, state="running", progress=cells.done / cells.total, **self._wire(values, fresh)
                )

        trace = run_trace(
            self._setup,
            window=window,
            on_cells=show,
            cancel=token,
            **self._how(),
        )
        with self._traits_lock:
            self._maps.add(trace)
            self.publish(maps=self._maps.wire())
            token.check()
            self._show(trace, seconds=time.perf_counter() - started)

    def _how(self) -> dict[str, Any]:
        return {"modules": self._modules, "sever": self._sever, "batch_size": self._batch_size}

    def _publish_if_wanted(self, token: CancelToken, **traits: Any) -> None:
        # Asked inside the lock: who moves to a known map holds it while cancelling and showing that map, and nothing of ours may come after.
        with self._traits_lock:
            token.check()
            self.publish(**traits)

    def _wait_for_model(self, token: CancelToken) -> None:
        """Say so while a cell, or another widget, uses the model."""
        lock = self._setup.vlm.lock
        while not lock.acquire(timeout=0.2):
            self._publish_if_wanted(token, state="waiting", message="the model is in use")
        lock.release()

    def _failed(self, window: int, error: Exception) -> None:
        reason = str(error).strip().splitlines()
        message = (
            f"window {window} could not be computed: {type(error).__name__}: {reason[0] if reason else ''}".rstrip(": ")
        )
        if "out of memory" in message.lower():
            message += f". Try mw.TraceHeatmap(trace, batch_size={max(1, self._batch_size // 2)})."
        self._go_back(window, "error", message)

    def _stopped(self, window: int) -> None:
        with self._traits_lock:
            # a map that was already known may have been put up meanwhile; `computing` may still be the window this one replaced
            if self.computing or self.window != self.shown:
                self._go_back(window, "stopped", f"window {window} was cancelled")

    def _go_back(self, window: int, state: str, message: str) -> None:
        """Put the last complete map up again, and say why."""
        if self._trace is not None:
            with self._traits_lock, self.hold_sync():
                if self.window == window:  # the slider goes back too, unless it has been moved on
                    self.window = self._trace.window
                self._show(self._trace, state=state, message=message)
        else:
            self.publish(state=state, message=message, computing=0, progress=0.0)

    # --- on any thread ----------------------------------------------------------------------------------------------------

    def _show(self, trace: Trace, state: str = "idle", message: str = "", seconds: float = 0.0) -> None:
        self._trace = trace
        values = trace.restored.values
        self.publish(
            **self._wire(values, np.ones_like(values, dtype=np.uint8)),
            limit=colormaps.effect_limit(values - trace.corrupted, trace.total_effect),
            shown=trace.window,
            provenance=trace.provenance,
            computing=0,
            state=state,
            message=message,
            progress=0.0,
            seconds=seconds,
        )

    def _blank(self) -> tuple[np.ndarray, np.ndarray]:
        """The picture a computation starts from: the last map, all of it stale; NaN everywhere before the first one."""
        if self._trace is not None:
            values = self._trace.restored.values.copy()
        else:
            shape = (len(self._modules), self.layers, len(self._setup.text_positions))
            values = np.full(shape, np.nan, dtype=np.float32)
        return values, np.zeros(values.shape, dtype=np.uint8)

    @staticmethod
    def _wire(values: np.ndarray, fresh: np.ndarray) -> dict[str, Any]:
        return {"values": wire.tensor(values), "fresh": wire.tensor(fresh)}


def _check_window(window: Any, layers: int) -> None:
    if isinstance(window, bool) or not isinstance(window, (int, np.integer)) or not 1 <= window <= layers:
        raise WidgetError(
            f"window={window!r} is not a whole number from 1 to {layers}; it counts the layers restored together."
        )

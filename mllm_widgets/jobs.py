"""Work in the background of which only the newest request matters: a slider moves faster than a model runs.

`Latest` runs one request at a time on a thread of its own and keeps at most one waiting.  A newer request cancels the running one, which
notices at its next `CancelToken.check()`.  The thread lives only while there is work, so an idle widget costs nothing and a closed one
leaves nothing behind.  Nothing here knows of models or widgets.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Request = TypeVar("Request")

AT_THE_END = 5.0  # seconds that the interpreter's end waits for the threads: one that is still in a model's pass then takes the process down with it
_STARTED: weakref.WeakSet[Latest[Any]] = weakref.WeakSet()


class Cancelled(Exception):  # noqa: N818 - not an error: the work is simply no longer wanted
    """Raised inside work that is no longer wanted."""


class CancelToken:
    """Tells running work whether its result is still wanted."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """True once the work is no longer wanted."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the work is no longer wanted."""
        if self._cancelled.is_set():
            raise Cancelled


class Latest(Generic[Request]):
    """Runs `work(request, token)` for the newest request only.

    Parameters
    ----------
    work: does one request; calls `token.check()` whenever it can afford to stop.
    failed: called on the worker's thread with (request, exception) when work raises; without it the exception ends the thread.
    stopped: called on the worker's thread with the newest request when that was cancelled, whether it ran or still waited, and nothing
        was asked after it; not once closed.
    settle: seconds that must pass without a newer request before one begins that came on the heels of another, or while one ran.  The first
        request of a burst begins at once and the last when the burst is over: ten quick moves cost two computations at most.
    """

    def __init__(
        self,
        work: Callable[[Request, CancelToken], None],
        *,
        failed: Callable[[Request, Exception], None] | None = None,
        stopped: Callable[[Request], None] | None = None,
        settle: float = 0.12,
    ) -> None:
        self._work, self._failed, self._stopped, self._settle = work, failed, stopped, settle
        self._changed = threading.Condition()
        self._waiting: list[Request] = []  # at most one
        self._dropped: list[Request] = []  # at most one: cancelled, nothing newer asked, `stopped` not called yet
        self._token: CancelToken | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._asked = float("-inf")  # when the newest request came, on the monotonic clock
        self._hurried = False  # it came in a burst
        self.started = 0  # computations begun, for tests and curiosity

    def submit(self, request: Request, *, if_idle: bool = False) -> None:
        """Ask for `request` in the place of everything asked before, or only where nothing is asked; ignored once closed."""
        with self._changed:
            if self._closed or (if_idle and self._thread is not None):
                return
            now = time.monotonic()
            self._hurried = self._token is not None or now - self._asked < self._settle
            self._asked = now
            self._waiting[:] = [request]
            self._dropped.clear()
            self._stop_running()
            if self._thread is None:
                self._start()

    def cancel(self) -> None:
        """Drop what waits and stop what runs."""
        with self._changed:
            self._dropped += self._waiting
            self._waiting.clear()
            self._stop_running()

    def close(self) -> None:
        """Cancel everything for good; the thread ends by itself."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._dropped.clear()
            self._stop_running()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing runs or waits; False if that took longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout)

    @property
    def busy(self) -> bool:
        """True while a request runs or waits."""
        return self._thread is not None

    def _stop_running(self) -> None:
        if self._token is not None:
            self._token.cancel()
        self._changed.notify_all()

    def _start(self) -> None:
        if not _STARTED:  # not at import: what is registered last is called first, and torch should still be whole then
            atexit.unregister(_end)
            atexit.register(_end)
        _STARTED.add(self)
        self._thread = threading.Thread(target=self._run, name="mllm_widgets worker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work_off()
        finally:  # if a callback raised, the next thread takes over what is left
            with self._changed:
                if self._thread is threading.current_thread():
                    self._token = self._thread = None
                    if self._waiting or self._dropped:
                        self._start()
                    self._changed.notify_all()

    def _work_off(self) -> None:
        while True:
            with self._changed:
                while self._waiting and self._hurried and (rest := self._asked + self._settle - time.monotonic()) > 0:
                    self._changed.wait(rest)
                token = CancelToken() if self._waiting else None
                if token is not None:
                    request = self._waiting.pop()
                    self._token = token
                    self.started += 1
                elif self._dropped:
                    request = self._dropped.pop()
                else:
                    self._thread = None
                    self._changed.notify_all()
                    return
            if token is None:
                if self._stopped is not None:
                    self._stopped(request)
                continue
            done = self._finish(request, token)
            with self._changed:
                self._token = None
                if not done and not (self._waiting or self._dropped or self._closed):
                    self._dropped.append(request)

    def _finish(self, request: Request, token: CancelToken) -> bool:
        """Do one request; False if it was cancelled."""
        try:
            self._work(request, token)
        except Cancelled:
            return False
        except Exception as error:  # whatever went wrong belongs on the screen, not in a dead thread
            if token.cancelled:  # perhaps because of that, and nobody wants to know
                return False
            if self._failed is None:
                raise
            self._failed(request, error)
        return True


def _end() -> None:
    """Stop all threads, at the interpreter's end."""
    jobs = [*_STARTED]
    for one in jobs:
        one.close()
    deadline = time.monotonic() + AT_THE_END
    for one in jobs:
        one.wait(max(0.0, deadline - time.monotonic()))

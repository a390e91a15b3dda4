"""Latest-wins work: what begins, what is dropped, and what is said about it, without a model."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from mllm_widgets.jobs import Cancelled, CancelToken, Latest

LONG = 10  # seconds; only a broken test waits that long


class Bench:
    """Work that a test holds and lets go: each request says when it begins, and ends when it is released or cancelled."""

    def __init__(self, settle: float = 0.03, **callbacks: Any) -> None:
        self.began, self.finished, self.stopped, self.failed = [], [], [], []
        self.begins = threading.Semaphore(0)
        self.go = threading.Event()
        self.jobs = Latest(
            self.work,
            settle=settle,
            **{
                "stopped": self.stopped.append,
                "failed": lambda request, error: self.failed.append((request, error)),
                **callbacks,
            },
        )

    def work(self, request, token):
        self.began.append(request)
        self.begins.release()
        deadline = time.monotonic() + LONG
        while not self.go.wait(0.001):
            token.check()
            assert time.monotonic() < deadline, f"{request!r} was neither released nor cancelled"
        if isinstance(request, Exception):
            raise request
        self.finished.append(request)

    def submit_and_see_it_begin(self, request):
        self.jobs.submit(request)
        assert self.begins.acquire(timeout=LONG)

    def release(self):
        self.go.set()
        assert self.jobs.wait(LONG)


def until(condition):
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "mllm_widgets worker"]


@pytest.fixture(autouse=True)
def _no_worker_is_left():
    yield
    until(lambda: not workers())


def test_a_token_raises_once_cancelled():
    token = CancelToken()
    token.check()
    assert not token.cancelled
    token.cancel()
    assert token.cancelled
    with pytest.raises(Cancelled):
        token.check()


def test_the_first_request_begins_at_once():
    bench = Bench(settle=LONG)
    bench.go.set()
    began = time.perf_counter()
    bench.submit_and_see_it_begin("a")
    assert bench.jobs.wait(LONG)
    assert time.perf_counter() - began < 1
    assert bench.finished == ["a"]


def test_the_newest_request_wins():
    bench = Bench()
    bench.submit_and_see_it_begin("first")
    for request in ("second", "third", "last"):
        bench.jobs.submit(request)
    assert bench.begins.acquire(timeout=LONG)
    bench.release()
    assert bench.began == ["first", "last"]
    assert bench.finished == ["last"]


def test_ten_quick_requests_begin_two_computations():
    bench = Bench(settle=0.25)
    bench.submit_and_see_it_begin(0)
    for request in range(1, 10):
        bench.jobs.submit(request)
        time.sleep(0.002)  # long enough for the worker to stop and be ready for the next one
    assert bench.begins.acquire(timeout=LONG)
    bench.release()
    assert bench.jobs.started == len(bench.began) == 2
    assert bench.finished == [9]


def test_what_is_asked_for_idle_times_replaces_nothing():
    bench = Bench()
    bench.submit_and_see_it_begin("runs")
    bench.jobs.submit("when idle", if_idle=True)
    bench.jobs.submit("waits")
    bench.jobs.submit("when idle", if_idle=True)
    bench.release()
    assert bench.finished[-1:] == ["waits"]
    assert "when idle" not in bench.began
    bench.jobs.submit("when idle", if_idle=True)
    bench.release()
    assert bench.finished[-1] == "when idle"


def test_replaced_requests_are_neither_stopped_nor_failed():
    bench = Bench()
    bench.submit_and_see_it_begin("old")
    bench.jobs.submit("new")
    assert bench.begins.acquire(timeout=LONG)
    bench.release()
    assert (bench.stopped, bench.failed) == ([], [])


def test_a_cancelled_request_is_stopped_once():
    bench = Bench()
    bench.submit_and_see_it_begin("a")
    bench.jobs.cancel()
    bench.jobs.cancel()
    assert bench.jobs.wait(LONG)
    bench.jobs.cancel()
    assert bench.stopped == ["a"]
    assert (bench.finished, bench.failed) == ([], [])


def test_cancelling_while_the_next_request_waits_stops_that_one():
    """The one that ran was replaced already; without this nobody would hear that nothing comes any more."""
    bench = Bench(settle=LONG)
    bench.submit_and_see_it_begin("ran")
    bench.jobs.submit("waited")
    bench.jobs.cancel()
    assert bench.jobs.wait(LONG)
    assert bench.stopped == ["waited"]
    assert bench.began == ["ran"]


def test_cancelling_during_the_burst_stops_the_newest():
    bench = Bench(settle=LONG)
    bench.submit_and_see_it_begin("ran")
    bench.jobs.submit("waited")
    until(lambda: bench.jobs._token is None)  # it waits for the end of the burst
    bench.jobs.cancel()
    assert bench.jobs.wait(LONG)
    assert bench.stopped == ["waited"]


def test_a_request_after_a_cancellation_is_done_and_nothing_is_stopped():
    bench = Bench()
    bench.submit_and_see_it_begin("a")
    with bench.jobs._changed:  # so that the worker sees both at once
        bench.jobs.cancel()
        bench.jobs.submit("b")
    assert bench.begins.acquire(timeout=LONG)
    bench.release()
    assert bench.finished == ["b"]
    assert bench.stopped == []


def test_a_request_after_a_dropped_one_is_done_and_nothing_is_stopped():
    bench = Bench()
    bench.submit_and_see_it_begin("a")
    with bench.jobs._changed:
        bench.jobs.submit("b")
        bench.jobs.cancel()
        bench.jobs.submit("c")
    assert bench.begins.acquire(timeout=LONG)
    bench.release()
    assert bench.finished == ["c"]
    assert bench.stopped == []


def test_failures_are_told_with_their_request_and_the_next_one_works():
    bench = Bench()
    bench.go.set()
    error = ValueError("too hot")
    bench.jobs.submit(error)
    assert bench.jobs.wait(LONG)
    assert bench.failed == [(error, error)]
    bench.jobs.submit("cool")
    assert bench.jobs.wait(LONG)
    assert bench.finished == ["cool"]
    assert bench.stopped == []


def test_work_that_breaks_because_it_was_cancelled_counts_as_stopped():
    stopped, failed = [], []
    begins = threading.Event()

    def work(request, token):
        begins.set()
        assert token._cancelled.wait(LONG)
        raise RuntimeError("torn down half-way")

    jobs = Latest(work, stopped=stopped.append, failed=lambda *told: failed.append(told))
    jobs.submit("a")
    assert begins.wait(LONG)
    jobs.cancel()
    assert jobs.wait(LONG)
    assert (stopped, failed) == (["a"], [])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("callback", ["failed", "stopped"])
def test_a_callback_that_raises_leaves_the_worker_usable(callback):
    def broken(*_):
        raise RuntimeError("the callback itself is broken")

    callbacks: dict[str, Any] = {callback: broken}
    bench = Bench(**callbacks)
    bench.submit_and_see_it_begin(ValueError("x"))
    if callback == "stopped":
        bench.jobs.cancel()
    bench.release()
    assert not bench.jobs.busy
    bench.jobs.submit("later")
    assert bench.jobs.wait(LONG)
    assert bench.finished == ["later"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_request_that_came_while_a_callback_broke_is_not_lost():
    def broken(*_):
        bench.jobs.submit("meanwhile")
        raise RuntimeError("the callback itself is broken")

    bench = Bench(failed=broken)
    bench.go.set()
    bench.jobs.submit(ValueError("x"))
    assert bench.jobs.wait(LONG)
    assert bench.finished == ["meanwhile"]


def test_without_a_callback_a_failure_is_not_swallowed(monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda hook: seen.append(hook.exc_value))
    bench = Bench(failed=None)
    bench.go.set()
    error = ValueError("x")
    bench.jobs.submit(error)
    assert bench.jobs.wait(LONG)
    bench.jobs.submit("later")
    assert bench.jobs.wait(LONG)
    assert seen == [error]
    assert bench.finished == ["later"]


def test_closing_stops_everything_for_good():
    bench = Bench()
    bench.submit_and_see_it_begin("running")
    bench.jobs.submit("waiting")
    bench.jobs.close()
    assert bench.jobs.wait(LONG)
    bench.jobs.submit("after")
    bench.jobs.cancel()
    assert not bench.jobs.busy
    assert (bench.began, bench.finished, bench.stopped, bench.failed) == (["running"], [], [], [])


def test_the_thread_ends_when_there_is_nothing_to_do():
    bench = Bench()
    assert workers() == []
    bench.submit_and_see_it_begin("a")
    assert len(workers()) == 1
    bench.release()
    until(lambda: not workers())


def test_waiting_says_whether_the_work_is_done():
    bench = Bench()
    assert bench.jobs.wait(0)
    bench.submit_and_see_it_begin("a")
    assert bench.jobs.busy
    assert bench.jobs.wait(0.01) is False
    bench.go.set()
    assert bench.jobs.wait(LONG) is True
    assert not bench.jobs.busy


def test_no_request_is_lost_when_the_worker_is_about_to_end():
    """The dangerous moment is between the last look for work and the end of the thread; two threads try to hit it often."""
    done = []
    jobs = Latest(lambda request, token: done.append(request), settle=0)
    lost = []

    def submit(name):
        for i in range(300):
            jobs.submit((name, i))
            if i % 3 == 0 and not jobs.wait(LONG):  # idle now, so that the next one meets a thread that is ending
                lost.append((name, i))

    threads = [threading.Thread(target=submit, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert jobs.wait(LONG)
    assert lost == []
    assert done[-1] in {("a", 299), ("b", 299)}
    # alone with the worker, each must be done
    for i in range(300):
        jobs.submit(("alone", i))
        assert jobs.wait(LONG)
    assert done[-300:] == [("alone", i) for i in range(300)]


def test_a_burst_costs_two_computations_even_where_each_is_quicker_than_the_moves():
    done = []
    jobs = Latest(lambda request, _token: done.append(request), settle=0.15)
    for request in range(10):
        jobs.submit(request)
        time.sleep(0.02)  # work is done long before the next move
    assert jobs.wait(5)
    assert done == [0, 9]


def test_the_end_of_a_script_waits_until_the_work_has_stopped():
    """A thread that is in a model's pass when the interpreter goes would abort the process."""
    code = """
import threading
from mllm_widgets.jobs import Latest
begun = threading.Event()

def work(request, token):
    begun.set()
    try:
        while True:
            token.check()
    finally:
        print("stopped", flush=True)

jobs = Latest(work)
jobs.submit(1)
begun.wait()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "stopped", "")

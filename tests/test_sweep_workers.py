"""Sweeps spread over processes with Ray: the same rows, also when a worker dies on the way."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.errors import DatasetError, ModelError

from .test_sweeps import alike, go

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    # Ray starts its workers with this interpreter, which must find the package and these tests
    paths = os.pathsep.join(filter(None, sys.path))
    for left in (2, 1, 0):
        try:
            ray.init(
                num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
                runtime_env={"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}},
            )  # fmt: skip
            break
        except Exception:  # on a machine that is busy with other tests, its processes may take longer than it waits
            ray.shutdown()
            if not left:
                raise
    # another number of threads sums in another order, and equal numbers are then equal to a few ulp only
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    ray.shutdown()


def test_two_workers_find_what_one_process_finds(cluster, tmp_path: Path) -> None:
    questions = mw.datasets.demo(8)
    spread = go("demo", questions, tmp_path / "spread", workers=mw.sweeps.RayWorkers(2, cpus=0.5))
    alike(spread, go("demo", questions, tmp_path / "whole"))


def test_a_worker_that_dies_costs_nothing(cluster, tmp_path: Path) -> None:
    """Killed while it measures: its question goes to the worker that takes its place."""
    questions = mw.datasets.demo(12, seed=1)
    out = tmp_path / "spread"
    killed: list[int] = []

    def kill_one() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until and not list(out.glob("questions-*")):
            time.sleep(0.02)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                name = path.read_bytes()
            except OSError:
                continue
            if b"ray::Worker" in name and not killed:
                killed.append(int(path.parent.name))
                os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    run = go("demo", questions, out, workers=mw.sweeps.RayWorkers(2, cpus=0.5), every=0.0)
    killer.join()
    assert killed, "no worker was found to kill"
    assert run.status() == {"done": 12, "failed": 0, "left": 0}
    alike(run, go("demo", questions, tmp_path / "whole"))


def test_a_model_in_memory_cannot_be_spread(cluster, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="workers load their own: pass its name"):
        go(mw.load(), mw.datasets.demo(1), tmp_path / "run", workers=mw.sweeps.RayWorkers(1))


def test_a_model_that_workers_cannot_load_ends_the_sweep(cluster, tmp_path: Path) -> None:
    """Every question would fail with it, and stand there as failed when the name is mended."""
    with pytest.raises(ModelError, match=r"a worker cannot load vlm='demos': .*Did you mean 'demo'"):
        go("demos", mw.datasets.demo(3), tmp_path / "run", workers=mw.sweeps.RayWorkers(2, cpus=0.5))
    assert not list((tmp_path / "run").glob("*.parquet"))


def test_more_workers_than_there_is_room_for(cluster, tmp_path: Path) -> None:
    """Those that find no room wait, and no question waits with them."""
    questions = mw.datasets.demo(6)
    run = go("demo", questions, tmp_path / "run", workers=mw.sweeps.RayWorkers(3, cpus=1.5))
    assert run.status()["done"] == 6
    with pytest.raises(
        DatasetError, match=r"find no room: each asks for 1 CPUs and 1 GPUs .* the cluster has 2 CPUs and 0 GPUs"
    ):
        go("demo", questions, tmp_path / "other", workers=mw.sweeps.RayWorkers(2, gpus=1))


@pytest.mark.parametrize("given", [{"count": 0}, {"count": 1.5}, {"count": 1, "gpus": -1}, {"count": 1, "cpus": "all"}])
def test_workers_that_cannot_be(given) -> None:
    with pytest.raises(DatasetError, match="expected"):
        mw.sweeps.RayWorkers(**given)

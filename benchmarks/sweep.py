"""What a sweep costs beside the traces it makes, whether it survives being killed, and what more workers bring.

overhead   questions/s of `mw.sweep`, and its time over that of a bare loop of `prepare_trace` and `run_trace` on the same questions, in blocks that take turns
kills      a sweep in a process of its own, killed with SIGKILL again and again at random moments, some of them while it writes; then its end
           against an undisturbed run, to the bit
ray        the same with workers of a local Ray; then again with one worker killed on the way
cost       hours and money for VQA-Constraints, from what was measured here and from the arithmetic of LLaVA-1.5-7B

The questions are of the demo world, written to disk as VQA-Constraints was released, each with a picture of its own, and traced with window 3 in both sub-blocks.

Run: python benchmarks/sweep.py [--only overhead kills ray cost] [--questions 500] [--help]
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PARTS = ("overhead", "kills", "ray", "cost")
BLOCK = 20  # questions that one way has before it is the other's turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS[:3], help="which parts (default: all but cost)"
    )
    parser.add_argument("--questions", type=int, default=500, help="of the sweeps (default 500)")
    parser.add_argument("--kills", type=int, default=20, help="times that the sweep is killed (default 20)")
    parser.add_argument("--workers", type=int, default=2, help="of Ray (default 2)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch in each process (default 1)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the questions, and of the moments of the kills (default 0)"
    )
    parser.add_argument("--peak-tflops", type=float, default=989, help="of a GPU in bfloat16, dense (default: H100)")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=(0.05, 0.4), help="of the peak that is reached (default 0.05 0.4)"
    )
    parser.add_argument("--price", type=float, help="of a GPU for an hour, in whatever currency")
    parser.add_argument("--child", nargs=2, metavar=("DATA", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    # before torch starts its threads, here and in every process started from here
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if options.child:
        child(Path(options.child[0]), Path(options.child[1]), options)
        return
    print(setting(options))
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        data = base / "data"
        if set(options.only) - {"cost"}:
            import mllm_widgets as mw

            mw.datasets.write_demo_constraints(data, options.questions, seed=options.seed)
        whole = None
        if "overhead" in options.only:
            overhead(data, base, options)
        if {"kills", "ray"} & set(options.only):
            whole = undisturbed(data, base / "whole", options)
        if "kills" in options.only:
            kills(data, base / "killed", whole, options)
        if "ray" in options.only:
            workers(data, base, whole, options)
        if "cost" in options.only:
            cost(options)


def setting(options: argparse.Namespace) -> str:
    import nnsight
    import torch
    import transformers

    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123 - a device, not a path to keep
            cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or "unknown CPU"
    return (
        f"{cpu}, {os.cpu_count()} cores, {options.threads} threads a process{load()}\n"
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, nnsight {nnsight.__version__}\n"
    )


def load() -> str:
    return f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""


def questions(data: Path) -> Any:
    """The subset in which each question has a picture of its own."""
    import mllm_widgets as mw

    return mw.datasets.load_vqa_constraints(data, okvqa=data).subset("okvqa")


def measure() -> Any:
    from mllm_widgets.sweeps import TraceMeasure

    return TraceMeasure(window=3)


def sweep(data: Path, out: Path, **options: Any) -> Any:
    import mllm_widgets as mw

    return mw.sweep("demo", questions(data), measure(), out=out, **{"progress": False, **options})


def child(data: Path, out: Path, options: argparse.Namespace) -> None:
    """What is killed: a part every quarter of a second, so that much of the time something is being written."""
    import torch

    torch.set_num_threads(options.threads)
    sweep(data, out, every=0.25)


def overhead(data: Path, base: Path, options: argparse.Namespace) -> None:
    """Bare traces and sweeps in turns; the sweep's share includes opening its folder and writing it, once a block."""
    import torch

    import mllm_widgets as mw
    from mllm_widgets.tracing import prepare_trace, run_trace

    torch.set_num_threads(options.threads)
    vlm = mw.load()
    rows = list(questions(data))
    settings = measure()

    def bare(some: list[Any]) -> None:
        for row in some:
            run_trace(
                prepare_trace(vlm, row.question()), window=settings.window, modules=settings.modules, groups=(), batch_size=settings.batch_size
            )  # fmt: skip

    def asked(some: list[Any]) -> None:
        for row in some:
            mw.ask(vlm, row.question())

    def swept(some: list[Any], ask: bool) -> None:
        mw.sweep(vlm, some, settings, out=tempfile.mkdtemp(dir=base), ask=ask, progress=False)

    ways = {
        "bare": bare,
        "sweep, not asking": lambda some: swept(some, False),
        "asking": asked,
        "sweep": lambda some: swept(some, True),
    }
    for way in ways.values():
        way(rows[:3])
    clock = {name: [] for name in ways}
    busy = {name: [] for name in ways}
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    for number, block in enumerate(blocks):
        turn = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        for name in turn:
            begin, used = time.perf_counter(), time.process_time()
            ways[name](block)
            clock[name].append(time.perf_counter() - begin)
            busy[name].append(time.process_time() - used)
    count = len(rows)
    print(f"overhead: {count} questions in blocks of {BLOCK}, the ways taking turns{load()}")
    for name in ways:
        print(
            f"  {name:<20} {sum(clock[name]):7.1f} s, {count / sum(clock[name]):5.2f} questions/s; {sum(busy[name]):7.1f} processor seconds"
        )
    for name, beside in (("sweep, not asking", ("bare",)), ("sweep", ("bare", "asking")), ("sweep", ("bare",))):
        by_clock, by_processor = (
            [one / sum(rest) for one, *rest in zip(kept[name], *(kept[other] for other in beside), strict=True)]
            for kept in (clock, busy)
        )
        total = sum(busy[name]) / sum(sum(busy[other]) for other in beside)
        print(
            f"  {name} / {' + '.join(beside)}: median of blocks {statistics.median(by_clock):.3f} by the clock, "
            f"{statistics.median(by_processor):.3f} in processor seconds; {total:.3f} of all processor seconds"
        )
    print(flush=True)


def undisturbed(data: Path, out: Path, options: argparse.Namespace) -> Any:
    """The run that all others are compared with, made as they are: in a process of its own."""
    begin = time.perf_counter()
    run(data, out, options).wait()
    seconds = time.perf_counter() - begin
    import mllm_widgets as mw

    whole = mw.load_run(out)
    rate = steady(out)
    print(
        f"one process, undisturbed: {whole.status()}, {seconds:.1f} s with its start, then {rate:.2f} questions/s{load()}\n"
    )
    return whole


def run(data: Path, out: Path, options: argparse.Namespace) -> subprocess.Popen:
    command = [sys.executable, __file__, "--threads", str(options.threads), "--child", str(data), str(out)]
    return subprocess.Popen(command)


def kills(data: Path, out: Path, whole: Any, options: argparse.Namespace) -> None:
    """Every second kill waits for a file that is being written; all of them first for a random number of parts."""
    import mllm_widgets as mw

    rng = random.Random(options.seed)
    parts = len(list(whole.folder.glob("questions-*")))
    caught: dict[str, int] = {
        "with a file half written": 0,
        "with cells whose questions were not written": 0,
        "else": 0,
    }
    early = 0
    for number in range(options.kills):
        process = run(data, out, options)
        before = len(list(out.glob("questions-*")))
        wanted = before + rng.randrange(0, max(2, 2 * parts // (options.kills + 1)))
        while process.poll() is None and len(list(out.glob("questions-*"))) < wanted:
            time.sleep(0.005)
        if number % 2:
            while process.poll() is None and not list(out.glob(".new-*")):
                pass
        else:
            time.sleep(rng.uniform(0, 1.0))
        process.send_signal(signal.SIGKILL)
        early += process.wait() == 0  # it was done before the kill came
        done = {path.name.split("-", 1)[1] for path in out.glob("questions-*")}
        if list(out.glob(".new-*")):
            caught["with a file half written"] += 1
        elif any(path.name.split("-", 1)[1] not in done for path in out.glob("cells-*")):
            caught["with cells whose questions were not written"] += 1
        else:
            caught["else"] += 1
    if run(data, out, options).wait():
        sys.exit("the last run failed")
    ended = mw.load_run(out)
    print(f"kills: {options.kills - early} of {options.kills} while it ran, seed {options.seed}: {caught}")
    print(
        f"  at the end {ended.status()} in {len(list(out.glob('questions-*')))} parts; {compared(ended, whole)}\n",
        flush=True,
    )


def compared(one: Any, other: Any) -> str:
    """Are two runs the same, row by row and to the bit?"""
    import pandas as pd

    for table in ("cells", "questions"):
        left, right = (getattr(each, table)().drop(columns="seconds", errors="ignore") for each in (one, other))
        keys = ["id", "model", "measure"] + (["module", "layer", "token"] if table == "cells" else [])
        if left.duplicated(keys).any():
            return f"NOT the same: {table} has rows twice"
        try:
            pd.testing.assert_frame_equal(left, right, check_exact=True)
        except AssertionError as error:
            return f"NOT the same: {table}: {error}"
    return (
        f"{len(one.questions())} rows of questions and {len(one.cells())} of cells, the same as undisturbed, to the bit"
    )


def workers(data: Path, base: Path, whole: Any, options: argparse.Namespace) -> None:
    import ray

    from mllm_widgets.sweeps import RayWorkers

    paths = os.pathsep.join(filter(None, sys.path))  # the workers' interpreter must find this package too
    variables = {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    for left in (2, 1, 0):
        try:
            ray.init(
                num_cpus=options.workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": variables},
            )
            break
        except Exception:  # its processes may start more slowly than it waits
            ray.shutdown()
            if not left:
                raise
    alone = steady(whole.folder)
    for killing in (False, True):
        out = base / f"ray-{killing}"
        killed: list[int] = []
        killer = threading.Thread(target=kill_one, args=(out, killed))
        if killing:
            killer.start()
        begin = time.perf_counter()
        done = sweep(data, out, every=0.25, workers=RayWorkers(options.workers))
        seconds = time.perf_counter() - begin
        if killing:
            killer.join()
            print(f"ray, worker {killed} killed on the way: {done.status()}, {seconds:.1f} s; {compared(done, whole)}")
        else:
            rate = steady(out)
            print(
                f"ray, {options.workers} workers: {done.status()}, {seconds:.1f} s with their start; {compared(done, whole)}"
            )
            print(f"  then {rate:.2f} questions/s, one process {alone:.2f}: {rate / alone:.2f} times{load()}")
    ray.shutdown()
    print(flush=True)


def kill_one(out: Path, killed: list[int]) -> None:
    """SIGKILL for one worker, when a tenth of the work may be done."""
    while len(list(out.glob("questions-*"))) < 10:
        time.sleep(0.02)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes()
        except OSError:
            continue
        if b"ray::Worker" in name:
            killed.append(int(path.parent.name))
            os.kill(killed[0], signal.SIGKILL)
            return


def steady(out: Path) -> float:
    """Questions a second between the first part and the last: without the start of processes and the loading of models."""
    import pyarrow.parquet as pq

    paths = sorted(out.glob("questions-*"))
    moments = [int(path.name.split("-")[1]) / 1e9 for path in paths]
    return sum(pq.read_metadata(path).num_rows for path in paths[1:]) / (moments[-1] - moments[0])


def cost(options: argparse.Namespace) -> None:
    """VQA-Constraints with LLaVA-1.5-7B, both sub-blocks: from layers of its shape on this machine, and from stated rates elsewhere."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import CLIPVisionConfig, LlamaConfig

    import mllm_widgets as mw
    from mllm_widgets.sweeps import LLAVA_7B, TraceWork
    from mllm_widgets.sweeps import cost as cost_of
    from mllm_widgets.tracing import prepare_trace, run_trace

    beside: Any = importlib.import_module("trace")  # the script next to this one
    torch.set_num_threads(options.threads)
    layers = 2
    vision = CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
    text = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=layers, num_attention_heads=32, initializer_range=0.1
    )  # fmt: skip
    vlm = beside.random_llava(vision, text, seed=0)
    question = mw.datasets.demo_question()
    setup = prepare_trace(vlm, question, corruption="Taj Mahal")
    here = TraceWork(
        layers, sum(parameter.numel() for parameter in vlm.layers[0].parameters()), len(setup.encoded.input_ids),
        sum(position >= setup.first for position in setup.text_positions), asked=0,
    )  # fmt: skip

    def one() -> None:
        run_trace(prepare_trace(vlm, question, corruption="Taj Mahal"), groups=())

    one()
    busy = time.process_time()  # of all threads: what the clock would say if nothing else ran
    clock = [beside.timed(one)[0] for _ in range(3)]
    seconds = (time.process_time() - busy) / len(clock)
    with FlopCounterMode(display=False) as counter:
        one()
    reached = here.flops / seconds / 1e12 * (os.cpu_count() or 1)
    print(
        f"cost: {layers} layers of LLaVA-1.5-7B's shape, float32, {here.positions} positions, {here.suffix} traced: {here.cells} cells in {seconds:.1f} processor seconds "
        f"({statistics.median(clock):.1f} s by the clock), "
        f"{here.flops / 1e12:.2f} TFLOP by the formula ({counter.get_total_flops() / 1e12:.2f} counted by torch), so {reached:.3f} TFLOP/s on all cores{load()}"
    )
    parts = ", ".join(f"{name} {value / 1e12:.1f}" for name, value in LLAVA_7B.parts.items())
    print(f"LLaVA-1.5-7B, one question: {LLAVA_7B.cells} cells, {LLAVA_7B.flops / 1e12:.1f} TFLOP ({parts})")
    alone = passes_alone(beside)
    print(f"{'':<52} {'s a question':>12} {'cells/s':>8} {'hours':>8}  hours of workers")
    rows = [(f"{os.cpu_count()} cores of this machine", LLAVA_7B.flops / reached / 1e12, 1)]
    for count in (1, 8):
        name = f"{count} GPU{'s' * (count > 1)}, estimated, arithmetic at"
        rows += [
            (f"{name} {share:.0%}", LLAVA_7B.flops / (share * options.peak_tflops * 1e12) + alone, count)
            for share in options.shares
        ]
    for name, seconds, count in rows:
        found = cost_of(seconds, workers=count, price=options.price if "GPU" in name else None)
        paid = "" if found.money is None else f", {found.money:,.2f} at {options.price:g} an hour"
        print(
            f"{name:<52} {seconds:12.3g} {LLAVA_7B.cells / seconds:8.3g} {found.hours:8.3g}  {found.worker_hours:.3g}{paid}"
        )


def passes_alone(beside: Any) -> float:
    """Processor seconds that a question of a 32-layer model takes beside its arithmetic: the same passes through layers so narrow that nothing else is left."""
    from transformers import CLIPVisionConfig, LlamaConfig

    import mllm_widgets as mw
    from mllm_widgets.tracing import prepare_trace, run_trace

    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=23, num_attention_heads=2)
    text = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=32, num_attention_heads=2, initializer_range=0.1
    )
    vlm = beside.random_llava(vision, text, seed=0)
    question = mw.datasets.demo_question()
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    def one() -> None:
        mw.ask(vlm, question, max_new_tokens=3)
        run_trace(prepare_trace(vlm, question, corruption="Taj Mahal"), groups=())

    one()
    with vlm.layers[-1].register_forward_hook(count):
        one()
    begin = time.process_time()
    for _ in range(3):
        one()
    seconds = (time.process_time() - begin) / 3
    print(
        f"32 layers of width 32, 597 positions: {passes} passes, {seconds:.2f} processor seconds a question beside the arithmetic{load()}"
    )
    return seconds


if __name__ == "__main__":
    main()

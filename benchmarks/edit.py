"""What an edit costs: the rank-one form against the released dense inverse, and a whole lambda sweep against one forward pass.

solve      the edited weight of LLaVA-1.5-7B's size (d = 4096, d_ff = 11008), from one key and one value, on random numbers:
           released   (lam W' + z k^T)(lam I + k k^T)^-1 with the dense 11008 x 11008 inverse, as the paper's code does
           ours       left = (z - W' k) / (lam + |k|^2) and right = k, which is all that is kept; and, for one who wants the weight, W' + left right
           Time, and the memory each adds at its peak, in a process of its own.  Both are compared.
sweep      mw.lambda_sweep (33 lambdas, one question) against one ordinary forward pass, on the demo VLM and on a narrow random model with LLaVA-1.5's 576
           visual tokens
value      one step of the search (forward and backward from the edited token on) against one ordinary forward pass, on the same models

Run: python benchmarks/edit.py [--threads 2] [--only solve|sweep] [--device cuda]
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

WIDTH, WIDE = 4096, 11008
LAM = 0.01
MEASURABLE = 0.1  # MB: a process's memory comes in pages, and less than this is none that can be told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument(
        "--repeats", type=int, default=7, help="of which the median counts (default 7; the inverse runs once)"
    )
    parser.add_argument("--only", choices=["solve", "sweep"], help="one of them")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=["released", "ours", "weight"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(options.threads)
    if options.way:
        print(json.dumps(one_way(options)))
        return
    beside: Any = importlib.import_module("trace")  # the script next to this one
    print(beside.setting(options))
    if options.only in (None, "solve"):
        solve(options)
    if options.only in (None, "sweep"):
        sweeps(beside, options)


def solve(options: argparse.Namespace) -> None:
    """Each way in a process of its own, so that its peak of memory is its own."""
    found = {}
    for way in ("released", "ours", "weight"):
        command = [sys.executable, __file__, "--way", way]
        for name in ("threads", "repeats", "device", "seed"):
            command += [f"--{name}", str(getattr(options, name))]
        found[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    names = {
        "released": "dense inverse, as released",
        "ours": "rank one, kept as it is",
        "weight": "rank one, added to the weight",
    }
    print(f"one edit of a {WIDTH} x {WIDE} weight on {options.device}, float32")
    for way, one in found.items():
        memory = f"{one['megabytes']:.1f}" if one["megabytes"] >= MEASURABLE else f"less than {MEASURABLE}"
        print(
            f"  {names[way]:<32} {one['seconds'] * 1e3:12.2f} ms, {memory} MB more at the peak, result {one['sum']:.6e}"
        )
    released = found["released"]
    for way in ("ours", "weight"):
        line = f"  released / {names[way]}: time {released['seconds'] / found[way]['seconds']:.0f}"
        if found[way]["megabytes"] >= MEASURABLE:
            line += f", memory {released['megabytes'] / found[way]['megabytes']:.0f}"
        print(line)
    print(flush=True)


def one_way(options: argparse.Namespace) -> dict[str, float]:
    """Seconds, megabytes that it adds at its peak, and what the edited weight gives at its key, summed, so that ways can be compared."""
    import torch

    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    weight = torch.randn(WIDTH, WIDE, device=device) / WIDE**0.5
    key, value = torch.randn(WIDE, device=device) / 8, torch.randn(WIDTH, device=device)

    def released() -> Any:
        dense = torch.outer(key, key) + LAM * torch.eye(WIDE, device=device)
        return (LAM * weight + torch.outer(value, key)) @ torch.linalg.inv(dense)

    def ours() -> Any:
        return (value - weight @ key) / (LAM + key @ key), key

    def added() -> Any:
        left, right = ours()
        return torch.addr(weight, left, right)

    run = {"released": released, "ours": ours, "weight": added}[options.way]
    repeats = 1 if options.way == "released" else options.repeats
    if options.way != "released":
        run()  # warm
    before = memory(device, fresh=True)
    seconds, made = [], None
    for _ in range(repeats):
        made = None
        start = time.perf_counter()
        made = run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = memory(device) - before
    assert made is not None
    given = weight @ key + made[0] * (made[1] @ key) if options.way == "ours" else made @ key
    return {"seconds": statistics.median(seconds), "megabytes": peak, "sum": float(given.double().abs().sum())}


def memory(device: Any, fresh: bool = False) -> float:
    """The most memory that was held so far, in MB: of the process, or of the GPU since it was asked with `fresh`."""
    import torch

    if device.type == "cuda":
        if fresh:
            torch.cuda.reset_peak_memory_stats()
        return (torch.cuda.memory_allocated() if fresh else torch.cuda.max_memory_allocated()) / 2**20
    if fresh:  # what was held at most begins anew
        with open("/proc/self/clear_refs", "w") as asked:  # noqa: PTH123 - a device, not a path to keep
            asked.write("5")
    with open("/proc/self/status") as lines:  # noqa: PTH123
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def sweeps(beside: Any, options: argparse.Namespace) -> None:
    """A sweep, and one step of the search, against one forward pass of the same question."""
    import torch

    import mllm_widgets as mw
    from mllm_widgets.editing.logits import last_logits

    question = mw.datasets.demo_question("Eiffel Tower", "city")
    models = {
        "demo VLM": mw.load,
        "LLaVA-1.5's sequence, random weights": lambda: beside.geometry_model(options.seed),
    }
    for title, make in models.items():
        vlm = make()
        if options.device != "cpu":
            vlm.model.to(options.device)
        encoded = vlm.encode(question)
        target = "Rome" if title == "demo VLM" else "a"
        edit = mw.multedit(vlm, question, target, layer=1, steps=2)
        ids = list(edit.target_ids)

        def plain(vlm: Any = vlm, encoded: Any = encoded) -> None:
            with torch.inference_mode():
                vlm.model(**encoded.inputs, logits_to_keep=1)

        steps: list[float] = []

        def search(vlm: Any = vlm, target: str = target, steps: list[float] = steps) -> None:
            times: list[float] = []
            mw.multedit(
                vlm, question, target, layer=1, steps=6, stop=1.0, progress=lambda _: times.append(time.perf_counter())
            )
            steps.extend(b - a for a, b in itertools.pairwise(times))

        last_logits(vlm, encoded, ids)  # wrapped, warm
        forward = median(plain, options.repeats)
        sweep = median(lambda edit=edit: mw.lambda_sweep(edit), options.repeats)
        search()
        step = statistics.median(steps)
        print(f"{title}: {len(encoded.tokens)} tokens, {len(vlm.layers)} layers")
        print(f"  one forward pass                     {forward * 1e3:9.1f} ms")
        print(f"  sweep of 33 lambdas                  {sweep * 1e3:9.1f} ms   {sweep / forward:6.1f} forward passes")
        print(f"  one step of the search               {step * 1e3:9.1f} ms   {step / forward:6.1f} forward passes")
        print(flush=True)


def median(run: Callable[[], Any], repeats: int) -> float:
    """Seconds, the median of `repeats` runs after one that does not count."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()

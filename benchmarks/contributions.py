"""Attention contributions: what they cost, and whether the demo models look at the landmark.

memory     a narrow random LLaVA with 2,916 visual tokens (LLaVA-NeXT's 2,880 to the next square), 32 layers of 32 heads: what
           mw.attention_contributions adds to the process's memory at its peak, beside an ordinary forward pass, and how long both take
landmarks  of fresh pictures of the demo world: which part of the five patches that write most into the constraint lie on the drawn landmark, layer by
           layer, beside chance; how far those five move when the landmark alone is moved; how much it is what a blank picture gives
knockout   what the answer's probability is when the constraint may not look, at any layer, at those five patches (of the layer where patches write most), at five
           patches at random, at all patches on the landmark, at as many off it, or at none of the picture

A patch lies on the landmark if a quarter of its pixels do.  Chance is the part of all patches that lie on it.

Run: python benchmarks/contributions.py [--pictures 100] [--only memory|landmarks] [--threads 2]
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib
import os
import time
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100, help="fresh pictures for each demo model (default 100)")
    parser.add_argument("--only", choices=["memory", "landmarks", "knockout"], help="one of them")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--seed", type=int, default=5, help="which pictures and questions (default 5)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(options.threads)
    beside: Any = importlib.import_module("trace")  # the script next to this one
    print(beside.setting(options))
    if options.only in (None, "memory"):
        memory(beside)
    for name in ("demo", "demo-ordinary"):
        if options.only in (None, "landmarks"):
            landmarks(name, options.pictures, options.seed)
        if options.only in (None, "knockout"):
            knockout(name, options.pictures, options.seed)


def memory(beside: Any) -> None:
    from transformers import CLIPVisionConfig, LlamaConfig

    import mllm_widgets as mw

    vision = CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
    text = LlamaConfig(hidden_size=512, intermediate_size=688, num_hidden_layers=32, num_attention_heads=32)
    vlm = beside.random_llava(vision, text, seed=0, side=54)
    question = mw.datasets.demo_question("Eiffel Tower")
    encoded = vlm.encode(question)
    count, heads, layers = len(encoded.tokens), 32, 32
    # large pieces go back to the system when they are freed; otherwise glibc keeps them, and its gaps are measured
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(-3, 1 << 18)
    mw.attention_contributions(vlm, question, layers=[0])  # wrapped, warm
    peaks: dict[str, int] = {}

    def ordinary() -> None:
        with vlm.running():
            vlm.model(**encoded.inputs, use_cache=False, logits_to_keep=1)

    for name, run in (
        ("an ordinary forward pass", ordinary),
        ("contributions into the last token", lambda: mw.attention_contributions(vlm, question, "last")),
        ("the same, each head by itself", lambda: mw.attention_contributions(vlm, question, "last", per_head=True)),
    ):
        gc.collect()
        begun = time.perf_counter()
        with beside.peak_memory(peaks, name):
            kept = run()
        seconds = time.perf_counter() - begun
        added = f"{peaks[name] / 2**20:.0f} MB" if name in peaks else "?"
        print(f"  {name}: {seconds:.2f} s, adds {added}")
        del kept
    print(
        f"  {count} positions, {layers} layers, {heads} heads: what is kept is {layers * heads * count * 4 / 2**20:.0f} MB of attention and as much of "
        f"heads; all maps would be {layers * heads * count**2 * 4 / 2**30:.0f} GB, one layer's {heads * count**2 * 4 / 2**20:.0f} MB\n"
    )


def landmarks(name: str, pictures: int, seed: int) -> None:
    import mllm_widgets as mw
    from mllm_widgets.datasets.questions import demo_specs
    from mllm_widgets.demo.looking import FIRST, by_layer

    found = by_layer(mw.load(name), demo_specs(pictures, seed=seed))
    hit, on = found["on_landmark"], found["covered"]
    print(f"{name}: {pictures} pictures; chance {on.mean():.2f}; the landmark moves by {found['moved_by']:.2f} patches")
    row = "  {:<58}".format
    print(row("layer") + " ".join(f"{layer:>6}" for layer in range(hit.shape[1])))
    print(row("of the five patches that write most, on the landmark") + values(hit.mean(0)))
    print(row("pictures with one of the five on it or more") + values((hit > 0).mean(0)))
    print(row("pictures with three of the five or more") + values((hit >= 0.6).mean(0)))
    print(row("five patches at random: one or more") + values(np.full(hit.shape[1], at_random(on, 1, FIRST))))
    print(row("five patches at random: three or more") + values(np.full(hit.shape[1], at_random(on, 3, FIRST))))
    print(row("patches that the five move by in the mean") + values(found["moved"]))
    print(row("correlation with a blank picture's map") + values(found["blank"]))
    print(row("pictures whose patches write most in this layer") + values(found["peak"]))
    print(flush=True)


def knockout(name: str, pictures: int, seed: int) -> None:
    import mllm_widgets as mw
    from mllm_widgets.datasets.questions import demo_specs
    from mllm_widgets.demo.looking import blocked

    kept = blocked(mw.load(name), demo_specs(pictures, seed=seed), seed)
    print(
        f"{name}: P(answer) when the constraint may not look at ..., mean of {pictures} pictures, and pictures where it fell by half"
    )
    before = np.array(kept["nothing"])
    for way, found in kept.items():
        print(f"  {way:<28} {np.mean(found):.3f} {np.mean(np.array(found) < before / 2):6.2f}")
    print(flush=True)


def at_random(on: np.ndarray, least: int, first: int) -> float:
    """How often `least` of five patches at random lie on the landmark, mean over pictures, of 64 patches each."""
    from math import comb

    chances = []
    for part in on:
        inside = round(part * 64)
        ways = sum(comb(inside, k) * comb(64 - inside, first - k) for k in range(least, first + 1))
        chances.append(ways / comb(64, first))
    return float(np.mean(chances))


def values(row: np.ndarray) -> str:
    return " ".join(f"{value:6.2f}" for value in row)


if __name__ == "__main__":
    main()

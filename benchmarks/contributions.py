"""Attention contributions: what they cost, and whether the demo models look at the landmark.

memory     a narrow random LLaVA with 2,916 visual tokens (LLaVA-NeXT's 2,880 to the next square), 32 layers of 32 heads: what
           mw.attention_contributions adds to the process's memory at its peak, beside an ordinary forward pass, and how long both take
landmarks  of fresh pictures of the demo world: which part of the five patches that write most into the constraint lie on the drawn landmark, layer by
           layer, beside chance; how far the map's centre moves when the landmark alone is moved; how much it is what a blank picture gives
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
import itertools
import os
import time
from dataclasses import replace
from typing import Any

import numpy as np

FIRST, ON = 5, 0.25
SHIFT = 0.12  # of the picture's side, to the left and to the right


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
    from mllm_widgets.datasets.landmarks import draw_and_locate
    from mllm_widgets.datasets.questions import demo_question, demo_specs

    vlm = mw.load(name)
    on, hits, moved, alike, room = [], [], [], [], []
    for spec in demo_specs(pictures, seed=seed):
        question = demo_question(**spec)

        def drawn(shift: float, spec: dict[str, Any] = spec) -> tuple[Any, np.ndarray]:
            rng = np.random.default_rng([77, spec["seed"]])  # as demo_question draws
            return draw_and_locate(spec["landmark"], rng, shift=shift)

        flow = mw.attention_contributions(vlm, question, control="blank")
        covered = by_patch(flow, drawn(0)[1]) >= ON
        best = [np.argsort(-flow.patches(layer).ravel())[:FIRST] for layer in flow.layers]
        on.append(covered.mean())
        hits.append([covered.ravel()[b].mean() for b in best])
        alike.append(flow.control_correlation)
        centres, places = [], []
        for shift in (-SHIFT, SHIFT):
            picture, mask = drawn(shift)
            other = mw.attention_contributions(vlm, replace(question, image=picture))
            centres.append([centre(other.patches(layer)) for layer in other.layers])
            places.append(centre(by_patch(other, mask)))
        moved.append(np.subtract(centres[1], centres[0]))
        room.append(places[1] - places[0])
    hit = np.array(hits)
    chance = float(np.mean(on))
    print(f"{name}: {pictures} pictures; chance {chance:.2f}; the landmark moves by {np.mean(room):.2f} patches")
    row = "  {:<58}".format
    print(row("layer") + " ".join(f"{layer:>6}" for layer in range(hit.shape[1])))
    print(row("of the five patches that write most, on the landmark") + values(hit.mean(0)))
    print(row("pictures with one of the five on it or more") + values((hit > 0).mean(0)))
    print(row("pictures with three of the five or more") + values((hit >= 0.6).mean(0)))
    print(row("five patches at random: one or more") + values(np.full(hit.shape[1], at_random(on, 1))))
    print(row("five patches at random: three or more") + values(np.full(hit.shape[1], at_random(on, 3))))
    print(row("patches that the map's centre moves") + values(np.mean(moved, axis=0)))
    print(row("correlation with a blank picture's map") + values(np.mean(alike, axis=0)))
    print(flush=True)


def knockout(name: str, pictures: int, seed: int) -> None:
    import mllm_widgets as mw
    from mllm_widgets.datasets.landmarks import draw_and_locate
    from mllm_widgets.datasets.questions import demo_question, demo_specs

    vlm, random = mw.load(name), np.random.default_rng(seed)
    kept: dict[str, list[float]] = {}
    for spec in demo_specs(pictures, seed=seed):
        question = demo_question(**spec)
        flow = mw.attention_contributions(vlm, question)
        rng = np.random.default_rng([77, spec["seed"]])
        covered = by_patch(flow, draw_and_locate(spec["landmark"], rng)[1]).ravel() >= ON
        inside, outside = flow.visual[covered], flow.visual[~covered]
        count = min(len(inside), len(outside))
        ways = {
            "the five that write most": flow.top(flow.peak_layer, FIRST, kind="visual")["token"].tolist(),
            "five at random": random.choice(flow.visual, FIRST, replace=False).tolist(),
            "patches on the landmark": random.choice(inside, count, replace=False).tolist(),
            "as many off it": random.choice(outside, count, replace=False).tolist(),
            "the whole picture": "visual",
        }
        for way, source in ways.items():
            cut = mw.attention_knockout(vlm, question, source, "constraint", window=None)
            kept.setdefault("nothing", []).append(cut.before)
            kept.setdefault(way, []).append(float(cut.probability[0]))
    print(
        f"{name}: P(answer) when the constraint may not look at ..., mean of {pictures} pictures, and pictures where it fell by half"
    )
    for way, found in kept.items():
        before = np.array(kept["nothing"]).reshape(pictures, -1)[:, 0]
        fell = np.mean(np.array(found) < before / 2) if way != "nothing" else 0.0
        print(f"  {way:<28} {np.mean(found):.3f} {fell:6.2f}")
    print(flush=True)


def by_patch(flow: Any, mask: np.ndarray) -> np.ndarray:
    """(rows, columns), the part of each patch that a mask (height, width) covers."""
    across, down = (itertools.pairwise(edges.round().astype(int)) for edges in flow.geometry.grids[0].edges)
    columns = list(across)
    return np.array([[mask[top:bottom, left:right].mean() for left, right in columns] for top, bottom in down])


def centre(values: np.ndarray) -> float:
    """The column in which the middle of (rows, columns) weights lies."""
    return float((values.sum(0) * np.arange(values.shape[1])).sum() / values.sum())


def at_random(on: list[float], least: int) -> float:
    """How often `least` of five patches at random lie on the landmark, mean over pictures, of 64 patches each."""
    from math import comb

    chances = []
    for part in on:
        inside = round(part * 64)
        ways = sum(comb(inside, k) * comb(64 - inside, FIRST - k) for k in range(least, FIRST + 1))
        chances.append(ways / comb(64, FIRST))
    return float(np.mean(chances))


def values(row: np.ndarray) -> str:
    return " ".join(f"{value:6.2f}" for value in row)


if __name__ == "__main__":
    main()

"""The table of families, every cell of it measured now on tiny random models of the real classes:  python benchmarks/families.py

trace      largest difference of P_restored to plain hooks, float32: windows 1 and 3; mlp, self_attn and the residual stream; all layers, and
           every token that can have an effect
geometry   pictures of several shapes, of which the pixels under one visual token after another are changed: that token must move most
bfloat16   largest difference of P_restored to plain hooks that run in bfloat16 too
off        which savings the engine does without for this model
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mllm_widgets as mw
from mllm_widgets.tracing import prepare_trace, run_trace
from mllm_widgets.tracing.packing import corrupted_run
from tests.families import random_internvl, test_gemma, test_idefics, test_internvl, test_llava, test_llava_next
from tests.families import test_qwen_vl as test_qwen
from tests.families.judge import assert_geometry_by_cause, without_mixing
from tests.families.rounding import rounding
from tests.families.tiny import TINY, tiny
from tests.families.tiny_llava import check_geometry, llava, llava_next, llava_onevision
from tests.reference import SITES, reference_map

SIZES = [(96, 96), (130, 70), (60, 200)]


def mixed_apart(build: Callable[[], mw.VLM], width: int, height: int) -> None:
    vlm = build()
    without_mixing(vlm.model, "model.vision_tower")
    assert_geometry_by_cause(vlm, width, height)


def tiles(width: int, height: int) -> None:
    processor = random_internvl.build_processor()
    model = random_internvl.build_model(processor.tokenizer)
    with torch.no_grad():
        for layer in model.model.vision_tower.encoder.layer:
            layer.lambda_1.zero_()
            layer.lambda_2.zero_()
    test_internvl.test_the_tokens_over_changed_pixels_change(mw.load(model, processor), (width, height))


def qwen(name: str, width: int, height: int) -> None:
    test_qwen.test_the_token_over_changed_pixels_changes(name, (width, height))


# the tests' own checks, on their own pictures
GEOMETRY: dict[str, tuple[Callable[[int, int], object], list[tuple[int, int]]]] = {
    "LLaVA-1.5": (lambda w, h: check_geometry(llava(), w, h), test_llava.SIZES),
    "LLaVA-NeXT": (lambda w, h: check_geometry(llava_next(), w, h, tokens_per_grid=4), test_llava_next.SIZES),
    "LLaVA-OneVision": (lambda w, h: check_geometry(llava_onevision(), w, h, tokens_per_grid=4), test_llava_next.SIZES),
    "Qwen2-VL": (partial(qwen, "Qwen2-VL"), list(test_qwen.SIZES.values())),
    "Qwen2.5-VL": (partial(qwen, "Qwen2.5-VL"), list(test_qwen.SIZES.values())),
    "Qwen3-VL": (partial(qwen, "Qwen3-VL"), list(test_qwen.SIZES.values())),
    "InternVL": (tiles, list(test_internvl.CANVASES)),
    "Idefics3, SmolVLM": (lambda w, h: assert_geometry_by_cause(test_idefics.local_vlm("idefics3"), w, h), SIZES),
    "Gemma 3": (partial(mixed_apart, test_gemma.gemma3), SIZES),
    "PaliGemma": (partial(mixed_apart, test_gemma.paligemma), SIZES),
}


def geometry(family: str) -> str:
    """How many pictures of how many were right."""
    if family not in GEOMETRY:
        return "none"
    check, sizes = GEOMETRY[family]
    return f"{sum(holds(check, *size) for size in sizes)} of {len(sizes)} pictures"


def holds(check: Callable[[int, int], object], width: int, height: int) -> bool:
    """Does a check pass?"""
    try:
        check(width, height)
    except AssertionError:
        return False
    return True


def trace_difference(vlm: mw.VLM, question: mw.Question) -> tuple[float, str]:
    """The largest difference to plain hooks, and which savings are off."""
    setup = prepare_trace(vlm, question, corruption="Taj Mahal")
    positions = [p for p in setup.text_positions if p >= setup.first]
    worst = 0.0
    for window in (1, 3):
        ours = run_trace(setup, window=window, modules=SITES).restored.sel(token=positions)
        for module in SITES:
            wanted = reference_map(vlm, setup, module, window, positions=positions)
            worst = max(worst, float(np.abs(ours.sel(module=module).values - wanted).max()))
    off = ["prefix"] if setup.continuation.prefix is None else []
    with vlm.running():
        off += ["packing", "layer restart"] if corrupted_run(setup) is None else []
    return worst, ", ".join(off) or "nothing"


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    begin, places = time.perf_counter(), {}
    print(
        "| family | class | decoder | trace | geometry | bfloat16 | off |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for family, decoder in TINY:
        vlm, question = tiny(family, decoder)
        places[family] = places.get(family) or geometry(family)
        worst, off = trace_difference(vlm, question)
        half = rounding(vlm, question, torch.bfloat16, rows=(1,)).to_plain.max()
        name = type(vlm.model).__name__
        print(f"| {family} | `{name}` | {decoder} | {worst:.1e} | {places[family]} | {half:.4f} | {off} |", flush=True)
    missing = set(mw.families().index) - {family for family, _ in TINY}
    print(f"\nNot measured: {', '.join(sorted(missing)) or 'none'}. {time.perf_counter() - begin:.0f} s on one core.")


if __name__ == "__main__":
    main()

"""How long one causal-trace map takes, against the procedure released with the paper.

Three ways to the same map (every text token x every layer x two sub-blocks), in one process with the same number of threads:

released   one full forward pass of three rows (clean, corrupted, corrupted-and-restored) for each cell, with plain hooks
batched    full forward passes of many corrupted rows, one cell a row, clean values recorded once, with plain hooks
ours       mw.causal_trace: the shared prefix computed once, many cells packed in one sequence, through nnsight

The first two are timed on a sample of cells, and their median time a cell is scaled to all cells; ours is timed whole, preparation
included.  On (a) the demo VLM, (b) a narrow random model with LLaVA-1.5's 576 visual tokens, (c) the same with 2,916, LLaVA-NeXT's
number to the next square.  `--sweep` shows what ours costs as visual tokens, text tokens and layers grow; `--preset llava-1.5-7b` times random
weights of that shape in bfloat16 on a GPU.

Run: python benchmarks/trace.py [--threads 2] [--only abc] [--sweep] [--help]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Cell:
    """One restored run: a sub-block's output at a layer and a sequence position."""

    module: str
    layer: int
    position: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--repeats", type=int, default=7, help="whole maps timed; the median counts (default 7)")
    parser.add_argument("--cells", type=int, default=40, help="cells the slower ways are timed on (default 40)")
    parser.add_argument("--rows", type=int, default=32, help="rows a pass of the batched way (default 32)")
    parser.add_argument("--seed", type=int, default=0, help="which cells are sampled, and the random model (default 0)")
    parser.add_argument("--only", default="abc", help="which of (a), (b), (c) to run (default abc)")
    parser.add_argument(
        "--sweep", action="store_true", help="cost against visual tokens, text tokens and layers, instead"
    )
    parser.add_argument("--preset", choices=["llava-1.5-7b"], help="random weights of this shape on a GPU, instead")
    parser.add_argument("--peak-tflops", type=float, default=989, help="the GPU's dense bfloat16 peak (default: H100)")
    options = parser.parse_args()
    # Before torch starts its threads.  They sleep while they wait for each other: by default they spin, and on a machine where anything
    # else runs, every one of the three ways then takes many times longer.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import torch

    import mllm_widgets as mw

    torch.set_num_threads(options.threads)
    if options.preset and not torch.cuda.is_available():
        sys.exit(
            "--preset llava-1.5-7b needs a GPU with about 20 GB of free memory, and torch finds none here. "
            "Without one, run the narrow models: python benchmarks/trace.py"
        )
    print(setting(options))
    question = mw.datasets.demo_question("Eiffel Tower", "city")
    if options.preset:
        preset(question, options)
    elif options.sweep:
        sweep(question, options)
    else:
        models = {
            "a": ("demo VLM", mw.load),
            "b": ("LLaVA-1.5's sequence, random weights", lambda: geometry_model(options.seed)),
            "c": ("LLaVA-NeXT's length, random weights", lambda: geometry_model(options.seed, side=54)),
        }
        for letter in options.only:
            title, make = models[letter]
            compare(f"({letter}) {title}", make(), question, options)
            print(flush=True)


def setting(options: argparse.Namespace) -> str:
    import nnsight
    import torch
    import transformers

    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123 - a device, not a path to keep
            cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or "unknown CPU"
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{cpu}, {os.cpu_count()} cores, {options.threads} threads{load}\n"
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"nnsight {nnsight.__version__}\n"
    )


def compare(title: str, vlm: Any, question: Any, options: argparse.Namespace) -> None:
    import mllm_widgets as mw
    from mllm_widgets.tracing import prepare_trace

    trace = mw.causal_trace(vlm, question, corruption="Taj Mahal")  # warm-up, and the numbers to compare with
    setup = trace.setup
    visual = int(setup.encoded.visual.sum())
    text = len(setup.text_positions)
    cells = [Cell(m, layer, p) for m in trace.modules for layer in range(trace.layers) for p in setup.text_positions]
    chosen = np.random.default_rng(options.seed).permutation(len(cells))
    sample = [cells[i] for i in chosen[: options.cells]]
    width = vlm.model.config.text_config.hidden_size
    print(f"{title}: {trace.layers} layers of width {width}, {visual} visual + {text} text tokens, {len(cells)} cells")

    peaks: dict[str, int] = {}
    busy = time.process_time()  # of all threads: unlike the clock, other work on the machine hardly changes it
    with peak_memory(peaks, "ours"):
        whole = [
            timed(lambda: mw.causal_trace(vlm, question, corruption="Taj Mahal"))[0] for _ in range(options.repeats)
        ]
    busy_ours = (time.process_time() - busy) / options.repeats
    ours = statistics.median(whole)
    prepared = statistics.median(
        timed(lambda: prepare_trace(vlm, question, corruption="Taj Mahal"))[0] for _ in range(3)
    )
    with vlm.running():
        released_cell(vlm, setup, sample[0])
        busy = time.process_time()
        with peak_memory(peaks, "released"):
            released = [timed(lambda cell=cell: released_cell(vlm, setup, cell)) for cell in sample]
        busy_released = (time.process_time() - busy) / len(sample) * len(cells)
        clean = record(vlm, setup)
        starts = range(0, min(3 * options.rows, len(cells) - options.rows + 1), options.rows)
        batches = [[cells[i] for i in chosen[start : start + options.rows]] for start in starts]
        with peak_memory(peaks, "batched"):
            batched_cells(vlm, setup, batches[0], clean)
        batched = [timed(lambda batch=batch: batched_cells(vlm, setup, batch, clean)) for batch in batches]

    def own(cell: Cell) -> float:
        return float(trace.restored.sel(module=cell.module, layer=cell.layer, token=cell.position))

    each_released = statistics.median(seconds for seconds, _ in released)
    each_batched = statistics.median(seconds / len(batch) for (seconds, _), batch in zip(batched, batches, strict=True))
    difference = max(abs(value - own(cell)) for (_, value), cell in zip(released, sample, strict=True))
    effects = [abs(value - trace.corrupted) for _, value in released]
    row = "  {:<38} {:>10} {:>10} {:>9} {:>6} {:>9}   {}".format
    print(row("way", "a cell", "whole map", "cells/s", "times", "memory", "how measured"))
    rows = [
        ("released: batch of 3, one cell a pass", "released", each_released, f"median of {len(sample)} cells, scaled"),
        (
            f"batched: {len(batches[0])} full rows a pass",
            "batched",
            each_batched,
            f"median of {len(batches)} passes, scaled",
        ),
        ("ours", "ours", ours / len(cells), f"median of {options.repeats} whole maps"),
    ]
    for name, key, each, how in rows:
        total = each * len(cells)
        memory = f"{peaks[key] / 2**20:.0f} MB" if key in peaks else "?"
        print(
            row(name, f"{each * 1e3:.2f} ms", f"{total:.2f} s", f"{1 / each:.0f}", f"{total / ours:.0f}x", memory, how)
        )
    print(f"  ours: {prepared:.2f} s of it are the clean and the corrupted run; memory is what a way adds at its peak")
    print(
        f"  released / ours = {each_released * len(cells) / ours:.0f}, batched / ours = {each_batched * len(cells) / ours:.0f}"
    )
    print(
        f"  in processor seconds: released {busy_released:.1f}, ours {busy_ours:.2f}, released / ours = {busy_released / busy_ours:.0f}"
    )
    print(
        f"  released and ours differ by at most {difference:.1e} on the {len(sample)} sampled cells, whose largest effect is "
        f"{max(effects):.3f}"
    )


def sweep(question: Any, options: argparse.Namespace) -> None:
    """Seconds of preparation and of the map's passes, as one thing grows and the others stay as in (b)."""
    from mllm_widgets.tracing import prepare_trace, run_trace

    changes = {
        "visual tokens": [{"side": side} for side in (12, 24, 36)],
        "text tokens": [{"more": " It stands in a city that many people visit." * times} for times in (0, 1, 3)],
        "layers": [{"layers": layers} for layers in (6, 12, 24)],
    }
    row = "  {:>8} {:>6} {:>7} {:>7} {:>13} {:>9} {:>10}".format
    for name, models in changes.items():
        print(f"cost against {name}")
        print(row("visual", "text", "layers", "cells", "preparation", "passes", "a cell"))
        for changed in models:
            vlm = geometry_model(options.seed, **changed)
            setup = prepare_trace(vlm, question, corruption="Taj Mahal")
            run_trace(setup)
            before = [timed(lambda vlm=vlm: prepare_trace(vlm, question, corruption="Taj Mahal"))[0] for _ in range(3)]
            after = [timed(lambda setup=setup: run_trace(setup))[0] for _ in range(3)]
            text = len(setup.text_positions)
            cells = 2 * len(vlm.layers) * sum(p >= setup.first for p in setup.text_positions)
            passes = statistics.median(after)
            print(
                row(
                    int(setup.encoded.visual.sum()),
                    text,
                    len(vlm.layers),
                    cells,
                    f"{statistics.median(before):.2f} s",
                    f"{passes:.2f} s",
                    f"{passes / cells * 1e3:.2f} ms",
                ),
                flush=True,
            )


def preset(question: Any, options: argparse.Namespace) -> None:
    """A map of LLaVA-1.5-7B's shape: the whole, its first cells, and what its arithmetic alone would take."""
    import torch

    import mllm_widgets as mw
    from mllm_widgets.tracing import prepare_trace, run_trace

    vlm = full_model(options.seed)
    trace = run_trace(prepare_trace(vlm, question, corruption="Taj Mahal"))  # warm-up
    torch.cuda.reset_peak_memory_stats()
    weights = torch.cuda.memory_allocated()
    wholes, firsts = [], []
    for _ in range(options.repeats):
        begin, seen = time.perf_counter(), []
        trace = mw.causal_trace(
            vlm,
            question,
            corruption="Taj Mahal",
            on_cells=lambda _cells, seen=seen: seen.append(time.perf_counter()),
        )
        torch.cuda.synchronize()
        wholes.append(time.perf_counter() - begin)
        firsts.append(seen[0] - begin)
    setup = trace.setup
    layers, end = trace.layers, len(setup.encoded.input_ids)
    each = sum(parameter.numel() for parameter in vlm.layers[0].parameters())
    copies = sum(
        (end - p) * (layers - layer) * 2 for p in setup.text_positions if p >= setup.first for layer in range(layers)
    )
    flops = 2 * each * (copies + end * layers)
    floor = flops / (options.peak_tflops * 1e12)
    whole = statistics.median(wholes)
    print(
        f"(d) {options.preset}, random weights, bfloat16, {torch.cuda.get_device_name()}: whole map {whole:.2f} s, first cells "
        f"{statistics.median(firsts):.2f} s, {trace.restored.size / whole:.0f} cells/s; {weights / 2**30:.1f} GiB of weights and "
        f"{(torch.cuda.max_memory_allocated() - weights) / 2**30:.1f} GiB more at the peak\n"
        f"    floor: {flops / 1e12:.0f} TFLOP of matrix products, {floor:.3f} s at {options.peak_tflops:.0f} TFLOP/s; reached "
        f"{floor / whole:.1%} of it"
    )


class peak_memory:  # noqa: N801 - reads as a statement
    """Notes in `peaks[name]` how many bytes the process grew by at its widest; nothing where the system does not say (Linux does)."""

    def __init__(self, peaks: dict[str, int], name: str):
        self.peaks, self.name = peaks, name

    def __enter__(self) -> None:
        gc.collect()
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier ways freed and the process kept
            Path("/proc/self/clear_refs").write_text("5")  # the highest resident size is counted from here
            self.before = resident("VmRSS")
        except OSError:
            self.before = None

    def __exit__(self, *_: Any) -> None:
        if self.before is not None:
            self.peaks[self.name] = resident("VmHWM") - self.before


def resident(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def timed(work: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    value = work()
    return time.perf_counter() - begin, value


def hidden_of(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def repeated(setup: Any, rows: int, clean_rows: int) -> dict[str, Any]:
    """Model inputs of `rows` rows, the first `clean_rows` of them clean and the others corrupted."""
    import torch

    inputs = {key: value.repeat(rows, *[1] * (value.dim() - 1)) for key, value in setup.encoded.inputs.items()}
    inputs["input_ids"][clean_rows:] = torch.as_tensor(setup.corrupted_input_ids)
    return inputs


def released_cell(vlm: Any, setup: Any, cell: Cell) -> float:
    """P_restored of one cell, from one pass of three rows; the third takes the first's output where it is restored."""

    def restore(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden_of(output)[2, cell.position] = hidden_of(output)[0, cell.position]
        return output

    with vlm.block(cell.layer, cell.module).register_forward_hook(restore):
        logits = vlm.model(**repeated(setup, 3, 1)).logits[2, -1]
    return float(logits.float().softmax(-1)[setup.answer_id])


def record(vlm: Any, setup: Any) -> dict[tuple[str, int], Any]:
    """(module, layer) -> the clean run's output (positions, width)."""
    kept = {}
    handles = []
    for layer, block in enumerate(vlm.layers):
        for module in ("mlp", "self_attn"):

            def keep(_module: Any, _inputs: Any, output: Any, site: tuple[str, int] = (module, layer)) -> None:
                kept[site] = hidden_of(output)[0].clone()

            handles.append(getattr(block, module).register_forward_hook(keep))
    vlm.model(**setup.encoded.inputs)
    for handle in handles:
        handle.remove()
    return kept


def batched_cells(vlm: Any, setup: Any, cells: list[Cell], clean: dict[tuple[str, int], Any]) -> np.ndarray:
    """P_restored (cells,), each cell a full corrupted row of one pass."""
    handles = []
    for module, layer in {(cell.module, cell.layer) for cell in cells}:
        places = [(i, cell.position) for i, cell in enumerate(cells) if (cell.module, cell.layer) == (module, layer)]

        def restore(
            _module: Any, _inputs: Any, output: Any, places: Any = places, values: Any = clean[module, layer]
        ) -> Any:
            for row, position in places:
                hidden_of(output)[row, position] = values[position]
            return output

        handles.append(vlm.block(layer, module).register_forward_hook(restore))
    logits = vlm.model(**repeated(setup, len(cells), 0), logits_to_keep=1).logits[:, -1]
    for handle in handles:
        handle.remove()
    return logits.float().softmax(-1)[:, setup.answer_id].numpy()


def geometry_model(seed: int, *, side: int = 24, layers: int = 12, more: str = "") -> Any:
    """Sequence lengths of LLaVA-1.5 (336-pixel pictures, 14-pixel patches, 576 visual tokens) on narrow random layers.

    The vision tower is small: this is about the decoder, where a map spends its time.

    side: patches along each side of the picture.
    more: words after the question, which make the prompt longer.
    """
    from transformers import CLIPVisionConfig, LlamaConfig

    vision = CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
    text = LlamaConfig(
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        initializer_range=0.1,  # wide, so that restoring something matters
    )
    return random_llava(vision, text, seed=seed, side=side, more=more)


def full_model(seed: int) -> Any:
    """Random weights of LLaVA-1.5-7B's shape, bfloat16, on the GPU."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig

    vision = CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
    text = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32)
    return random_llava(vision, text, seed=seed, vocabulary=32064, dtype=torch.bfloat16, device="cuda")


def random_llava(
    vision: Any,
    text: Any,
    *,
    seed: int,
    side: int = 24,
    more: str = "",
    vocabulary: int | None = None,
    dtype: Any = None,
    device: str = "cpu",
) -> Any:
    """A LLaVA of the two configurations, with the demo's tokenizer and a chat template as long as a real prompt."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    import mllm_widgets as mw
    from mllm_widgets.demo.architecture import CHAT_TEMPLATE, build_tokenizer

    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    tokenizer.model_max_length = 4096
    pixels = 14 * side
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": pixels}, crop_size={"height": pixels, "width": pixels}
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE + more + " The answer is this building:",
    )
    vision.image_size, vision.patch_size = pixels, 14
    text.vocab_size, text.max_position_embeddings = vocabulary or len(tokenizer), 4096
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=processor.image_token_id,
        image_seq_length=side**2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    earlier = torch.get_default_dtype()
    torch.set_default_dtype(dtype or earlier)
    try:
        with torch.device(device):
            model = LlavaForConditionalGeneration(config).eval()
    finally:
        torch.set_default_dtype(earlier)
    with torch.no_grad():
        model.lm_head.weight *= 3  # confident answers
    return mw.load(model, processor)


if __name__ == "__main__":
    main()

"""How long one causal-trace map takes, against the procedure released with the paper.

Three ways to the same map (every text token x every layer x two sub-blocks), in one process with the same number of threads:

released   one full forward pass of three rows (clean, corrupted, corrupted-and-restored) for each cell, with plain hooks
batched    full forward passes of many corrupted rows, one cell a row, clean values recorded once, with plain hooks
ours       mw.causal_trace: the shared prefix computed once, many suffixes a pass, through nnsight

The first two are timed on a sample of cells, and their median time a cell is scaled to all cells; ours is timed whole, preparation
included.  Run: python benchmarks/trace.py [--threads 2] [--help]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from dataclasses import dataclass
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
    options = parser.parse_args()
    # Before torch starts its threads.  They sleep while they wait for each other: by default they spin, and on a machine where anything
    # else runs, every one of the three ways then takes many times longer.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import torch

    import mllm_widgets as mw

    torch.set_num_threads(options.threads)
    print(setting(options))
    question = mw.datasets.demo_question("Eiffel Tower", "city")
    compare("demo VLM", mw.load(), question, options)
    print()
    vlm = geometry_model(options.seed)
    compare("LLaVA-1.5 geometry, random weights", vlm, question, options)


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

    trace = mw.causal_trace(vlm, question, corruption="Taj Mahal")  # warm-up, and the numbers to compare with
    setup = trace.setup
    visual = int(setup.encoded.visual.sum())
    text = len(setup.text_positions)
    cells = [Cell(m, layer, p) for m in trace.modules for layer in range(trace.layers) for p in setup.text_positions]
    chosen = np.random.default_rng(options.seed).permutation(len(cells))
    sample = [cells[i] for i in chosen[: options.cells]]
    width = vlm.model.config.text_config.hidden_size
    print(f"{title}: {trace.layers} layers of width {width}, {visual} visual + {text} text tokens, {len(cells)} cells")

    whole = [timed(lambda: mw.causal_trace(vlm, question, corruption="Taj Mahal"))[0] for _ in range(options.repeats)]
    ours = statistics.median(whole)
    with vlm.running():
        released_cell(vlm, setup, sample[0])
        released = [timed(lambda cell=cell: released_cell(vlm, setup, cell)) for cell in sample]
        clean = record(vlm, setup)
        starts = range(0, min(3 * options.rows, len(cells) - options.rows + 1), options.rows)
        batches = [[cells[i] for i in chosen[start : start + options.rows]] for start in starts]
        batched_cells(vlm, setup, batches[0], clean)
        batched = [timed(lambda batch=batch: batched_cells(vlm, setup, batch, clean)) for batch in batches]

    def own(cell: Cell) -> float:
        return float(trace.restored.sel(module=cell.module, layer=cell.layer, token=cell.position))

    each_released = statistics.median(seconds for seconds, _ in released)
    each_batched = statistics.median(seconds / len(batch) for (seconds, _), batch in zip(batched, batches, strict=True))
    difference = max(abs(value - own(cell)) for (_, value), cell in zip(released, sample, strict=True))
    effects = [abs(value - trace.corrupted) for _, value in released]
    row = "  {:<38} {:>11} {:>11} {:>7}   {}".format
    print(row("way", "a cell", "whole map", "times", "how measured"))
    rows = [
        ("released: batch of 3, one cell a pass", each_released, f"median of {len(sample)} cells, scaled"),
        (f"batched: {len(batches[0])} full rows a pass", each_batched, f"median of {len(batches)} passes, scaled"),
        ("ours", ours / len(cells), f"median of {options.repeats} whole maps"),
    ]
    for name, each, how in rows:
        total = each * len(cells)
        print(row(name, f"{each * 1e3:.2f} ms", f"{total:.2f} s", f"{total / ours:.0f}x", how))
    print(
        f"  released and ours differ by at most {difference:.1e} on the {len(sample)} sampled cells, whose largest effect is "
        f"{max(effects):.3f}"
    )


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


def geometry_model(seed: int) -> Any:
    """Sequence lengths of LLaVA-1.5 (336-pixel pictures, 14-pixel patches, 576 visual tokens) on 12 narrow random layers.

    The vision tower is small: this is about the decoder, where a map spends its time.
    """
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    import mllm_widgets as mw
    from mllm_widgets.demo.architecture import CHAT_TEMPLATE, build_tokenizer

    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    tokenizer.model_max_length = 2048
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE
        + " The answer is this building:",  # so that the text is about as long as a real prompt's
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=336,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=12,
            num_attention_heads=8,
            num_key_value_heads=8,
            max_position_embeddings=2048,
            initializer_range=0.1,  # wide, so that restoring something matters
            tie_word_embeddings=False,
        ),
        image_token_index=processor.image_token_id,
        image_seq_length=576,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.lm_head.weight *= 3  # confident answers
    return mw.load(model, processor)


if __name__ == "__main__":
    main()

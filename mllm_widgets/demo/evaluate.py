"""Measure a demo model against its bars, through the public API:  python -m mllm_widgets.demo.evaluate demo

Every question is a fresh rendering with a wording never trained on, no mask anywhere.  Writes `evaluation.json` beside the
weights and the averaged map `map.png`; the model card quotes both.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import mllm_widgets as mw
from mllm_widgets.datasets import world

from .episodes import HOP_LAYERS, PLANTED_LAYERS
from .train import MODELS


def other_name(rng) -> str:
    """The name of a known landmark whose first word is its own."""
    names = [k.name for k in world.KNOWN if not k.name.startswith(("Great", "El", "Saint", "Statue"))]
    return names[int(rng.integers(len(names)))]


def interchange(vlm, target, source, layer: int) -> int:
    """The arg-max answer token of `target` when the MLP output at its last constraint token comes from `source`."""
    mlp = vlm.model.model.language_model.layers[layer].mlp
    a, b = vlm.encode(target), vlm.encode(source)
    kept = {}

    def keep(_module, _inputs, output):
        kept["value"] = output[0, b.constraint[-1]].clone()

    def put(_module, _inputs, output):
        output[0, a.constraint[-1]] = kept["value"]
        return output

    with torch.inference_mode():
        for encoded, hook in ((b, keep), (a, put)):
            handle = mlp.register_forward_hook(hook)
            try:
                logits = vlm.model(**encoded.inputs).logits[0, -1]
            finally:
                handle.remove()
    return int(logits.argmax())


def measure(name: str, questions: int, maps: int, seed: int) -> tuple[dict, dict[str, np.ndarray]]:
    """(figures, averaged indirect effects): maps are (layers, rows), rows first/last constraint token, other, last token."""
    vlm = mw.load(name)
    rng = np.random.default_rng(seed)
    asked = mw.datasets.demo(questions, seed=seed)
    right, probability, dropped = [], [], []
    kept = []
    for question in asked:
        answer = mw.ask(vlm, question)
        right.append(answer.text.strip() == question.answer)
        truth = vlm.tokenizer(f" {question.answer}", add_special_tokens=False)["input_ids"][0]
        probability.append(float(answer.probabilities[truth]))
        swap = other_name(rng)
        for _ in range(20):
            swap = other_name(rng)
            swapped_answer = world.BY_NAME[swap].answer(_relation(question))
            if swapped_answer.split()[0] != str(question.answer).split()[0]:
                break
        kept.append((question, swap, right[-1]))
    sums: dict[str, list] = {}
    start = time.perf_counter()
    for i, (question, swap, _) in enumerate(kept):
        if i >= maps:
            setup = mw.tracing.prepare_trace(vlm, question, corruption=swap)
            dropped.append(setup.corrupted < 0.1)
            continue
        traces = {w: mw.causal_trace(vlm, question, corruption=swap, window=w) for w in (1, 3)}
        dropped.append(traces[1].corrupted < 0.1)
        for w, trace in traces.items():
            ie = trace.indirect_effect
            last_constraint, last = trace.constraint[-1], int(ie.token[-1])
            others = [t for t in ie.token.values if t > last_constraint and t != last]
            for module in ("mlp", "self_attn"):
                part = ie.sel(module=module)
                for row, picked in (
                    ("constraint (last)", part.sel(token=last_constraint)),
                    ("constraint (first)", part.sel(token=trace.constraint[0])),
                    ("after the constraint", part.sel(token=others).mean("token")),
                    ("last token", part.sel(token=last)),
                ):
                    sums.setdefault(f"{module}|{w}|{row}", []).append(picked.values)
    seconds = time.perf_counter() - start
    averaged = {key: np.nanmean(values, axis=0) for key, values in sums.items()}
    exchanged = []
    for i in range(100):
        a, b = (world.KNOWN[int(k)] for k in rng.choice(len(world.KNOWN), 2, replace=False))
        relation = [
            r for r in world.RELATIONS if a.answer(r) != b.answer(r) and world.UNKNOWN not in (a.answer(r), b.answer(r))
        ]
        if not relation:
            continue
        chosen = relation[int(rng.integers(len(relation)))]
        qa, qb = (mw.datasets.demo_question(x.name, chosen, seed=5000 + i) for x in (a, b))
        wanted = vlm.tokenizer(" " + b.answer(chosen), add_special_tokens=False)["input_ids"][0]
        exchanged.append([interchange(vlm, qa, qb, layer) == wanted for layer in PLANTED_LAYERS])
    mlp_row = averaged["mlp|1|constraint (last)"]
    outside = [layer for layer in range(len(mlp_row)) if layer not in PLANTED_LAYERS]
    constraint_rows = [v for k, v in averaged.items() if "constraint (" in k and "|1|" in k]
    figures = {
        "model": name,
        "questions": questions,
        "accuracy": float(np.mean(right)),
        "mean_probability": float(np.mean(probability)),
        "share_dropped_below_0.1": float(np.mean(dropped)),
        "maps": maps,
        "mlp_last_constraint_window_1": [round(float(v), 3) for v in mlp_row],
        "planted_minimum": float(min(mlp_row[layer] for layer in PLANTED_LAYERS)),
        "outside_maximum": float(max(mlp_row[layer] for layer in outside)),
        "last_token_attention_window_3": [round(float(v), 3) for v in averaged["self_attn|3|last token"]],
        "last_token_attention_maximum": float(averaged["self_attn|3|last token"][HOP_LAYERS[0] - 1 :].max()),
        "constraint_rows_maximum": float(max(v.max() for v in constraint_rows)),
        "interchange_by_layer": {
            str(k): float(v) for k, v in zip(PLANTED_LAYERS, np.mean(exchanged, axis=0), strict=True)
        },
        "interchanges": len(exchanged),
        "seconds_per_two_maps": round(seconds / max(maps, 1), 3),
        "seed": seed,
    }
    return figures, averaged


def _relation(question) -> str:
    """Which relation a demo question asks for, from its words."""
    text = question.text
    for relation, word in (
        ("spanish", "Spanish"),
        ("german", "German"),
        ("city", "city"),
        ("country", "country"),
        ("continent", "continent"),
    ):
        if word in text:
            return relation
    return "century"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("demo", "demo-ordinary"))
    parser.add_argument("--questions", type=int, default=240)
    parser.add_argument("--maps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("--out", type=Path, default=MODELS)
    options = parser.parse_args()
    figures, averaged = measure(options.name, options.questions, options.maps, options.seed)
    folder = options.out / options.name
    figures["maps_window_1"] = {
        k.replace("|1|", " "): [round(float(x), 3) for x in v] for k, v in averaged.items() if "|1|" in k
    }
    (folder / "evaluation.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

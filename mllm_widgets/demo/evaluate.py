"""Measure a demo model against its bars:  python -m mllm_widgets.demo.evaluate demo

Takes "demo", "demo-ordinary" or a folder of either name, such as training made.  Writes `evaluation.json` and the averaged
map `map.png` beside the weights, and the figures of the model card, if there is one, anew.  Some minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import mllm_widgets as mw
from mllm_widgets.datasets.questions import demo_specs
from mllm_widgets.vlm.loading import DEMO_MODELS, DEMO_NAMES

from . import card, measures
from .episodes import PLANTED_LAYERS
from .looking import looking

PICTURES = 100  # whose patches are looked at
SMALLER = 96  # questions of the measures no bar is set for


def measure(vlm: mw.VLM, questions: int, maps: int, seed: int) -> dict[str, Any]:
    """Every measure of a model: see `measures` for what each means."""
    specs = demo_specs(questions, seed=seed)
    corruption, averaged = measures.corruption_and_maps(vlm, specs, maps, seed)
    return {
        "seed": seed,
        "answers": measures.answers(vlm, specs),
        "picture_sizes": measures.picture_sizes(vlm, specs[:SMALLER]),
        "named": named(vlm, SMALLER, seed),
        "multi_constraint": measures.multi_constraint(vlm, SMALLER, seed),
        "unknown": measures.unknown_facts(vlm, SMALLER, seed),
        "corruption": corruption,
        "maps": {**averaged, "by_word": measures.effect_by_word(vlm, 24, seed)},
        "interchange": measures.interchange(vlm, 100, seed),
        "looking": looking(vlm, demo_specs(PICTURES, seed=seed + 1), seed),
        "architecture": architecture(vlm),
    }


def named(vlm: mw.VLM, n: int, seed: int) -> dict[str, Any]:
    """Accuracy on questions that name a landmark in words, whatever the picture shows."""
    return {"questions": n, "accuracy": measures.share_right(vlm, measures.named_questions(n, seed))}


def architecture(vlm: mw.VLM) -> dict[str, Any]:
    """The model's sizes, read from the model itself."""
    vision, text = vlm.model.config.vision_config, vlm.model.config.text_config
    return {
        "parameters": sum(p.numel() for p in vlm.model.parameters()),
        "vision": {
            "layers": vision.num_hidden_layers,
            "width": vision.hidden_size,
            "heads": vision.num_attention_heads,
            "picture": vision.image_size,
            "patch": vision.patch_size,
            "visual_tokens": (vision.image_size // vision.patch_size) ** 2,
        },
        "language": {
            "layers": text.num_hidden_layers,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "mlp": text.intermediate_size,
            "vocabulary": text.vocab_size,
        },
    }


def judge(figures: dict[str, Any], planted: bool) -> list[dict[str, Any]]:
    """The bars: what is claimed, the figure (the worst of its kind), the bar, and whether it is met."""
    effect = {w: {m: np.array(rows) for m, rows in part.items()} for w, part in figures["maps"]["effect"].items()}
    return [
        at_least(0.95, "accuracy", figures["answers"]["accuracy"]),
        at_least(0.85, "mean P(answer)", figures["answers"]["mean_probability"]),
        at_least(
            0.9,
            "share of questions whose P(answer) falls below 0.1 when the constraint is another landmark's name",
            figures["corruption"]["share_below_0.1"],
        ),
        *(_planted_bars(figures, effect) if planted else _ordinary_bars(effect)),
    ]


def _planted_bars(figures: dict[str, Any], effect: dict[str, dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    row = effect["1"]["mlp"][measures.LAST_CONSTRAINT]
    inside = np.isin(np.arange(len(row)), PLANTED_LAYERS)
    # windows of three whose layers all lie above the planted ones
    later = effect["3"]["self_attn"][measures.LAST_TOKEN][max(PLANTED_LAYERS) + 2 :]
    planted = " and ".join(map(str, PLANTED_LAYERS))
    return [
        at_least(
            0.6,
            f"MLP effect at the last constraint token, window 1: the smaller of layers {planted}",
            row[inside].min(),
        ),
        at_most(0.1, "the same: the largest of all other layers", row[~inside].max()),
        at_least(0.3, "self-attention effect at the last token, window 3: the largest of later layers", later.max()),
        *(
            at_least(
                0.8,
                f"share of interchanges of layer {layer}'s MLP output between two pictures that give the other picture's answer",
                figures["interchange"]["by_layer"][str(layer)],
            )
            for layer in PLANTED_LAYERS
        ),
        at_least(
            0.9,
            "share of pictures in which one of the five patches that write most into the constraint, or more, lies on the landmark",
            figures["looking"]["touches"],
        ),
        at_least(
            0.2,
            "P(answer) lost when the constraint may not look at those five patches, beyond what five at random cost",
            figures["looking"]["blocked"]["five at random"] - figures["looking"]["blocked"]["the five that write most"],
        ),
    ]


def _ordinary_bars(effect: dict[str, dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    rows = [part[measures.CONSTRAINT_ROWS] for modules in effect.values() for part in modules.values()]
    largest = np.nanmax(np.array(rows, dtype=float))
    return [at_most(0.1, "effect in the constraint's rows: the largest of all layers, sub-blocks and windows", largest)]


def at_least(bar: float, claim: str, figure: float) -> dict[str, Any]:
    """A bar that the figure must reach."""
    return {"claim": claim, "figure": figure, "bar": f">= {bar}", "met": bool(figure >= bar)}


def at_most(bar: float, claim: str, figure: float) -> dict[str, Any]:
    """A bar that the figure must not pass."""
    return {"claim": claim, "figure": figure, "bar": f"<= {bar}", "met": bool(figure <= bar)}


def retrained(figures: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What the same measures gave for the same model trained anew."""
    if [bar["claim"] for bar in other["bars"]] != [bar["claim"] for bar in figures["bars"]]:
        raise ValueError(
            f"the evaluation of {other['model']!r} has other bars than {figures['model']!r}: measure it again"
        )
    return {"same_weights": other["weights_sha256"] == figures["weights_sha256"], "bars": other["bars"]}


def plain(value: Any, digits: int = 4) -> Any:
    """Figures as JSON holds them: lists and floats of `digits` decimals, no minus before a zero."""
    if isinstance(value, dict):
        return {key: plain(part, digits) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(part, digits) for part in value]
    if isinstance(value, (float, np.floating)):
        return None if np.isnan(value) else round(float(value), digits) + 0.0
    return value


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="demo, demo-ordinary, or a folder of either name")
    parser.add_argument("--questions", type=int, default=240)
    parser.add_argument("--maps", type=int, default=120, help="how many of them to average the maps over")
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument(
        "--retrained", type=Path, help="an evaluated folder of the same model trained anew, to compare with"
    )
    options = parser.parse_args()
    folder = DEMO_MODELS / options.model if options.model in DEMO_NAMES else Path(options.model).resolve()
    if folder.name not in DEMO_NAMES:
        parser.error(f"{options.model} is neither {' nor '.join(DEMO_NAMES)} nor a folder of that name")
    vlm = mw.load(folder, dtype="float32")
    # the card's figures are of these weights and no others: a test compares the digest
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    figures = {
        "model": folder.name,
        "weights_sha256": digest,
        **plain(measure(vlm, options.questions, options.maps, options.seed)),
    }
    figures["bars"] = plain(judge(figures, planted=folder.name == "demo"))
    if options.retrained:
        figures["retrained"] = retrained(figures, json.loads((options.retrained / "evaluation.json").read_text()))
    elif (folder / "evaluation.json").exists():
        before = json.loads((folder / "evaluation.json").read_text())
        if before.get("weights_sha256") == digest and "retrained" in before:
            figures["retrained"] = before["retrained"]
    (folder / "evaluation.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    card.map_picture(figures).save(folder / "map.png", optimize=True)
    card.rewrite(folder, figures)
    for bar in figures["bars"]:
        print("met   " if bar["met"] else "MISSED", bar["figure"], bar["bar"], bar["claim"])  # noqa: T201


if __name__ == "__main__":
    main()

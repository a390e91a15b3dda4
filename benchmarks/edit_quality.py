"""Does an edit work, and what does it break?  40 edits of the demo VLM, each by itself: its mean figures, with 95% intervals by bootstrap over edits.

24 edits make the model say another answer about each landmark it knows (it has next to no errors to fix, so the answers are wrong ones, drawn at random), 16 insert
true facts about the four landmarks whose facts were held out ("unknown" before).  Questions, wordings and pictures are in no model's training.

quality    MultEdit in layers 1 and 2, at the paper's lambda and at larger ones, and the unedited model
baselines  fine-tuning, constrained fine-tuning, ROME and LoRA of the same layers
layers     every layer, on every other edit
lambdas    what lambda trades, in steps of a factor of 2, on every other edit
twin       the ordinary twin, which does not keep the answer at the constraint: the negative control

What is asked after each edit, and how each figure is defined, is in `COLUMNS`; probabilities are of all tokens of the target.

Run: python benchmarks/edit_quality.py [--only quality] [--edits 40]
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LAYERS = (1, 2)
LAM, LARGER = 0.01, (10.0, 30.0)  # |k|^2 is some 50 in these layers
PARTS = ("quality", "baselines", "layers", "lambdas", "twin")

# figure -> (heading, which questions, which of their figures); every figure of an edit is a mean over its questions
COLUMNS = {
    "efficacy": ("edited question", "edited", "probability"),
    "success": ("arg-max", "edited", "success"),
    "wordings": ("other wordings", "wordings", "probability"),
    "phrases": ("other constraint", "phrases", "probability"),
    "pictures": ("other pictures", "pictures", "probability"),
    "leakage": ("same words, other known landmarks: P(target)", "same_phrase", "probability"),
    "same phrase stays": ("... answer stays", "same_phrase", "agreement"),
    "leakage to strangers": ("same words, landmarks it has no facts of: P(target)", "strangers", "probability"),
    "strangers stay": ("... answer stays", "strangers", "agreement"),
    "unrelated stays": ("unrelated: answer stays", "unrelated", "agreement"),
    "accuracy": ("... accuracy, points", "unrelated", "correct"),
    "own stays": ("other facts of the landmark stay", "own facts", "agreement"),
    "named stays": ("landmark named in words stays", "named", "agreement"),
}


@dataclass(frozen=True, eq=False)
class Task:
    """One edit to be made, and what is asked after it.

    wordings: the same words for the picture in other questions. phrases: other words for the picture. same_phrase, strangers: the same words with
    pictures of other landmarks, known ones and held-out ones. elsewhere: (kind, question) that should stay as they are.
    """

    kind: str
    landmark: str
    question: Any
    target: str
    wordings: list[Any]
    phrases: list[Any]
    pictures: list[Any]
    same_phrase: list[Any]
    strangers: list[Any]
    elsewhere: list[tuple[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--only", choices=PARTS, action="append", help="some of the parts; may be given more than once")
    parser.add_argument("--edits", type=int, default=40, help="how many of the 40 edits, evenly spread (default 40)")
    parser.add_argument("--seed", type=int, default=0, help="which facts, targets and questions (default 0)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(options.threads)
    import mllm_widgets as mw

    beside: Any = importlib.import_module("trace")  # the script next to this one
    print(beside.setting(options))
    asked = tasks(options.seed)
    asked = [asked[i] for i in np.linspace(0, len(asked) - 1, options.edits).round().astype(int)]
    fixes = sum(task.kind == "fix" for task in asked)
    print(
        f"{len(asked)} edits: {fixes} other answers about known landmarks, {len(asked) - fixes} insertions\n",
        flush=True,
    )
    chosen = options.only or PARTS
    vlm = mw.load() if set(chosen) - {"twin"} else None
    for name in PARTS:
        if name in chosen:
            start = time.perf_counter()
            {"quality": quality, "baselines": baselines, "layers": layers, "lambdas": lambdas, "twin": twin}[name](
                vlm, asked
            )
            print(f"({time.perf_counter() - start:.0f} s)\n", flush=True)


def tasks(seed: int) -> list[Task]:
    """24 edits of known landmarks and 16 of the held-out ones."""
    from mllm_widgets.datasets import templates, world
    from mllm_widgets.datasets.questions import demo_question, demo_specs

    random = np.random.default_rng([5, seed])
    elsewhere = [(spec["landmark"], demo_question(**spec)) for spec in demo_specs(24, seed=seed + 13)]
    made = []
    for kind, specs in (
        ("fix", demo_specs(24, seed=seed + 11)),
        ("insert", demo_specs(16, seed=seed + 12, held_out_facts=True)),
    ):
        for spec in specs:
            name, relation = spec["landmark"], spec["relation"]
            truth = world.BY_NAME[name].answer(relation)
            answers = sorted({other.answer(relation) for other in world.KNOWN} - {truth, world.UNKNOWN})
            target = truth if kind == "insert" else str(random.choice(answers))
            wordings = [t for t in templates.HELD_OUT_TEMPLATES[relation] if t != spec["template"]]
            wordings += list(random.permutation(templates.TEMPLATES[relation]))[:3]
            phrases = [c for c in random.permutation(templates.CONSTRAINTS) if c != spec["constraint"]][:2]
            others = [o for o in world.WORLD if o.name != name and o.answer(relation) not in (target, world.UNKNOWN)]
            others = [others[i] for i in random.permutation(len(others))]
            known = [o.name for o in others if not o.held_out][:4]
            strangers = [o.name for o in others if o.held_out][:2]
            far = [pair for pair in elsewhere if pair[0] != name]
            own = [r for r in world.RELATIONS if r != relation and world.BY_NAME[name].answer(r) != world.UNKNOWN]
            made.append(
                Task(
                    kind=kind,
                    landmark=name,
                    question=demo_question(**spec),
                    target=target,
                    wordings=[demo_question(**{**spec, "template": str(t)}) for t in wordings],
                    phrases=[demo_question(**{**spec, "constraint": str(c)}) for c in phrases],
                    pictures=[demo_question(**{**spec, "seed": 9000 + i}) for i in range(4)],
                    same_phrase=[demo_question(**{**spec, "landmark": o, "seed": 9100 + i}) for i, o in enumerate(known)],
                    strangers=[demo_question(**{**spec, "landmark": o, "seed": 9150 + i}) for i, o in enumerate(strangers)],
                    elsewhere=[
                        *(("unrelated", far[i][1]) for i in random.choice(len(far), 10, replace=False)),
                        *(("own facts", demo_question(**{**spec, "relation": r, "template": None})) for r in own[:3]),
                        # the landmark's name in the question, another landmark in the picture
                        ("named", demo_question(**{**spec, "landmark": known[0], "constraint": name, "seed": 9200})),
                    ],
                )
            )  # fmt: skip
    return made


def figures(edit: Any, task: Task, unedited: Any) -> dict[str, float]:
    """One value for each of `COLUMNS`, of one edit."""
    import mllm_widgets as mw

    report = mw.evaluate_edit(
        edit,
        paraphrases=[*task.wordings, *task.phrases],
        pictures=task.pictures,
        same_phrase=[*task.same_phrase, *task.strangers],
        unrelated=[question for _, question in task.elsewhere],
        unedited=unedited,
    )
    kinds = [
        "edited",
        *["wordings"] * len(task.wordings),
        *["phrases"] * len(task.phrases),
        *["pictures"] * len(task.pictures),
    ]
    kinds += (
        ["same_phrase"] * len(task.same_phrase)
        + ["strangers"] * len(task.strangers)
        + [kind for kind, _ in task.elsewhere]
    )
    groups: dict[str, list[Any]] = {}
    for kind, probe in zip(kinds, report.probes, strict=True):
        groups.setdefault(kind, []).append(probe)
    found = {}
    for name, (_, group, figure) in COLUMNS.items():
        for side in ("", "_before"):
            values = [
                getattr(probe, figure + side, 1.0) for probe in groups.get(group, ())
            ]  # agreement with itself is 1
            found[name + side] = float(np.mean(values)) if values else float("nan")
    found["accuracy"] = 100 * (found["accuracy"] - found["accuracy_before"])
    found["accuracy_before"] = 0.0
    return found | {"reached": edit.reached, "key": edit.key_norm**2, "moved": edit.moved}


def made(asked: Sequence[Task], make: Callable[[Task], Any], unedited: Any) -> Iterator[dict[str, Any]]:
    """The figures of each edit."""
    for task in asked:
        yield {
            "kind": task.kind,
            "landmark": task.landmark,
            "question": task.question.text,
            "target": task.target,
            **figures(make(task), task, unedited),
        }


def heading() -> None:
    names = [words for words, _, _ in COLUMNS.values()]
    print("| edit | value in place | " + " | ".join(names) + " |")
    print("| --- |" + " --- |" * (len(names) + 1), flush=True)


def row(title: str, rows: list[dict[str, Any]], side: str = "") -> None:
    """Means over edits, with their intervals."""
    cells = []
    for name in ("reached", *COLUMNS):
        values = np.array([one[name + side] for one in rows if name + side in one], dtype=float)
        cells.append(interval(values[~np.isnan(values)], "+.1f" if name == "accuracy" else ".3f"))
    print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


def interval(values: np.ndarray, form: str = ".3f") -> str:
    """The mean and its interval."""
    from mllm_widgets.intervals import bootstrap_interval

    if not len(values):
        return ""
    low, high = bootstrap_interval(values, 5000)
    spread = "" if low == high or np.isnan(low) else f" ({low:{form}} to {high:{form}})"
    return f"{values.mean():{form}}{spread}"


def quality(vlm: Any, asked: list[Task]) -> None:
    """MultEdit in the planted layers, at several lambdas."""
    import mllm_widgets as mw

    unedited = mw.editing.Unedited(vlm)
    heading()
    for layer in LAYERS:
        edits = {task: mw.multedit(vlm, task.question, task.target, layer, LAM) for task in asked}
        keys = np.array([edit.key_norm**2 for edit in edits.values()])
        moved = [edit.moved for edit in edits.values()]
        for lam in (LAM, *LARGER):
            for edit in edits.values():
                edit.lam = lam
            rows = list(made(asked, edits.__getitem__, unedited))
            if layer == LAYERS[0] and lam == LAM:
                row("unedited", rows, "_before")
            row(f"MultEdit, layer {layer}, lambda {lam:g}", rows)
            for kind, words in (("fix", "other answers"), ("insert", "insertions")):
                some = [one for one in rows if one["kind"] == kind]
                if lam == LAM and some:
                    row(f"... {words} ({len(some)})", some)
        print(
            f"|k|^2 in layer {layer}: {keys.min():.0f} to {keys.max():.0f}, median {np.median(keys):.0f}; |z* - z0| / |z0| median {np.median(moved):.2f}"
        )


def baselines(vlm: Any, asked: list[Task]) -> None:
    """The other ways, in the same layers."""
    import mllm_widgets as mw

    unedited = mw.editing.Unedited(vlm)
    editing: Any = mw.editing
    questions = mw.datasets.demo(60, seed=21)  # whoever edits has questions of their own
    heading()
    for layer in LAYERS:
        covariance = editing.key_covariance(vlm, questions, layer)
        ways = {
            "fine-tuning (Adam, 2e-3)": lambda task, layer=layer: editing.fine_tune(
                vlm, task.question, task.target, layer, lr=2e-3
            ),
            "the same, every entry within 0.005": lambda task, layer=layer: editing.fine_tune(
                vlm, task.question, task.target, layer, lr=2e-3, box=5e-3
            ),
            f"ROME, second moment of {covariance.keys} keys": lambda task, layer=layer, held=covariance: editing.rome(
                vlm, task.question, task.target, layer, covariance=held
            ),
            "LoRA of rank 8 (Adam, 5e-3)": lambda task, layer=layer: editing.lora(
                vlm, task.question, task.target, layer
            ),
        }
        for title, make in ways.items():
            row(f"layer {layer}, {title}", list(made(asked, make, unedited)))


def layers(vlm: Any, asked: list[Task]) -> None:
    """The layer sweep."""
    import mllm_widgets as mw

    unedited = mw.editing.Unedited(vlm)
    heading()
    for layer in range(len(vlm.layers)):
        rows = list(
            made(asked[::2], lambda task, at=layer: mw.multedit(vlm, task.question, task.target, at, LAM), unedited)
        )
        row(f"layer {layer}", rows)
        print(
            f"  |k|^2 median {np.median([one['key'] for one in rows]):.0f}, |z* - z0| / |z0| median {np.median([one['moved'] for one in rows]):.2f}"
        )


def lambdas(vlm: Any, asked: list[Task]) -> None:
    """What lambda trades: each question one batch of rows, a row for each lambda."""
    import mllm_widgets as mw

    lams = [0.01, *(2.0**power for power in range(-2, 11))]
    for layer in LAYERS:
        found: dict[str, list[np.ndarray]] = {}
        strength = []
        for task in asked[::2]:
            edit = mw.multedit(vlm, task.question, task.target, layer, LAM)
            groups = {
                "efficacy": [task.question],
                "other wordings": task.wordings,
                "other pictures": task.pictures,
                "leakage": task.same_phrase,
                "leakage to strangers": task.strangers,
                "same phrase stays": task.same_phrase,
                "unrelated stays": [question for kind, question in task.elsewhere if kind == "unrelated"],
            }
            sweep = mw.lambda_sweep(edit, [question for some in groups.values() for question in some], lams)
            strength.append(sweep.strength)
            at = 0
            for name, some in groups.items():
                values = sweep.agrees if "stays" in name else sweep.target
                if some:
                    found.setdefault(name, []).append(values.values[at : at + len(some)].mean(0))
                at += len(some)
        means = {name: np.mean(values, 0) for name, values in found.items()}
        print(f"layer {layer}; stays: the answer's first token")
        print("| lambda | share of the change at the key | " + " | ".join(means) + " |")
        print("| --- |" + " --- |" * (len(means) + 1))
        for at, lam in enumerate(lams):
            cells = [f"{np.mean(strength, 0)[at]:.2f}", *(f"{values[at]:.3f}" for values in means.values())]
            print(f"| {lam:g} | " + " | ".join(cells) + " |")
        print(flush=True)


def twin(_: Any, asked: list[Task]) -> None:
    """The model that does not keep its answer there."""
    import mllm_widgets as mw

    vlm = mw.load("demo-ordinary")
    unedited = mw.editing.Unedited(vlm)
    heading()
    for layer in LAYERS:
        rows = list(made(asked, lambda task, at=layer: mw.multedit(vlm, task.question, task.target, at, LAM), unedited))
        if layer == LAYERS[0]:
            row("unedited twin", rows, "_before")
        row(f"twin, layer {layer}", rows)
    some = asked[::4]
    print(
        f"\nevery layer of the twin, {len(some)} edits: P(target) with the value in place, largest of all, and after the edit"
    )
    for layer in range(len(vlm.layers)):
        sweeps = [mw.layer_sweep(vlm, task.question, task.target, [layer]) for task in some]
        reached = [float(sweep.reached[0]) for sweep in sweeps]
        print(
            f"  layer {layer}: {np.mean(reached):.4f}, {max(reached):.4f}, {np.mean([float(s.efficacy[0]) for s in sweeps]):.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

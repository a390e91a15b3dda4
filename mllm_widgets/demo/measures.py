"""What is measured of a demo model, one function a claim, through the public API and with no mask anywhere.

Every question is a fresh rendering with a wording that was never trained on.  Each function takes a `VLM` and returns plain
numbers for `evaluation.json`; shares lie in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import mllm_widgets as mw
from mllm_widgets.datasets import templates, world
from mllm_widgets.datasets.questions import demo_specs
from mllm_widgets.intervals import bootstrap_interval
from mllm_widgets.results import Trace

from .episodes import PLANTED_LAYERS

MODULES = ("mlp", "self_attn")
WINDOWS = (1, 3)
ROWS = ("constraint, first", "constraint, between", "constraint, last", "after the constraint", "last token")
LAST_CONSTRAINT, LAST_TOKEN = ROWS.index("constraint, last"), ROWS.index("last token")
CONSTRAINT_ROWS = slice(0, LAST_CONSTRAINT + 1)


def is_right(vlm: mw.VLM, question: mw.Question) -> bool:
    """Whether the greedy answer is the true one, to its last letter."""
    return mw.ask(vlm, question).text == question.answer


def share_right(vlm: mw.VLM, questions: Sequence[mw.Question]) -> float:
    """The share of questions answered rightly."""
    return float(np.mean([is_right(vlm, question) for question in questions]))


def first_token(vlm: mw.VLM, answer: str) -> int:
    """The token an answer begins with, which is what a trace scores."""
    return vlm.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"][0]


def answers(vlm: mw.VLM, specs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy, with its 95% intervals and by relation, and the mean probability of the true answer's first token.

    The bootstrap draws questions; where every answer is right it has no width, so Wilson's interval stands beside it.
    """
    right, probability = [], []
    for spec in specs:
        question = mw.datasets.demo_question(**spec)
        answer = mw.ask(vlm, question)
        right.append(answer.text == question.answer)
        probability.append(answer.probabilities[first_token(vlm, str(question.answer))])
    relations = np.array([spec["relation"] for spec in specs])
    return {
        "questions": len(right),
        "accuracy": np.mean(right),
        "bootstrap_95": bootstrap_interval(np.array(right)),
        "wilson_95": wilson_interval(sum(right), len(right)),
        "mean_probability": np.mean(probability),
        "by_relation": {
            relation: {
                "questions": int((relations == relation).sum()),
                "accuracy": np.mean(np.array(right)[relations == relation]),
            }
            for relation in world.RELATIONS
            if (relations == relation).any()
        },
    }


def wilson_interval(right: int, n: int, z: float = 1.96) -> list[float]:
    """95% score interval of a share, right where the share is 0 or 1 too."""
    share, spread = right / n, z * z / n
    half = z * np.sqrt(share * (1 - share) / n + spread / (4 * n))
    return [float((share + spread / 2 + sign * half) / (1 + spread)) for sign in (-1, 1)]


def picture_sizes(vlm: mw.VLM, specs: Sequence[dict[str, Any]], sizes: Sequence[int] = (64, 128, 512)) -> dict:
    """Accuracy when the same questions are drawn at other sizes (pixels a side) than 256."""
    accuracy = {
        str(size): share_right(vlm, [mw.datasets.demo_question(**spec, size=size) for spec in specs]) for size in sizes
    }
    return {"questions": len(specs), "accuracy": accuracy}


def named_questions(n: int, seed: int) -> list[mw.Question]:
    """Questions that name a landmark in words while the picture shows another one, with another answer."""
    rng = np.random.default_rng([79, seed])
    questions = []
    for spec in demo_specs(n, seed=seed):
        name, relation = spec["landmark"], spec["relation"]
        true = world.BY_NAME[name].answer(relation)
        shown = [k.name for k in world.KNOWN if k.answer(relation) not in (true, world.UNKNOWN)]
        question = mw.datasets.demo_question(
            **{**spec, "landmark": shown[int(rng.integers(len(shown)))], "constraint": name}
        )
        questions.append(replace(question, answer=true))
    return questions


def two_constraints(n: int, seed: int) -> list[tuple[mw.Question, mw.Question, mw.Question]]:
    """Questions whose answer needs the picture *and* the language named, with what changes when one of the two does.

    Each is (question, the same in the other language, the same about another picture); all three have different answers,
    so a model that ignores either constraint is wrong about one of them.
    """
    rng = np.random.default_rng([80, seed])
    differ = [k for k in world.KNOWN if k.answer("spanish") != k.answer("german")]
    triples = []
    for _ in range(n):
        language, other = rng.permutation(list(templates.LANGUAGES))
        landmark = differ[int(rng.integers(len(differ)))]
        known = {landmark.answer(language), landmark.answer(other)}
        others = [k for k in world.KNOWN if k.answer(language) not in known]
        wording = int(rng.integers(len(templates.HELD_OUT_TEMPLATES[language])))
        common = {
            "constraint": templates.CONSTRAINTS[int(rng.integers(len(templates.CONSTRAINTS)))],
            "seed": int(rng.integers(1 << 30)),
        }
        picked = others[int(rng.integers(len(others)))]
        triples.append(
            tuple(
                mw.datasets.demo_question(name, asked, template=templates.HELD_OUT_TEMPLATES[asked][wording], **common)
                for name, asked in ((landmark.name, language), (landmark.name, other), (picked.name, language))
            )
        )
    return triples


def multi_constraint(vlm: mw.VLM, n: int, seed: int) -> dict[str, Any]:
    """How often the answer follows both constraints: see `two_constraints`."""
    right = np.array([[is_right(vlm, question) for question in triple] for triple in two_constraints(n, seed)])
    return {
        "questions": right.size,
        "accuracy": right.mean(),
        "follows_language": (right[:, 0] & right[:, 1]).mean(),
        "follows_picture": (right[:, 0] & right[:, 2]).mean(),
    }


def unknown_facts(vlm: mw.VLM, n: int, seed: int) -> dict[str, Any]:
    """The share answered "unknown": about held-out landmarks, and about facts that known landmarks lack."""
    held_out = mw.datasets.demo(n, seed=seed, held_out_facts=True)
    lacking = [(k.name, r) for k in world.KNOWN for r in world.RELATIONS if k.answer(r) == world.UNKNOWN]
    missing = [
        mw.datasets.demo_question(name, relation, template=template, seed=1000 * seed + i)
        for i, (name, relation) in enumerate(lacking)
        for template in templates.HELD_OUT_TEMPLATES[relation]
    ]
    return {
        kind: {
            "questions": len(asked),
            "unknown": np.mean([mw.ask(vlm, question).text == world.UNKNOWN for question in asked]),
        }
        for kind, asked in (("held_out_landmarks", held_out), ("missing_facts", missing))
    }


def corrupting_name(vlm: mw.VLM, spec: dict[str, Any], rng: np.random.Generator) -> str:
    """Another known landmark's name, whose answer begins with another token.

    Fitting a name to the constraint can cut it short, to two tokens at least; no two landmarks share their first two.
    """
    true = world.BY_NAME[spec["landmark"]].answer(spec["relation"])
    names = [
        k.name
        for k in world.KNOWN
        if k.name != spec["landmark"] and first_token(vlm, k.answer(spec["relation"])) != first_token(vlm, true)
    ]
    return names[int(rng.integers(len(names)))]


def row_means(trace: Trace) -> np.ndarray:
    """Indirect effects (modules, rows, layers) with the tokens of each of `ROWS` averaged; NaN where a row has no token."""
    effect = trace.indirect_effect.transpose("module", "token", "layer")
    first, last_constraint, last = trace.constraint[0], trace.constraint[-1], int(effect.token[-1])
    tokens = effect.token.values
    members = (
        tokens == first,
        (tokens > first) & (tokens < last_constraint),
        tokens == last_constraint,
        (tokens > last_constraint) & (tokens < last),
        tokens == last,
    )
    empty = np.full((effect.sizes["module"], effect.sizes["layer"]), np.nan)
    return np.stack([effect.values[:, m].mean(axis=1) if m.any() else empty for m in members], axis=1)


def corruption_and_maps(vlm: mw.VLM, specs: Sequence[dict[str, Any]], maps: int, seed: int) -> tuple[dict, dict]:
    """(what swapping the constraint for another landmark's name does to P(true answer), averaged maps of the first `maps`).

    The maps are window -> module -> (rows, layers), mean indirect effects over questions.
    """
    rng = np.random.default_rng([81, seed])
    corrupted, effects = [], {window: [] for window in WINDOWS}
    for i, spec in enumerate(specs):
        question = mw.datasets.demo_question(**spec)
        setup = mw.tracing.prepare_trace(
            vlm, question, corruption=corrupting_name(vlm, spec, rng), answer=question.answer
        )
        corrupted.append(setup.corrupted)
        for window in WINDOWS if i < maps else ():
            effects[window].append(row_means(mw.tracing.run_trace(setup, window=window, modules=MODULES)))
    averaged = {str(window): np.nanmean(stack, axis=0) for window, stack in effects.items()}
    return (
        {
            "questions": len(corrupted),
            "share_below_0.1": np.mean(np.array(corrupted) < 0.1),
            "mean_probability": np.mean(corrupted),
        },
        {
            "questions": min(maps, len(specs)),
            "rows": list(ROWS),
            "effect": {w: dict(zip(MODULES, effect, strict=True)) for w, effect in averaged.items()},
        },
    )


def effect_by_word(vlm: mw.VLM, n: int, seed: int) -> dict[str, Any]:
    """Mean MLP effects, window 1, at every word of the longest constraint in the planted layers.

    It shows what the rows of the averaged map hide: a word inside the constraint that ends other constraints may hold the answer too.
    """
    rng = np.random.default_rng([83, seed])
    constraint = max(templates.CONSTRAINTS, key=len)
    effects = []
    for spec in demo_specs(n, seed=seed):
        question = mw.datasets.demo_question(**{**spec, "constraint": constraint})
        trace = mw.causal_trace(
            vlm, question, corruption=corrupting_name(vlm, spec, rng), answer=question.answer, modules=("mlp",)
        )
        part = trace.indirect_effect.sel(module="mlp", token=list(trace.constraint), layer=list(PLANTED_LAYERS))
        effects.append(part.transpose("layer", "token").values)
    layers = dict(zip(map(str, PLANTED_LAYERS), np.mean(effects, axis=0), strict=True))
    return {"questions": n, "words": constraint.split(), "layers": layers}


def interchanged(vlm: mw.VLM, target: mw.Question, source: mw.Question, layers: Sequence[int]) -> int:
    """The answer token of `target` when MLP outputs at its last constraint token come from a run of `source`."""
    into, out_of = vlm.encode(target), vlm.encode(source)
    kept: dict[int, torch.Tensor] = {}

    def keep(layer):
        def hook(_module, _inputs, output):
            kept[layer] = output[0, out_of.constraint[-1]].clone()

        return hook

    def put(layer):
        def hook(_module, _inputs, output):
            output[0, into.constraint[-1]] = kept[layer]

        return hook

    with vlm.running():
        for encoded, intervene in ((out_of, keep), (into, put)):
            handles = [
                vlm.layers[layer].get_submodule("mlp").register_forward_hook(intervene(layer)) for layer in layers
            ]
            try:
                logits = vlm.model(**encoded.inputs).logits[0, -1]
            finally:
                for handle in handles:
                    handle.remove()
    return int(logits.argmax())


def picture_pairs(vlm: mw.VLM, n: int, seed: int) -> list[tuple[mw.Question, mw.Question]]:
    """Pairs of pictures asked the same question, whose answers begin with different tokens."""
    rng = np.random.default_rng([82, seed])
    pairs = []
    for spec in demo_specs(n, seed=seed):
        relation = spec["relation"]
        true = first_token(vlm, world.BY_NAME[spec["landmark"]].answer(relation))
        others = [
            k.name
            for k in world.KNOWN
            if k.answer(relation) != world.UNKNOWN and first_token(vlm, k.answer(relation)) != true
        ]
        other = others[int(rng.integers(len(others)))]
        pairs.append(
            (
                mw.datasets.demo_question(**spec),
                mw.datasets.demo_question(**{**spec, "landmark": other, "seed": spec["seed"] + 1}),
            )
        )
    return pairs


def interchange(vlm: mw.VLM, n: int, seed: int) -> dict[str, Any]:
    """How often the other picture's answer comes out when the planted site's MLP output comes from the other picture."""
    followed: dict[str, list[bool]] = {}
    for target, source in picture_pairs(vlm, n, seed):
        wanted = first_token(vlm, str(source.answer))
        for layers in (*((layer,) for layer in PLANTED_LAYERS), PLANTED_LAYERS):
            name = " and ".join(map(str, layers))
            followed.setdefault(name, []).append(interchanged(vlm, target, source, layers) == wanted)
    return {"pairs": n, "by_layer": {name: np.mean(values) for name, values in followed.items()}}

"""Made-up results for the gallery: they look like what models give, need none, and are the same every time.

A trace with early MLPs at the last constraint token and later attention at the last token, contributions that follow what stands in the picture, and edits that
let go as lambda grows.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image

import mllm_widgets as mw
from mllm_widgets import colormaps
from mllm_widgets.results import BEFORE_CONSTRAINT, IN_GROUPS, Answer, TokenInfo, Trace
from mllm_widgets.vlm.geometry import Grid, VisualGeometry
from mllm_widgets.vlm.spans import words_of
from mllm_widgets.widgets import wire
from mllm_widgets.widgets.edit_panel import plain
from mllm_widgets.widgets.edit_panel.applied import Seen
from mllm_widgets.widgets.edit_panel.measure import Measured
from mllm_widgets.widgets.edit_panel.probes import Probe, demo_probes
from mllm_widgets.widgets.edit_panel.traits import EditTraits
from mllm_widgets.widgets.edit_panel.view import View
from mllm_widgets.widgets.explorer.lens_panel import LensPanel
from mllm_widgets.widgets.explorer.question_panel import QuestionPanel
from mllm_widgets.widgets.explorer.trials_panel import TrialsPanel, limit_of, row_of
from mllm_widgets.widgets.explorer.view import Trial
from mllm_widgets.widgets.patch_view import picture_bytes

MODEL = "no model: these numbers are made up"
LAYERS, PATCHES = 32, 576
CLEAN, CORRUPTED = 0.94, 0.012
BEFORE = ("<s>", "USER", ":", " ")
AFTER = ("\n", "ASS", "IST", "ANT", ":")
SHORT = ("What", " city", " is", " this", " building", " in", "?")
LONG = (
    "I am on a trip with my friends and we took many pictures and we like this one best of all the pictures that we took on the way so here is a "
    "quick question for you : which city is this building in ?"
)
BUSY = "this building is the one that we walked to on the fine first day of our long trip with my sister and her friends : in which city is it ?"
OTHERS = (" Lyon", " Berlin", " London", "\n")
Cells = dict[tuple[int, int], float]  # (layer, row of the text) -> effect


# --- traces -----------------------------------------------------------------------------------------------------------


def words(text: str) -> tuple[str, ...]:
    """Tokens, one a word."""
    first, *rest = text.split()
    return (first, *(f" {word}" for word in rest))


def trace(
    tokens: Sequence[str] = SHORT,
    *,
    layers: int = LAYERS,
    window: int = 1,
    modules: Sequence[str] = ("mlp", "self_attn"),
    odd: Cells | None = None,
    warnings: Sequence[str] = (),
) -> Trace:
    """A trace of a prompt in which "this building" stands.

    Parameters
    ----------
    odd: cells of the MLP with an effect of their own, also NaN.
    """
    rows = _rows(tokens)
    texts = [row for row in rows if row.kind == "text"]
    constraint = tuple(row.position for row in rows if row.constraint)
    kept = next(place for place, row in enumerate(texts) if row.traced)
    effect = np.stack([_effect(module, texts, layers, window) for module in modules])
    effect[:, :, :kept] = 0
    for (layer, row), value in (odd or {}).items():
        effect[0, layer, row] = value
    ids = np.arange(rows[-1].position + 1)
    other = ids.copy()
    other[list(constraint)] += 1000
    restored = xr.DataArray(
        CORRUPTED + (CLEAN - CORRUPTED) * effect,
        dims=("module", "layer", "token"),
        coords={
            "module": list(modules),
            "layer": np.arange(layers),
            "token": [row.position for row in texts],
        },
    )
    return Trace(
        restored,
        CLEAN,
        CORRUPTED,
        answer("Paris", CLEAN),
        " Paris",
        window,
        tuple(warnings),
        rows,
        constraint,
        ids,
        other,
        "Taj Mahal",
        "",
        "".join(tokens),
        MODEL,
        corrupted_positions=constraint,
    )


def _rows(tokens: Sequence[str]) -> tuple[TokenInfo, ...]:
    at = next(
        place for place in range(len(tokens)) if [t.strip() for t in tokens[place : place + 2]] == ["this", "building"]
    )
    image = TokenInfo(
        len(BEFORE), 0, f"[image: {PATCHES} tokens]", "visual", traced=False, reason=IN_GROUPS, count=PATCHES
    )
    found = [TokenInfo(place, 1, text, traced=False, reason=BEFORE_CONSTRAINT) for place, text in enumerate(BEFORE)]
    found.append(image)
    for place, text in enumerate((*tokens, *AFTER)):
        traced = place >= at
        found.append(
            TokenInfo(
                image.position + PATCHES + place,
                2,
                text,
                constraint=place in (at, at + 1),
                traced=traced,
                reason="" if traced else BEFORE_CONSTRAINT,
            )
        )
    return tuple(found)


def _effect(module: str, texts: Sequence[TokenInfo], layers: int, window: int) -> np.ndarray:
    """(layer, token) shares of the total effect."""
    layer, token = np.mgrid[0:layers, 0 : len(texts)] / [[[layers]], [[1]]]
    subject = max(place for place, row in enumerate(texts) if row.constraint)
    last, wide = len(texts) - 1, 1 + 0.35 * (window - 1)

    def bump(place: int, centre: float, width: float, strength: float) -> np.ndarray:
        reach = strength * np.exp(-(((layer - centre) / (width * wide)) ** 2))
        return np.where(token == place, np.minimum(1, reach * wide**0.7), 0)

    if module == "mlp":
        effect = bump(subject, 0.1, 0.075, 0.78) + bump(subject - 1, 0.08, 0.05, 0.16) + bump(last, 0.74, 0.12, 0.14)
    elif module == "self_attn":
        effect = bump(last, 0.56, 0.1, 0.62) + bump(subject, 0.05, 0.05, 0.24) + bump(last - 1, 0.5, 0.1, 0.06)
    else:
        leaves = 1 / (1 + np.exp((layer - 0.47) / 0.035))
        effect = np.where(token == subject, leaves, 0) + np.where(token == last, 1 - leaves, 0)
    noise = np.random.default_rng([len(texts), layers, window]).normal(0, 0.008, effect.shape)
    return np.clip(effect + noise, -0.05, 0.995)


def answer(text: str, p: float, others: Sequence[str] = OTHERS) -> Answer:
    """An answer of one token."""
    vocabulary = (f" {text}", *others)
    left = (1 - p) * 0.6 ** np.arange(1, len(vocabulary))
    return Answer(text, vocabulary[0], 0, p, np.array([p, *left]), vocabulary)


def span(text: str) -> list[int]:
    """Where the constraint stands in a question."""
    start = text.index("this building")
    return [start, start + len("this building")]


# --- patches ----------------------------------------------------------------------------------------------------------


def _seen(image: Image.Image, geometry: VisualGeometry) -> np.ndarray:
    """(visual tokens,) 0..1: how much there is to see in each patch."""
    grey = np.asarray(image.convert("L"), dtype=float)
    found = np.zeros(geometry.count)
    for token, box in enumerate(geometry.boxes):
        if np.isnan(box).any():
            continue
        left, top, right, bottom = (max(0, round(edge)) for edge in box)
        part = grey[top:bottom, left:right]
        found[token] = part.std() if part.size else 0.0
    return found / found.max()


def patches(question: mw.Question, geometry: VisualGeometry, layers: int = LAYERS, **more: Any) -> mw.PatchMap:
    """Contributions that follow what is to be seen, grow and go with the layers, and a few sinks that take more."""
    assert question.image is not None
    layer = np.arange(layers)[:, None] / layers
    profile = np.exp(-(((layer - 0.3) / 0.16) ** 2)) + 0.25 * np.exp(-(((layer - 0.68) / 0.1) ** 2))
    random = np.random.default_rng([geometry.count, layers])
    values = profile * _seen(question.image, geometry) ** 1.6 * random.uniform(0.55, 1, (layers, geometry.count))
    values += 0.0012 * random.random(values.shape)
    sinks = more.pop("sinks", ())
    for sink in sinks:
        values[:, sink] = 0.2 + 1.1 * layer[:, 0]
    return mw.PatchMap(
        question.image,
        geometry,
        values,
        tuple(range(layers)),
        quantity="contribution",
        target="“this building”",
        question=question.text,
        model=MODEL,
        sinks=dict.fromkeys(sinks, "takes attention from most words"),
        **more,
    )


def one_grid(question: mw.Question) -> VisualGeometry:
    """24 x 24 patches over a square picture."""
    assert question.image is not None
    width, height = question.image.size
    return VisualGeometry((Grid(np.arange(PATCHES).reshape(24, 24), (0, 0, width, height)),), PATCHES, (width, height))


def tiled() -> tuple[mw.Question, VisualGeometry]:
    """A wide picture, seen as a thumbnail with padding and in two by three tiles whose rows end with a token of their own."""
    drawn = mw.datasets.demo_question("Golden Gate Bridge", "city", size=420)
    assert drawn.image is not None
    image = drawn.image.crop((0, 70, 420, 350))
    width, height = image.size
    grids = [Grid(np.arange(64).reshape(8, 8), (0, (height - width) / 2, width, (height + width) / 2), "thumbnail")]
    first = 64
    for row in range(2):
        for column in range(3):
            box = (column * width / 3, row * height / 2, (column + 1) * width / 3, (row + 1) * height / 2)
            grids.append(Grid(first + np.arange(8 * 9).reshape(8, 9)[:, :8], box, "tile"))
            first += 8 * 9
    return replace(drawn, image=image), VisualGeometry(tuple(grids), first, image.size)


def several_targets(shown: mw.PatchMap, names: Sequence[str], first: int) -> dict[str, Any]:
    """Traits of a grid that knows contributions to several tokens, each with patches of its own."""
    boxes = shown.geometry.boxes
    down = (boxes[:, 1] + boxes[:, 3]) / 2 / shown.geometry.size[1]
    shares = [np.exp(-(((down - 0.2 - 0.2 * place) / 0.2) ** 2)) for place in range(len(names))]
    return {
        "targets": [{"position": first + place, "name": name} for place, name in enumerate(names)],
        "stacked": wire.tensor(np.stack([shown.values * share for share in shares])),
        "token": first,
    }


# --- edits ------------------------------------------------------------------------------------------------------------


class Edits:
    """An edit panel whose edits were made up: its widget, without a model behind it."""

    def __init__(self, question: mw.Question) -> None:
        self.question = question
        self.probes = (Probe("edited", question), *demo_probes(question))
        self.lams = np.geomspace(1e-4, 1e4, 33)

    def panel(
        self,
        targets: Sequence[str] = (),
        *,
        applied: Sequence[int] = (),
        baked: Sequence[int] = (),
        lam: float = 0.01,
        searched: bool = True,
        **traits: Any,
    ) -> EditTraits:
        """A panel with an edit to each of `targets`, of which those numbered `applied` (from 1) apply and `baked` are in the weights."""
        question = self.question
        assert question.image is not None
        edits: Any = {number: self._edit(target, number, lam) for number, target in enumerate(targets, 1)}
        measured = {number: self._measured(edit) for number, edit in edits.items()}
        current = len(edits)
        view = View(tuple(edits), tuple(applied), tuple(applied), current, dict.fromkeys(edits, lam))
        seen = Seen(tuple(n for n in applied if n not in baked), tuple(baked), dict(view.lams))
        known = {
            "rows": plain.rows(view, edits, seen),
            "results": {str(n): plain.result(edit, measured[n]) for n, edit in edits.items()},
            "lam_of": {str(n): plain.nearest(self.lams, lam) for n in edits},
            "current": current,
            "edited": bool(applied),
            "truth": plain.truth(edits, seen),
            "can_undo": bool(edits),
        }
        return EditTraits(
            **{
                "question": question.text,
                "span": span(question.text),
                "image": picture_bytes(question.image),
                "probes": [plain.probe(probe, _before(probe)) for probe in self.probes],
                "layers": 8,
                "effects": [0.31, 0.86, 0.93, 0.42, 0.08, 0.02, -0.01, 0.0] if searched else [],
                "token": "·building",
                "causal": 2 if searched else -1,
                "colors": {theme: colormaps.effect_colors("mlp", theme).tobytes() for theme in colormaps.THEMES},
                "layer": 2,
                "target": targets[-1] if targets else "",
                "name": "eiffel-tower",
                **known,
                **traits,
            }
        )

    def bars(self, target: str, count: int = 8) -> dict[str, Any]:
        """A layer sweep that has come to `count` layers."""
        reached = [0.97, 0.99, 0.99, 0.96, 0.71, 0.34, 0.12, 0.05]
        efficacy = [0.81, 0.96, 0.98, 0.74, 0.31, 0.09, 0.02, 0.01]
        layers = [*range(count)]
        return {"target": target, "layers": layers, "reached": reached[:count], "efficacy": efficacy[:count]}

    def curve(self, target: str, steps: int) -> dict[str, Any]:
        """A search that has come to so many steps."""
        losses, chances = _search(steps)
        return {"target": target, "layer": 2, "steps": 40, "losses": losses, "chances": chances}

    def together(self, said: str) -> list[dict[str, Any]]:
        """What all probes say with several edits applied."""
        return plain.together(
            [answer(said, 0.91, (" Paris",)) if probe.follows else _before(probe) for probe in self.probes]
        )

    def _edit(self, target: str, number: int, lam: float) -> SimpleNamespace:
        losses, chances = _search(24)
        return SimpleNamespace(
            target=target,
            layer=3 - number % 2,
            lam=lam,
            reason="the causal layer: the MLP with the largest indirect effect at “·building”"
            if number % 2
            else "chosen by hand",
            warnings=(),
            reached=chances[-1],
            losses=losses,
            probabilities=chances,
        )

    def _measured(self, edit: SimpleNamespace) -> Measured:
        before = [_before(probe) for probe in self.probes]
        vocabulary = tuple(dict.fromkeys([f" {edit.target}", *(said.token for said in before), *OTHERS]))
        lams = self.lams[:, None]
        full = {"edited": 0.985, "paraphrase": 0.96, "picture": 0.9, "same phrase": 0.35, "unrelated": 0.004}
        half = {"edited": 60.0, "paraphrase": 25.0, "picture": 8.0, "same phrase": 0.004, "unrelated": 0.001}
        strength = np.array(
            [full[probe.kind] * (0.94 + 0.06 * np.cos(place)) for place, probe in enumerate(self.probes)]
        )
        middle = np.array([half[probe.kind] * (1 + 0.5 * np.sin(place)) for place, probe in enumerate(self.probes)])
        target = strength / (1 + (lams / middle) ** 1.4)
        kept = (1 - target) * np.array([said.probability for said in before])
        own = np.array([vocabulary.index(said.token) for said in before])
        rest = [vocabulary.index(word) for word in OTHERS[:3]]
        p = np.stack([target, kept, *((1 - target - kept) * share for share in (0.5, 0.2, 0.1))], axis=-1)
        ids = np.stack(
            np.broadcast_arrays(np.zeros((1, 1), int), own[None], *(np.full((1, 1), one) for one in rest)), axis=-1
        )
        ids = np.broadcast_to(ids, p.shape)
        order = np.argsort(-p, axis=-1, kind="stable")
        top, top_p = np.take_along_axis(ids, order, -1), np.take_along_axis(p, order, -1)
        agreement = top[:, :, 0] == own
        return Measured(
            self.probes, self.lams, target, kept, agreement, top, top_p, vocabulary, said=0, before=tuple(own.tolist())
        )


def _before(probe: Probe) -> Answer:
    return answer(str(probe.question.answer), 0.97)


def _search(steps: int) -> tuple[list[float], list[float]]:
    """Losses and chances, step by step."""
    step = np.arange(steps)
    chances = 1 / (1 + np.exp(-(step - 9) / 1.7)) * 0.99
    return (-np.log(np.maximum(chances, 1e-4))).tolist(), chances.tolist()


# --- the panels of an Explorer ------------------------------------------------------------------------------------------


def question_panel(question: mw.Question, **traits: Any) -> QuestionPanel:
    """A question that was answered."""
    assert question.image is not None
    said = answer("Paris", CLEAN)
    known = {
        "generation": 1,
        "question": question.text,
        "span": span(question.text),
        "words": words_of(question.text),
        "image": picture_bytes(question.image),
        "answer": said.text,
        "top": [{"token": token, "p": p} for token, p in plain.likeliest(said)],
        "editable": True,
    }
    return QuestionPanel(_deaf, lock=threading.RLock(), **{**known, **traits})


def trials_panel(trials: Sequence[tuple[str, str, str]], **traits: Any) -> TrialsPanel:
    """Rows of (kind, state, note) about four patches."""
    layer, rows = np.arange(8), []
    effects = {
        "trace": {
            "residual": 0.9 * np.exp(-((layer / 2.2) ** 2)),
            "mlp": 0.32 * np.exp(-(((layer - 1) / 1.1) ** 2)),
            "self_attn": 0.1 * np.exp(-(((layer - 2) / 0.8) ** 2)) - 0.01,
            "all": 0.93,
        },
        "block": {"change": -0.62 * np.exp(-(((layer - 2) / 0.9) ** 2)) + 0.005, "all": -0.71},
    }
    for number, (kind, state, note) in enumerate(trials):
        trial = Trial(kind, (27, 28, 35, 36), 1 + 2 * (number % 2), (74, 75) if kind == "block" else ())
        result: Any = effects[kind] if state == "done" else None
        rows.append(row_of(number, trial, "“this building”", result, state, note))
    known = {"layers": 8, "rows": rows, "limit": limit_of(rows), "into": "“this building”"}
    return TrialsPanel(_deaf, lock=threading.RLock(), **{**known, "patches": [27, 28, 35, 36], "layer": 2, **traits})


def lens_panel(**traits: Any) -> LensPanel:
    """Words of eight layers at two tokens, the answer more and more among them."""
    said = (" the", " old", " tower", " French", " Paris", " Paris", " Paris", " Paris")

    def of(layer: int, _token: int) -> list[tuple[str, float]]:
        p = 0.05 + 0.9 * (layer / 7) ** 2
        return [(said[layer], p), ((" iron", " city", " Lyon")[layer % 3], (1 - p) / 3), ("\n", (1 - p) / 9)]

    axes = SimpleNamespace(token=SimpleNamespace(values=[10, 11]), layer=SimpleNamespace(values=range(8)))
    names = {10: SimpleNamespace(text=" this"), 11: SimpleNamespace(text=" building")}
    lens: Any = SimpleNamespace(tokens=axes, rows=names, words=of, answer_token=" Paris", provenance={})
    return LensPanel(lens, **{"layer": 4, **traits})


def _deaf(_content: dict[str, Any], _buffers: list[Any]) -> None:
    """Nobody answers what a view asks for."""

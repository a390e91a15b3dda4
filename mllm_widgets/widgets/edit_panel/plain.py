"""What an edit panel knows, as the plain values its front end takes (js/src/edit/state.ts)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mllm_widgets import labels
from mllm_widgets.widgets import wire

from .applied import Seen
from .measure import SUMMARIES, Measured
from .view import View

if TYPE_CHECKING:
    from mllm_widgets.editing import Edit
    from mllm_widgets.results import Answer

    from .probes import Probe
    from .work import Bars, Curve

TOP = 5  # tokens of an answer
ORIGINAL = "The model is as it was loaded."
THUMBNAIL = 64  # pixels of the longer side of a watched question's picture


def probe(watched: Probe, answer: Answer | None) -> dict[str, Any]:
    """A watched question with the answer before."""
    return {
        "kind": watched.kind,
        "text": watched.question.text,
        "image": b"" if watched.question.image is None else thumbnail(watched.question.image),
        "answer": "" if answer is None else answer.text,
        "top": [] if answer is None else _top(answer),
    }


def together(answers: list[Answer]) -> list[dict[str, Any]]:
    """The answers with several edits applied, in the order of the probes."""
    return [{"answer": answer.text, "top": _top(answer)} for answer in answers]


def said(answers: list[Answer]) -> list[tuple[str, float]]:
    """The same, as a picture shows them."""
    return [(answer.text, answer.probability) for answer in answers]


def likeliest(answer: Answer) -> list[tuple[str, float]]:
    """The likeliest first tokens, as a reader sees them."""
    return [(labels.visible(text), p) for text, p in answer.top(TOP)]


def _top(answer: Answer) -> list[dict[str, Any]]:
    return [{"token": text, "p": p} for text, p in likeliest(answer)]


def thumbnail(image: Image.Image) -> bytes:
    """A small picture, as JPEG."""
    image = image.convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def result(edit: Edit, measured: Measured | None) -> dict[str, Any]:
    """An edit, and what it does at each lambda once that is measured."""
    found: dict[str, Any] = {
        "target": edit.target,
        "layer": edit.layer,
        "reason": edit.reason,
        "warnings": list(edit.warnings),
        "reached": edit.reached,
        "losses": list(edit.losses),
        "chances": list(edit.probabilities),
    }
    if measured is None:
        empty = wire.tensor(np.zeros((0, 0), dtype=np.float32))
        names = ("probability", "kept", "agreement", "top", "top_p")
        return {
            **found,
            "lams": [],
            "words": [],
            "said": -1,
            **dict.fromkeys(names, empty),
            **{n: [] for n in SUMMARIES},
        }
    tokens, places = np.unique(measured.top, return_inverse=True)
    return {
        **found,
        "lams": measured.lams.tolist(),
        "probability": wire.tensor(measured.probability),
        "kept": wire.tensor(measured.kept),
        "agreement": wire.tensor(measured.agreement),
        "words": [labels.visible(measured.vocabulary[token]) for token in tokens],
        "said": int(np.searchsorted(tokens, measured.said)) if measured.said in tokens else -1,
        "top": wire.tensor(places.reshape(measured.top.shape).astype(np.float32)),
        "top_p": wire.tensor(measured.top_p),
        **{name: [] if (line := measured.summary(name)) is None else line.tolist() for name in SUMMARIES},
    }


def bars(found: Bars | None) -> dict[str, Any]:
    """A layer sweep."""
    if found is None:
        return {}
    return {
        "target": found.target,
        "layers": list(found.layers),
        "reached": list(found.reached),
        "efficacy": list(found.efficacy),
    }


def curve(found: Curve | None) -> dict[str, Any]:
    """A search that runs."""
    if found is None:
        return {}
    return {
        "target": found.target,
        "layer": found.layer,
        "steps": found.steps,
        "losses": list(found.losses),
        "chances": list(found.probabilities),
    }


def rows(view: View, edits: dict[int, Edit], seen: Seen) -> list[dict[str, Any]]:
    """The list of edits, and what the model has of them."""
    return [
        {
            "id": number,
            "label": name(edits[number]),
            "target": edits[number].target,
            "layer": edits[number].layer,
            "lam": edits[number].lam,
            "applied": number in seen.edits,
            "baked": number in seen.baked,
        }
        for number in view.edits
    ]


def name(edit: Edit) -> str:
    """An edit in a few words."""
    return f"“{edit.target}”, layer {edit.layer}"


def truth(edits: dict[int, Edit], seen: Seen) -> str:
    """What the model is, in a sentence."""
    told = [f"{name(edits[number])}, λ {edits[number].lam:.3g}" for number in seen.edits]
    parts = []
    if told:
        parts.append(f"{_count(len(told))} applied{' together' if len(told) > 1 else ''}: {'; '.join(told)}.")
    if seen.baked:
        parts.append(f"In the weights: {'; '.join(name(edits[number]) for number in seen.baked)}.")
    return " ".join(parts) or ("No edit of this panel is applied." if seen.foreign or seen.foreign_baked else ORIGINAL)


def foreign(seen: Seen) -> str:
    """What others did to the model, in a sentence; empty if nothing."""
    parts = []
    if seen.foreign:
        parts.append(
            f"{_count(seen.foreign)} made elsewhere {_is(seen.foreign)} applied too, on both sides of this switch; the numbers below are without."
        )
    if seen.foreign_baked:
        count = len(seen.foreign_baked)
        parts.append(f"{_count(count)} made elsewhere {_is(count)} in the weights, and in all numbers below.")
    return " ".join(parts)


def nearest(lams: np.ndarray, lam: float) -> int:
    """The place of a lambda on a logarithmic axis."""
    return int(np.abs(np.log(lams) - np.log(max(lam, 1e-300))).argmin())


def _count(count: int) -> str:
    return "1 edit" if count == 1 else f"{count} edits"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"

"""What a user may ask for: a model and a question, layers, positions by name or number."""

from __future__ import annotations

from typing import Any

import numpy as np

from mllm_widgets.errors import FlowError
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question


def check_model(vlm: Any, question: Any) -> None:
    """Raises FlowError for what is no loaded model or no question."""
    if not isinstance(vlm, VLM):
        raise FlowError(
            f"vlm is a {type(vlm).__name__}; expected what mw.load() returns. A Hugging Face model goes through mw.load(model, processor)."
        )
    if not isinstance(question, Question):
        raise FlowError(f"question is a {type(question).__name__}; expected mw.Question(image, text, constraint=...).")


def check_layers(layers: Any, count: int) -> list[int]:
    """Layers in ascending order; all of them for None.  Raises FlowError for one that is not there."""
    if layers is None:
        return list(range(count))
    asked = [layers] if isinstance(layers, (int, np.integer)) else list(layers)
    wrong = [x for x in asked if isinstance(x, bool) or not isinstance(x, (int, np.integer)) or not 0 <= x < count]
    if wrong or not asked:
        raise FlowError(f"layers={layers!r} names no layers of this model; expected some of 0 to {count - 1}.")
    return sorted({int(x) for x in asked})


NAMES = ("constraint", "last", "visual")


def positions_of(encoded: Encoding, asked: Any, argument: str, names: tuple[str, ...] = NAMES) -> tuple[int, ...]:
    """Positions by name or number, ascending.

    Raises FlowError for a name that means nothing here, or a position outside the sequence.
    """
    count = len(encoded.tokens)
    if isinstance(asked, str):
        if asked not in names:
            raise FlowError(
                f"{argument}={asked!r} names no tokens; expected one of {names}, a position or a list of positions."
            )
        if asked == "constraint":
            if not encoded.constraint:
                raise FlowError(
                    f"{argument}='constraint' needs a question with one: mw.Question(image, text, constraint='this building'). "
                    f"Or pass {argument}='last', or a position."
                )
            return encoded.constraint
        if asked == "last":
            return (count - 1,)
        if not encoded.visual.any():
            raise FlowError(f"{argument}='visual', and there are no visual tokens in this model's sequence.")
        return tuple(int(p) for p in np.flatnonzero(encoded.visual))
    listed = [asked] if isinstance(asked, (int, np.integer)) else list(asked) if np.iterable(asked) else [asked]
    for position in listed:
        if isinstance(position, bool) or not isinstance(position, (int, np.integer)):
            raise FlowError(f"{argument}={asked!r} is no position; expected whole numbers from 0 to {count - 1}.")
        if not -count <= position < count:
            raise FlowError(
                f"{argument}={int(position)} lies outside the sequence, which has {count} positions, 0 to {count - 1} (visual tokens count, too)."
            )
    if not listed:
        raise FlowError(f"{argument}={asked!r} names no position; expected one at least.")
    return tuple(sorted({int(position) % count for position in listed}))


def named(target: Any) -> str:
    """A target in words."""
    if isinstance(target, str):
        return target
    return (
        "position " + str(target)
        if isinstance(target, (int, np.integer))
        else "positions " + ", ".join(map(str, target))
    )


def crosses(vlm: VLM, layer: int) -> bool:
    """Are a layer's sources vision states (Mllama's cross-attention), and no tokens?"""
    return not vlm.site(layer, "self_attn").endswith(vlm.family.attention)

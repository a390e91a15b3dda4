"""The text-only control: the same trace of the same words with no picture.

What the swap does to the words alone shows here.  A cell that is as strong without the picture stores nothing that came from it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mllm_widgets.errors import TraceError
from mllm_widgets.vlm.model import VLM, Encoding

CONTROLS = ("text-only",)
NO_PICTURE = "control: the picture was left out, so this map shows what the words do by themselves"


def check_control(control: Any) -> None:
    """Raises TraceError for anything but None and the name of a control."""
    if control is not None and control not in CONTROLS:
        raise TraceError(
            f"control={control!r} is no control; expected 'text-only' (the same prompt without its picture) or None. For noise instead of other "
            "words, pass corruption=mw.tracing.EmbeddingNoise()."
        )


def without_picture(vlm: VLM, encoded: Encoding) -> Encoding:
    """A question as the model would read it with no picture: its visual tokens are left out, every other token stays.

    Tokens with which a family frames its picture are text tokens, and stay too.

    Raises
    ------
    TraceError: if there is no picture, or if it is not in the sequence, so that leaving it out would change the model and not the prompt.
    """
    if vlm.family.pictures == "none":
        raise TraceError(
            f"control='text-only' leaves the picture out, and {type(vlm.model).__name__} is a language model, which reads none: every trace of it "
            "is text-only. Leave control= out."
        )
    if not encoded.visual.any() and vlm.image_token_id is not None:
        raise TraceError(
            "control='text-only' leaves the picture out, and the question has none; leave control= out, or expected mw.Question(image, text)."
        )
    if not encoded.visual.any():
        raise TraceError(
            f"control='text-only' leaves visual tokens out of the prompt, and {type(vlm.model).__name__} keeps its picture outside the "
            "sequence; expected a model whose picture is a run of tokens."
        )
    keep = [i for i, visual in enumerate(encoded.visual) if not visual]
    place = {position: i for i, position in enumerate(keep)}
    return replace(
        encoded,
        # nothing else: all other inputs describe the picture
        inputs={
            name: value[:, keep]
            for name, value in encoded.inputs.items()
            if name in ("input_ids", "attention_mask", "token_type_ids")
        },
        tokens=tuple(replace(encoded.tokens[p], position=i) for i, p in enumerate(keep)),
        visual=encoded.visual[keep],
        constraint=tuple(place[p] for p in encoded.constraint),
    )

"""Pictures with nothing to see, or with everything elsewhere, to tell position from content.

Early layers give later visual tokens more, whatever they show: a recency that decoders learn on text (FEATHER, arXiv 2412.13180; attention
debiasing, arXiv 2508.17807).  A map that looks the same for a grey picture is about that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from mllm_widgets.errors import FlowError
from mllm_widgets.vlm.question import Question

from .result import Contributions

CONTROLS = ("blank", "shuffled", "flipped")
BLOCKS = 8  # along each side of a shuffled picture
ALIKE = 0.9
_NAMES = {
    "blank": "a blank picture",
    "shuffled": "the picture with its blocks shuffled",
    "flipped": "the picture turned over both ways",
}


def control_image(image: Image.Image, kind: str) -> Image.Image:
    """A picture of the same size: "blank" is its mean colour, "shuffled" its blocks (8 x 8 of them) in another order, always the same one, "flipped" the picture
    turned over both ways, so that what was seen last is seen first.

    Pixels at the right and the bottom that do not fill a block stay where they are in a shuffled picture.
    """
    pixels = np.asarray(image)
    if kind == "flipped":
        return Image.fromarray(pixels[::-1, ::-1].copy())
    if kind == "blank":
        mean = pixels.reshape(-1, 3).mean(0).round().astype(np.uint8)
        return Image.fromarray(np.broadcast_to(mean, pixels.shape).copy())
    height, width = (max(1, side // BLOCKS) for side in pixels.shape[:2])
    down, across = min(BLOCKS, pixels.shape[0]), min(BLOCKS, pixels.shape[1])
    whole = pixels[: down * height, : across * width].reshape(down, height, across, width, 3)
    blocks = whole.swapaxes(1, 2).reshape(down * across, height, width, 3)
    mixed = blocks[np.random.default_rng(0).permutation(len(blocks))]
    made = pixels.copy()
    made[: down * height, : across * width] = (
        mixed.reshape(down, across, height, width, 3).swapaxes(1, 2).reshape(down * height, across * width, 3)
    )
    return Image.fromarray(made)


def control_question(question: Question, kind: str) -> Question:
    """The same words about a control's picture.

    Raises
    ------
    FlowError: for what is no control, or a question without a picture.
    """
    if kind not in CONTROLS:
        raise FlowError(f"control={kind!r} is no control; expected one of {CONTROLS} or None.")
    if question.image is None:
        raise FlowError(
            f"control={kind!r} asks about another picture, and the question has none; leave control= out, or pass mw.Question(image, text)."
        )
    return replace(question, image=control_image(question.image, kind))


def control_warnings(flow: Contributions) -> tuple[str, ...]:
    """A sentence if the map is about what the control's picture gives, at the layer where the picture writes most."""
    alike = flow.control_correlation
    if alike is None or not flow.layers:
        return ()
    value = float(alike.sel(layer=flow.peak_layer))
    if not value >= ALIKE:
        return ()
    picture = _NAMES[str(flow.control_kind)]
    sentence = (
        f"at layer {flow.peak_layer} the map is about what {picture} gives (correlation {value:.2f} over {len(flow.visual)} visual tokens), so it shows "
        "where a patch lies rather than what it holds"
    )
    return (sentence,)

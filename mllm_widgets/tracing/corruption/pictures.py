"""Another picture, or noise on the picture's pixels; every word stays.

The vision tower mixes patches, so all visual tokens may change, wherever the pixels changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from mllm_widgets.errors import TraceError
from mllm_widgets.vlm.images import as_image
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

from .base import Corruption, Plan, check_counts, check_size, times


@dataclass(frozen=True, eq=False)
class OtherImage(Corruption):
    """Another picture in the place of the question's own.

    It is stretched to the size of the question's picture, so that every visual token keeps its place.

    Parameters
    ----------
    image: a picture, as `mw.Question` takes it.

    Raises
    ------
    QuestionError: for a picture that cannot be read.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> other = mw.datasets.demo_question("Taj Mahal").image
    >>> trace = mw.causal_trace(mw.load(), mw.datasets.demo_question("Eiffel Tower"), corruption=mw.tracing.OtherImage(other))
    >>> trace.corruption, trace.groups[0].name
    ('another picture', 'all 64 visual tokens')
    """

    image: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", as_image(self.image))

    def plan(self, vlm: VLM, question: Question, encoded: Encoding) -> Plan:
        """As `Corruption.plan`."""
        name, fitted = "another picture", ""
        positions = _positions(vlm, encoded, name)
        image = self.image
        if image.size != question.image.size:
            fitted = f"stretched from {image.width} x {image.height} to {question.image.width} x {question.image.height} pixels"
            image = image.resize(question.image.size, Image.Resampling.BICUBIC)
        if np.array_equal(np.asarray(image), np.asarray(question.image)):
            raise TraceError(
                "image of OtherImage is the question's own picture, so nothing would be corrupted; choose another."
            )
        return Plan(positions, encoded.input_ids.copy(), name, fitted, "try another picture", pictures=(image,))


@dataclass(frozen=True)
class PixelNoise(Corruption):
    """Gaussian noise on the picture's pixels, clipped to what a pixel can be; every number of the map is a mean over the draws.

    Parameters
    ----------
    sigma: standard deviation of the noise; black to white is 1.
    draws: how many independent draws are averaged; the work grows with it.
    seed: of the draws.
    box: (left, top, right, bottom) in pixels: only there; None noises the whole picture.

    Raises
    ------
    TraceError: for a negative sigma, draws below 1, or a box that is no box; when it is applied, for a box outside the picture.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> mw.causal_trace(mw.load(), mw.datasets.demo_question("Eiffel Tower"), corruption=mw.tracing.PixelNoise(draws=2)).corruption
    'noise on the picture (sigma 0.5, 2 draws)'
    """

    sigma: float = 0.5
    draws: int = 5
    seed: int = 0
    box: Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_size("sigma", self.sigma, "black to white being 1")
        check_counts(self.draws, self.seed)
        if self.box is not None:
            object.__setattr__(self, "box", as_box(self.box))

    def plan(self, vlm: VLM, question: Question, encoded: Encoding) -> Plan:
        """As `Corruption.plan`."""
        place = "the picture" if self.box is None else "pixels {:g}, {:g} to {:g}, {:g}".format(*self.box)
        name = f"noise on {place} (sigma {self.sigma:g}, {times(self.draws)})"
        positions = _positions(vlm, encoded, name)
        pixels = np.asarray(question.image, dtype=np.float32)
        height, width = pixels.shape[:2]
        x0, y0, x1, y1 = (0, 0, width, height) if self.box is None else self.box
        left, right = (round(min(max(x, 0), width)) for x in (x0, x1))
        top, bottom = (round(min(max(y, 0), height)) for y in (y0, y1))
        where = np.zeros((height, width, 1), dtype=bool)
        where[top:bottom, left:right] = True
        if not where.any():
            raise TraceError(
                f"box={self.box} of PixelNoise has no pixel of this picture of {width} x {height}; boxes are in its pixels."
            )
        generator = np.random.default_rng(int(self.seed))
        pictures = []
        for _ in range(int(self.draws)):
            noised = pixels + generator.normal(0, 255 * float(self.sigma), pixels.shape).astype(np.float32) * where
            pictures.append(Image.fromarray(np.rint(noised).clip(0, 255).astype(np.uint8)))
        advice = "raise sigma" if self.sigma else "sigma=0 adds no noise"
        return Plan(positions, encoded.input_ids.copy(), name, "", advice, pictures=tuple(pictures))


def as_box(box: Any) -> tuple[float, ...]:
    """`box` as (left, top, right, bottom).

    Raises TraceError if it is no such four numbers.
    """
    numbers = np.asarray(box, dtype=object).ravel().tolist()
    real = len(numbers) == 4 and all(
        isinstance(n, (int, float, np.number)) and not isinstance(n, bool) for n in numbers
    )
    if not real or not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise TraceError(
            f"box={box!r} is no box; expected (left, top, right, bottom) in pixels of the picture, left < right and top < bottom."
        )
    return tuple(float(n) for n in numbers)


def look(vlm: VLM, question: Question, picture: Image.Image, input_ids: np.ndarray) -> dict[str, Any]:
    """Inputs of the same prompt, of which the token ids are given, with another picture.

    Raises TraceError if the model reads it as a prompt of another form.
    """
    other = vlm.encode(dataclasses.replace(question, image=picture))
    if not np.array_equal(other.input_ids, input_ids):
        raise TraceError(
            f"the prompt with another picture has {len(other.input_ids)} tokens, where the question's own has {len(input_ids)}; their "
            "visual tokens cannot be compared."
        )
    return other.inputs


def _positions(vlm: VLM, encoded: Encoding, name: str) -> tuple[int, ...]:
    """Where the picture enters the decoder.

    Raises TraceError if there is none.
    """
    positions = vlm.family.picture_positions(vlm.model, encoded.input_ids, encoded.visual)
    if not positions:
        raise TraceError(
            f"corruption={name!r} changes the picture, and this prompt has none; corrupt its words: corruption='Taj Mahal'."
        )
    return positions

"""A question about a picture."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mllm_widgets.errors import QuestionError


@dataclass(frozen=True, eq=False)
class Question:
    """A picture, a question about it, and the words that point at the picture.

    Parameters
    ----------
    image: a PIL image, a path, or an array of shape (height, width), (height, width, 3) or (height, width, 4); uint8 0..255 or
        floats 0..1.  It is kept as an RGB PIL image, turned upright by its EXIF orientation.
    text: the question.
    constraint: the visual constraint, words of `text` that refer to the picture ("this building").
    text_constraints: further words that narrow the answer ("1989").
    answer: the true answer, if known; nothing computes with it.
    occurrence: which match of `constraint` in `text` is meant, counted from 0.

    Raises
    ------
    QuestionError: for an empty question or a picture that cannot be read.

    Examples
    --------
    >>> Question(np.zeros((8, 8), np.uint8), "Which city is this building in?", constraint="this building").image.size
    (8, 8)
    """

    image: Any
    text: str
    constraint: str | None = None
    text_constraints: tuple[str, ...] = ()
    answer: str | None = None
    occurrence: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise QuestionError(
                f"text={self.text!r} is no question: expected a sentence such as 'Which city is this building in?'."
            )
        if isinstance(self.text_constraints, str):
            object.__setattr__(self, "text_constraints", (self.text_constraints,))
        # Composed characters, so that a constraint typed in another normal form is still found.
        object.__setattr__(self, "text", unicodedata.normalize("NFC", self.text.strip()))
        object.__setattr__(self, "image", as_image(self.image))


def as_image(image: Any) -> Image.Image:
    """An upright RGB PIL image from a PIL image, a path or an array.

    Raises QuestionError if it cannot be read as a picture.
    """
    if isinstance(image, Image.Image):
        return ImageOps.exif_transpose(image).convert("RGB")
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        if not Path(path).exists():
            raise QuestionError(
                f"image={path!r} does not exist (looked in {str(Path.cwd())!r}). Check the path's spelling."
            )
        try:
            with Image.open(path) as opened:
                return ImageOps.exif_transpose(opened).convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise QuestionError(
                f"image={path!r} cannot be read as a picture ({error}). Expected a file Pillow opens, such as PNG or JPEG; "
                "the file may be cut off or of another kind."
            ) from error
    return _from_array(image)


def _from_array(image: Any) -> Image.Image:
    expected = "expected a PIL image, a path, or an array (height, width[, 3 or 4]) of uint8 0..255 or floats 0..1"
    try:
        array = np.asarray(image)
    except Exception as error:
        raise QuestionError(f"image is a {type(image).__name__}; {expected}.") from error
    if array.dtype == object or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)):
        hint = " Its channels seem to come first: pass array.transpose(1, 2, 0)." if _channels_first(array) else ""
        shape = f" of shape {array.shape}" if array.dtype != object and array.ndim else ""
        raise QuestionError(f"image is a {type(image).__name__}{shape}; {expected}.{hint}")
    if 0 in array.shape:
        raise QuestionError(f"image has no pixels: its shape is {array.shape}.")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise QuestionError(
                f"image is a float array with values from {array.min():.3g} to {array.max():.3g}; floats must lie in 0..1. "
                "Divide by 255, or pass uint8."
            )
        array = np.round(array * 255)
    elif array.min() < 0 or array.max() > 255:
        raise QuestionError(f"image is an integer array with values up to {array.max()}; {expected}.")
    array = array.astype(np.uint8)
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array).convert("RGB")


def _channels_first(array: np.ndarray) -> bool:
    return array.ndim == 3 and array.shape[0] in (1, 3, 4)

"""Anything that is a picture, as an upright RGB image.

Pillow's own conversion to RGB shows what lies under transparent pixels (usually black) and cuts 16-bit values off at 255; both would hand
the model another picture than the one the user sees.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mllm_widgets.errors import QuestionError

EXPECTED = "expected a PIL image, a path, or an array (height, width[, 3 or 4]) of uint8 0..255 or floats 0..1"


def as_image(image: Any) -> Image.Image:
    """An upright RGB PIL image from a PIL image, a path or an array.

    EXIF orientation is applied, transparent pixels become white, 16-bit values are scaled to 8 bits, and of an animation the frame that
    is current (a file's first) is taken.

    Raises
    ------
    QuestionError: if it cannot be read as a picture.
    """
    if isinstance(image, Image.Image):
        try:
            return _from_pil(image)
        except QuestionError:
            raise
        except (OSError, ValueError, AssertionError) as error:  # AssertionError: Pillow's for a closed file
            raise QuestionError(
                f"image cannot be read ({str(error) or type(error).__name__}); expected an open PIL image. Its file may be closed, or cut off."
            ) from error
    if isinstance(image, (str, os.PathLike)):
        return _from_path(os.fspath(image))
    return _from_array(image)


def _from_path(path: str) -> Image.Image:
    if path.startswith(("http://", "https://")):
        raise QuestionError(f"image={path!r} is a web address; expected a file. Download it first.")
    if Path(path).is_dir():
        raise QuestionError(f"image={path!r} is a folder; expected a picture file in it.")
    if not Path(path).exists():
        raise QuestionError(
            f"image={path!r} does not exist (looked in {str(Path.cwd())!r}). Check the path's spelling."
        )
    try:
        with Image.open(path) as opened:
            return _from_pil(opened)
    except QuestionError:
        raise
    except Image.DecompressionBombError as error:
        raise QuestionError(
            f"image={path!r} is too large to be decoded safely ({error}). Expected a photograph; make it smaller, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust the file."
        ) from error
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
    ) as error:  # SyntaxError: Pillow's for a broken PNG
        raise QuestionError(
            f"image={path!r} cannot be read as a picture ({error}). Expected a file Pillow opens, such as PNG or JPEG; "
            "the file may be cut off or of another kind."
        ) from error


def _from_pil(image: Image.Image) -> Image.Image:
    if 0 in image.size:
        raise QuestionError(f"image has no pixels: its size is {image.size[0]} x {image.size[1]}.")
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_array(_eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        if image.mode == "La":  # premultiplied grey, which Pillow converts to nothing but LA
            image = image.convert("LA")
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(array: np.ndarray) -> np.ndarray:
    """Sixteen-bit integers scaled to 0..255; anything else as it is."""
    deep = array.dtype.kind + str(array.dtype.itemsize) == "u2"
    deep = deep or (array.dtype.kind == "i" and array.min() >= 0 and 255 < array.max() <= 65535)
    return np.round(array / 257).astype(np.uint8) if deep else array


def _from_array(image: Any) -> Image.Image:
    try:
        array = np.asarray(image)
    except Exception as error:
        raise QuestionError(f"image is a {type(image).__name__}; {EXPECTED}.") from error
    if (
        array.dtype.kind not in "biuf"
        or array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4))
    ):
        hint = " Its channels seem to come first: pass array.transpose(1, 2, 0)." if _channels_first(array) else ""
        shape = f" of shape {array.shape}" if array.dtype != object and array.ndim else ""
        raise QuestionError(f"image is a {type(image).__name__}{shape}; {EXPECTED}.{hint}")
    if 0 in array.shape:
        raise QuestionError(f"image has no pixels: its shape is {array.shape}.")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise QuestionError(
                f"image is a float array with values from {array.min():.3g} to {array.max():.3g}; floats must lie in 0..1. "
                "Divide by 255, or pass uint8."
            )
        array = np.round(array * 255)
    elif array.dtype == bool:
        array = array * 255
    elif array.min() < 0 or array.max() > 255:
        raise QuestionError(f"image is an integer array with values from {array.min()} to {array.max()}; {EXPECTED}.")
    array = array.astype(np.uint8)
    return _from_pil(Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array))


def _channels_first(array: np.ndarray) -> bool:
    return array.ndim == 3 and array.shape[0] in (1, 3, 4)

"""What an image processor did to a picture, as a map from the pixels it made back to the picture's own.

Resizing, cropping and padding are all of one form: the processed pixels are a rectangle laid over the picture, with two scales.  A `Frame` is
that rectangle; each step of a processor gives a new one.  Sizes come from the functions the processors themselves call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mllm_widgets.errors import ModelError


@dataclass(frozen=True)
class Frame:
    """Processed pixels laid over a picture.

    width, height: of the processed picture, in its own pixels.
    left, top: where its upper left corner lies, in pixels of the picture; negative where it was padded.
    x, y: how many of the picture's pixels one processed pixel spans.
    """

    width: int
    height: int
    left: float = 0.0
    top: float = 0.0
    x: float = 1.0
    y: float = 1.0

    def resized(self, width: int, height: int) -> Frame:
        """Every pixel of the frame, in another number of pixels."""
        return Frame(width, height, self.left, self.top, self.x * self.width / width, self.y * self.height / height)

    def window(self, left: int, top: int, width: int, height: int) -> Frame:
        """A rectangle of the frame in its own pixels: a crop, or a pad where it reaches beyond."""
        return Frame(width, height, self.left + left * self.x, self.top + top * self.y, self.x, self.y)

    def cropped(self, width: int, height: int) -> Frame:
        """The window in the middle, as a centre crop takes it: beyond the frame where that is smaller."""
        return self.window((self.width - width) // 2, (self.height - height) // 2, width, height)

    def padded(self, width: int, height: int) -> Frame:
        """The frame in the middle of a larger one; an odd pixel goes to the right and the bottom (a crop's goes to the left and the top)."""
        return self.window(-((width - self.width) // 2), -((height - self.height) // 2), width, height)

    def box(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        """A rectangle of the frame in pixels of the picture."""
        return (
            self.left + left * self.x,
            self.top + top * self.y,
            self.left + right * self.x,
            self.top + bottom * self.y,
        )


def resized_as(frame: Frame, size: Any) -> Frame:
    """The frame after a processor's `resize` to a `size` (a mapping with `height` and `width`, or `shortest_edge`).

    Raises
    ------
    ModelError: for a size of another kind.
    """
    from transformers import image_transforms

    named = {name: size[name] for name in ("height", "width", "shortest_edge", "longest_edge") if size.get(name)}
    if set(named) == {"height", "width"}:
        return frame.resized(named["width"], named["height"])
    if set(named) == {"shortest_edge"}:
        pixels = _pixels(frame.height, frame.width)
        height, width = image_transforms.get_resize_output_image_size(
            pixels, named["shortest_edge"], default_to_square=False, input_data_format="channels_first"
        )
        return frame.resized(width, height)
    if set(named) == {"shortest_edge", "longest_edge"}:
        height, width = image_transforms.get_size_with_aspect_ratio(
            (frame.height, frame.width), named["shortest_edge"], named["longest_edge"]
        )
        return frame.resized(width, height)
    raise ModelError(
        f"the image processor resizes to {dict(named) or size}, which this package cannot follow back to the picture; expected height and width, or "
        "shortest_edge."
    )


def processed(processor: Any, size: tuple[int, int], result: tuple[int, int]) -> Frame:
    """The frame of a picture after an image processor that resizes, crops and pads as CLIP's, LLaVA's and SigLIP's do.

    Parameters
    ----------
    processor: the image processor.
    size: (width, height) of the picture.
    result: (width, height) of the pixels it gave, to check that this is what it did.

    Raises
    ------
    ModelError: if these steps do not lead to what the processor gave.
    """
    frame = Frame(*size)
    if getattr(processor, "do_pad", False) and hasattr(processor, "pad_to_square"):
        frame = frame.padded(max(size), max(size))
    frame = fitted(processor, frame)
    if (frame.width, frame.height) != result:
        raise ModelError(
            f"the image processor ({type(processor).__name__}) made {result[0]} x {result[1]} pixels of a picture of {size[0]} x {size[1]}, where its "
            f"settings lead to {frame.width} x {frame.height}; this package cannot say where its visual tokens lie."
        )
    return frame


def fitted(processor: Any, frame: Frame) -> Frame:
    """The frame after the resize and the centre crop that a processor's settings ask for."""
    if getattr(processor, "do_resize", False):
        frame = resized_as(frame, processor.size)
    crop = getattr(processor, "crop_size", None)
    if getattr(processor, "do_center_crop", False) and crop:
        frame = frame.cropped(int(crop["width"]), int(crop["height"]))
    return frame


def thumbnail(processor: Any, frame: Frame) -> Frame:
    """The frame of the whole picture, stretched to one tile, as LLaVA-NeXT and LLaVA-OneVision put it before the tiles."""
    size = processor.size
    height, width = (size.get("height"), size.get("width")) if size.get("height") else (size["shortest_edge"],) * 2
    return fitted(processor, frame.resized(width, height))


def tiles(processor: Any, frame: Frame) -> list[list[Frame]]:
    """The frames of the tiles, rows of columns, that LLaVA-NeXT and LLaVA-OneVision cut a picture into.

    The picture is resized and padded to whichever of the processor's sizes loses least of it.
    """
    from transformers.image_processing_utils import get_patch_output_size, select_best_resolution

    size = (frame.height, frame.width)
    height, width = select_best_resolution(size, processor.image_grid_pinpoints)
    inner_height, inner_width = get_patch_output_size(_pixels(*size), (height, width), "channels_first")
    canvas = frame.resized(inner_width, inner_height).padded(width, height)
    crop, whole = getattr(processor, "crop_size", None) or {}, processor.size
    side = crop.get("height") or whole.get("height") or whole["shortest_edge"]
    return [
        [fitted(processor, canvas.window(left, top, side, side)) for left in range(0, width, side)]
        for top in range(0, height, side)
    ]


def _pixels(height: int, width: int) -> np.ndarray:
    """A picture (3, height, width) for functions that look at its shape only; it takes no memory."""
    return np.broadcast_to(np.uint8(0), (3, height, width))

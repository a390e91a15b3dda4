"""Frames against pictures whose pixels say where they are: red counts columns, green counts rows."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from mllm_widgets.errors import ModelError
from mllm_widgets.vlm.frame import Frame, processed, thumbnail, tiles

SIZES = [(201, 150), (97, 201), (120, 120), (250, 63), (31, 44)]
PLAIN = {"do_rescale": False, "do_normalize": False}
SQUARE = {"height": 40, "width": 40}
PROCESSORS = {
    "crop": CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size=SQUARE, **PLAIN),
    "crop of more": CLIPImageProcessorPil(size={"shortest_edge": 57}, crop_size=SQUARE, **PLAIN),
    "crop of less": CLIPImageProcessorPil(size={"shortest_edge": 27}, crop_size=SQUARE, **PLAIN),
    "no resize": CLIPImageProcessorPil(do_resize=False, crop_size=SQUARE, **PLAIN),
    "pad": LlavaImageProcessorPil(size={"shortest_edge": 40}, crop_size=SQUARE, do_pad=True, **PLAIN),
    "stretch": SiglipImageProcessorPil(size={"height": 40, "width": 52}, **PLAIN),
}


def ruler(width: int, height: int) -> Image.Image:
    """Red is the column, green the row, blue marks what is picture."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([columns, rows, np.full_like(rows, 255)], axis=-1).astype(np.uint8))


def check(pixels, frame: Frame, width: int, height: int) -> None:
    """(3, rows, columns) of a processed ruler: every pixel away from borders shows the place where the frame says it lies."""
    assert pixels.shape == (3, frame.height, frame.width)
    pixels = pixels.astype(float)
    rows, columns = np.mgrid[: frame.height, : frame.width]
    x = frame.left + (columns + 0.5) * frame.x - 0.5  # of a pixel's middle; the ruler's first column is 0 in its middle
    y = frame.top + (rows + 0.5) * frame.y - 0.5
    reach_x, reach_y = 3 * max(frame.x, 1), 3 * max(frame.y, 1)  # kernels see the border
    inside = (x > reach_x) & (x < width - 1 - reach_x) & (y > reach_y) & (y < height - 1 - reach_y)
    assert inside.sum() > 30
    assert np.abs(pixels[0] - x)[inside].max() < 1.1  # values are rounded, up to twice
    assert np.abs(pixels[1] - y)[inside].max() < 1.1
    beyond = (x < -reach_x) | (x > width - 1 + reach_x) | (y < -reach_y) | (y > height - 1 + reach_y)
    assert (np.abs(pixels[2][beyond] - 255) > 100).all()


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("name", PROCESSORS)
def test_a_frame_is_what_the_processor_did(name, width, height):
    pixels = np.asarray(PROCESSORS[name](ruler(width, height), return_tensors="np")["pixel_values"])[0]
    frame = processed(PROCESSORS[name], (width, height), (pixels.shape[2], pixels.shape[1]))
    check(pixels, frame, width, height)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("size", [40, 50])
def test_frames_of_tiles_are_what_the_processor_did(size, width, height):
    pinpoints = [[40, 40], [40, 80], [80, 40], [80, 80], [120, 40], [40, 120]]
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": size}, crop_size=SQUARE, image_grid_pinpoints=pinpoints, **PLAIN
    )
    first, *others = np.asarray(processor(ruler(width, height), return_tensors="np")["pixel_values"])[0]
    check(first, thumbnail(processor, Frame(width, height)), width, height)
    cut = [frame for row in tiles(processor, Frame(width, height)) for frame in row]
    assert len(cut) == len(others)
    for pixels, frame in zip(others, cut, strict=True):
        check(pixels, frame, width, height)


def test_pixels_of_another_size_are_refused():
    with pytest.raises(
        ModelError, match="made 44 x 40 pixels of a picture of 100 x 50, where its settings lead to 40 x 40"
    ):
        processed(PROCESSORS["crop"], (100, 50), (44, 40))

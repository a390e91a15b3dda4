"""Golden pictures: fixed data, drawn as they were drawn before.

`make golden` draws them anew after a change that is meant; look at each before it is committed.  Pixels and elements must be the same, with two exceptions: inside
the boxes of texts other releases of FreeType may shade letters a little differently, and a PNG within an SVG may be packed differently, so its pixels are compared.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mllm_widgets.render import Drawing
from mllm_widgets.render.pen import SCALE, Placed, Text, text_width
from tests.drawn_pictures import PICTURES

FOLDER = Path(__file__).parent / "golden"
NAMES = ("trace_heatmap", "patch_grid", "edit_panel", "explorer", "annotation")
SHADES = 8  # of 255, the mean difference in the box of a text; another word differs by 30 and more


def text_boxes(drawing: Drawing, x: float = 0, y: float = 0) -> list[tuple[slice, slice]]:
    """Where texts stand, as (rows, columns) of pixels."""
    found = []
    for mark in drawing.marks:
        if isinstance(mark, Placed):
            found += text_boxes(mark.drawing, x + mark.at[0], y + mark.at[1])
        elif isinstance(mark, Text):
            wide, high = text_width(mark.text, mark.size) + 4, 1.5 * mark.size
            left = x + mark.at[0] - 2 - {"l": 0, "m": wide / 2 - 2, "r": wide - 4}[mark.anchor[0]]
            top = y + mark.at[1] - high / 2
            edges = [max(0, round(v * SCALE)) for v in (top, top + high, left, left + wide)]
            found.append((slice(edges[0], edges[1]), slice(edges[2], edges[3])))
    return found


def plain(svg: str) -> str:
    """SVG with pictures told by their pixels, and names without what makes them one of a kind."""

    def pixels(found: re.Match[str]) -> str:
        image = Image.open(io.BytesIO(base64.b64decode(found[1])))
        return f"{image.size} {hashlib.sha256(image.convert('RGB').tobytes()).hexdigest()}"

    return re.sub(r"mw[0-9a-f]{8}-", "mw-", re.sub(r"data:image/png;base64,([^\"]*)", pixels, svg))


@pytest.fixture(scope="module", autouse=True)
def redraw():
    if os.environ.get("MW_GOLDEN") == "draw":
        FOLDER.mkdir(exist_ok=True)
        for name in NAMES:
            drawing = PICTURES[name]()
            drawing.image().save(FOLDER / f"{name}.png", optimize=True)
            (FOLDER / f"{name}.svg").write_text(drawing.svg(), encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_png_is_as_it_was(name):
    drawing = PICTURES[name]()
    now = np.asarray(drawing.image()).astype(int)
    before = np.asarray(Image.open(FOLDER / f"{name}.png").convert("RGB")).astype(int)
    assert now.shape == before.shape
    different = np.abs(now - before).max(axis=2)
    for box in text_boxes(drawing):
        assert different[box].mean() < SHADES, box
    for box in text_boxes(drawing):
        different[box] = 0
    assert not different.any(), np.argwhere(different)[:5]


@pytest.mark.parametrize("name", NAMES)
def test_the_svg_is_as_it_was(name):
    before = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert plain(PICTURES[name]().svg()) == plain(before)


def test_another_word_would_be_seen():
    one, other = Drawing(200, 30), Drawing(200, 30)
    one.text(10, 15, "layer 3", 11, "black")
    other.text(10, 15, "layer 8", 11, "black")
    (box,) = text_boxes(one)
    images = [np.asarray(drawing.image()).astype(int).max(axis=2) for drawing in (one, other)]
    assert np.abs(images[0] - images[1])[box].mean() > 0
    outside = images[0].copy()
    outside[box] = 255
    assert (outside == 255).all()

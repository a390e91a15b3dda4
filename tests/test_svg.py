"""Pictures as SVG: well formed, safe, and the same picture as the PNG."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mllm_widgets.errors import WidgetError
from mllm_widgets.render import Drawing, draw_heatmap, joined
from mllm_widgets.render.pen import Box, Placed
from mllm_widgets.render.svg import MOST_CELLS, svg_of
from tests.drawn_pictures import PICTURES, texts

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<img src=x onerror=alert(1)> </text><script>alert(1)</script> &amp; ]]> \"'\x1b\x00\ud800\ufffe"


def parsed(drawing: Drawing) -> ElementTree.Element:
    return ElementTree.fromstring(drawing.svg())


def boxes(drawing: Drawing, x: float = 0, y: float = 0) -> list[tuple[float, ...]]:
    found = []
    for mark in drawing.marks:
        if isinstance(mark, Placed):
            found += boxes(mark.drawing, x + mark.at[0], y + mark.at[1])
        elif isinstance(mark, Box):
            found.append((x + mark.at[0], y + mark.at[1], *mark.at[2:]))
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_every_text_of_a_picture_is_text_in_its_svg(name):
    drawing = PICTURES[name]()
    written = ["".join(node.itertext()) for node in parsed(drawing).iter(f"{SVG}text")]
    assert written == texts(drawing)


@pytest.mark.parametrize("name", PICTURES)
def test_an_svg_says_how_large_it_is_and_what_it_shows(name):
    drawing = PICTURES[name]()
    root = parsed(drawing)
    assert [root.get("width"), root.get("height")] == [str(drawing.width), str(drawing.height)]
    assert root.find(f"{SVG}title").text == drawing.title  # pyright: ignore[reportOptionalMemberAccess]
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#([^)]*)\)", drawing.svg()) + (root.get("aria-labelledby") or "").split()
    assert set(used) <= set(ids)
    assert root[len([c for c in root if c.tag in (f"{SVG}title", f"{SVG}desc", f"{SVG}defs")])].get("fill") == "white"


def test_two_svgs_of_one_page_do_not_share_names():
    one, other = (draw_heatmap(np.full((2, 2), value), ["a", "b"], module="mlp", limit=1).svg() for value in (0.1, 0.2))
    names = [set(re.findall(r'id="([^"]*)"', text)) for text in (one, other)]
    assert names[0]
    assert not names[0] & names[1]


def test_no_text_becomes_markup():
    drawing = draw_heatmap(np.zeros((2, 3)), [HOSTILE, "b"], module="mlp", limit=1, title=HOSTILE, subtitle=HOSTILE)
    root = parsed(drawing)
    assert {node.tag.removeprefix(SVG) for node in root.iter()} <= {
        "svg", "title", "desc", "defs", "linearGradient", "stop", "rect", "text", "polyline",
    }  # fmt: skip
    assert root.find(f"{SVG}title").text.startswith("<img src=x")  # pyright: ignore
    assert "\\x1b" in root.find(f"{SVG}title").text  # pyright: ignore
    assert not any(name.lower().startswith("on") for node in root.iter() for name in node.attrib)
    kept = ElementTree.fromstring(svg_of(drawing, metadata=HOSTILE)).find(f"{SVG}metadata")
    assert kept is not None
    assert kept.text.startswith("<img src=x")  # pyright: ignore


def test_boxes_are_where_they_are_in_the_picture():
    drawing = PICTURES["trace_heatmap"]()
    rects = [
        tuple(float(node.get(name) or 0) for name in ("x", "y", "width", "height"))
        for node in parsed(drawing).iter(f"{SVG}rect")
        if str(node.get("fill")).startswith(("#", "white")) and node.get("x")
    ]
    assert set(boxes(drawing)) <= {tuple(rect) for rect in rects}


def test_photos_are_kept_as_they_are():
    data = re.findall(r"data:image/png;base64,([^\"]*)", PICTURES["patch_grid"]().svg())
    assert len(data) == 1
    image = Image.open(io.BytesIO(base64.b64decode(data[0])))
    assert image.size == (920, 306)


def test_too_many_cells_are_refused_and_the_way_out_is_named():
    drawing = draw_heatmap(np.zeros((200, 101)), ["a"] * 200, module="mlp", limit=1)
    assert drawing.cells == 20_200 > MOST_CELLS
    with pytest.raises(WidgetError, match=r"this picture has 20,200 cells.*more than 20,000.*to_png\(\)"):
        drawing.svg()
    half = draw_heatmap(np.zeros((200, 51)), ["a"] * 200, module="mlp", limit=1)
    assert half.svg().count("<rect") > 10_000
    with pytest.raises(WidgetError, match="20,400 cells"):
        joined([half, half]).svg()


def test_text_that_fills_its_room_is_fitted_into_it():
    drawing = Drawing(200, 60)
    drawing.text(10, 10, "a text that is cut because it is long", 12, "black", room=100)
    drawing.text(10, 30, "short", 12, "black", room=100)
    drawing.text(10, 50, "中中中中中中", 12, "black", room=100)
    lengths = [node.get("textLength") for node in parsed(drawing).iter(f"{SVG}text")]
    assert lengths[0] is not None
    assert 80 < float(lengths[0]) <= 100
    assert lengths[1:] == [None, None]

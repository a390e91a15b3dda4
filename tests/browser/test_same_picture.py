"""One picture everywhere: what the browser shows of a live widget, and of an SVG, against the PNG that Python draws."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools

import numpy as np
import pytest
from host import host
from PIL import Image
from playwright.sync_api import Page

import mllm_widgets as mw
from mllm_widgets import colormaps
from mllm_widgets.render import draw_heatmap, draw_patches
from mllm_widgets.widgets import wire
from tests.drawn_pictures import PICTURES, patch_map
from tests.test_golden import text_boxes
from tests.test_render import Grid


def shot(page: Page, selector: str) -> np.ndarray:
    """A screenshot of one element, one pixel for each CSS pixel."""
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")).astype(int)


def corner(width: float, height: float, side: int) -> tuple[float, float]:
    """The middle of the triangle that marks a value beyond the scale, in a cell of that size."""
    size = max(3.0, min(6.0, 0.4 * min(width, height)))
    return width - 1 - size / 2, 1 + 0.55 * size if side > 0 else height - 1 - 0.55 * size


@pytest.mark.parametrize("module", ["mlp", "self_attn"])
def test_the_canvas_of_a_map_has_the_cells_and_marks_of_its_png(page, trace, module, screenshots) -> None:
    heatmap = mw.TraceHeatmap(trace)
    rng, values, limit = np.random.default_rng(3), wire.array(heatmap.values).copy(), 0.6
    values[:] = rng.uniform(-0.9, 0.9, values.shape) + heatmap.corrupted
    values[:, 3, -1] = values[:, 5, -3] = np.nan
    host(page, heatmap, width=700, changes={"module": module, "values": wire.tensor(values), "limit": limit})
    canvas = shot(page, ".mw-cells")
    page.screenshot(path=screenshots / f"same-{module}.png")
    across = float(page.locator(".mw-cells").get_attribute("data-cell-width") or 0)

    effect = values[heatmap._modules.index(module)].astype(np.float64) - heatmap.corrupted
    table = np.full((len(heatmap.rows), heatmap.layers), np.nan)
    for index, row in enumerate(heatmap.rows):
        if row["traced"]:
            table[index] = effect[:, row["column"]]
    traced = [index for index, row in enumerate(heatmap.rows) if row["traced"]]
    marked = [index for index, row in enumerate(heatmap.rows) if row["constraint"]]
    labels = [row["label"] for row in heatmap.rows]
    drawing = draw_heatmap(table, labels, module=module, limit=limit, marked=marked, traced=traced)
    grid = Grid(drawing.image(), marked, heatmap.layers)
    left = canvas.shape[1] - 1 - across * heatmap.layers

    def on_canvas(index: int, layer: int, x: float, y: float) -> np.ndarray:
        return canvas[int(2 + 20 * index + y), int(left + across * layer + x)]

    def on_png(index: int, layer: int, x: float, y: float) -> np.ndarray:
        return grid.cell(index, layer)[int(2 * y), int(2 * x)].astype(int)

    wide, high = grid.width / 2 - 1, grid.height / 2 - 1
    colors = colormaps.effect_colors(module, "light")
    seen = set()
    for index, layer in itertools.product(traced, range(heatmap.layers)):
        value = table[index, layer]
        here = on_canvas(index, layer, across / 2, 10), on_png(index, layer, wide / 2, high / 2)
        if np.isnan(value):
            seen.add("not known")
            assert all(color.max() < 200 for color in here)  # the cross
            quarter = on_canvas(index, layer, across / 5, 5), on_png(index, layer, wide / 5, high / 4)
            assert all(color.min() == 255 for color in quarter)
            continue
        assert here[0].tolist() == here[1].tolist() == colors[colormaps.color_index(np.array(value), limit)].tolist()
        beyond = int(colormaps.beyond(np.array(value), limit))
        seen.add(beyond)
        for side in (-1, 1):
            points = (
                on_canvas(index, layer, *corner(across - 1, 19, side)),
                on_png(index, layer, *corner(wide, high, side)),
            )
            for color in points:
                assert (color.min() > 190) if side == beyond else (color == here[0]).all(), (index, layer, side)
    assert seen == {-1, 0, 1, "not known"}
    for index in set(range(len(labels))) - set(traced):
        assert np.ptp(on_canvas(index, 2, across / 2, 10)) < 12  # a grey


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_canvas_of_patches_has_the_colours_and_marks_of_its_png(page, scale, screenshots) -> None:
    shown = dataclasses.replace(patch_map(), sinks={})
    grid = mw.PatchGrid(shown, layer=2, scale=scale, top_k=0)
    host(page, grid, width=900)
    live = shot(page, ".mw-figure")
    page.screenshot(path=screenshots / f"same-patches-{scale}.png")
    placed = draw_patches(shown, 2, scale=scale, top_k=0).marks[0]
    png = np.asarray(placed.drawing.image()).astype(int)
    marks = shown.highlights(2, "picture", scale=scale)
    lined = []
    for token, (x0, y0, x1, y1) in enumerate(shown.geometry.boxes):
        # in the picture, left of the patch's middle, where its cross would be
        x, y = x0 + 0.3 * (x1 - x0), np.clip((y0 + y1) / 2, 5, 35)
        parts = []
        for image in (live, png):
            row, column = int((y + 10) / 60 * image.shape[0]), int(x / 120 * image.shape[1])
            reach = image.shape[1] // 80
            parts.append(image[row - reach : row + reach, column - reach : column + reach].reshape(-1, 3))
        below = scale == "log" and marks.values[token] < marks.limit / 100
        if below:
            lined.append(token)
            assert all(part.std(axis=0).max() > 2 for part in parts), token
        else:
            differs = np.abs(parts[0].mean(axis=0) - parts[1].mean(axis=0)).max()
            assert differs < 4, (token, differs)
    assert lined == ([9, 10, 11] if scale == "log" else [])
    # the one that nobody knows has a cross, which is darker than what is around it
    x0, y0, x1, y1 = shown.geometry.boxes[4]
    for image in (live, png):
        row, column = round((y0 + y1 + 20) / 120 * image.shape[0]), round((x0 + x1) / 240 * image.shape[1])
        middle = image[row - 3 : row + 3, column - 3 : column + 3]
        assert np.ptp(middle.mean(axis=2)) > 60


@pytest.fixture(scope="module")
def sharp(browser):
    """A page of two pixels for each CSS pixel, as the PNG has."""
    page = browser.new_page(device_scale_factor=2)
    yield page
    page.close()


@pytest.mark.parametrize("name", PICTURES)
def test_an_svg_in_the_browser_is_the_png(sharp, name, screenshots) -> None:
    drawing = PICTURES[name]()
    sharp.set_viewport_size({"width": drawing.width, "height": drawing.height})
    sharp.goto("data:image/svg+xml;base64," + base64.b64encode(drawing.svg().encode()).decode())
    data = sharp.screenshot(path=screenshots / f"svg-{name}.png")
    now = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    wanted = np.asarray(drawing.image()).astype(int)
    assert now.shape == wanted.shape
    different = np.abs(now - wanted).max(axis=2)
    for rows, columns in text_boxes(drawing):  # each has the letters of its own font, which may be wider
        different[rows, max(0, columns.start - 40) : columns.stop + 40] = 0
    print(f"{name}: mean {different.mean():.3f}, more than 32 in {(different > 32).mean():.5f} of the pixels")
    assert different.mean() < 0.5
    assert (different > 32).mean() < 0.004

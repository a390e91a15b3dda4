"""The patch grid in a browser and without a kernel: what it draws, and what pointer, fingers and keys do."""

from __future__ import annotations

import re

import numpy as np
import pytest
from anywidget import AnyWidget
from host import host, receive, serious_faults, settle
from playwright.sync_api import Page, expect

import mllm_widgets as mw
from mllm_widgets import colormaps
from mllm_widgets.render.patches import cover
from tests.families.tiny_llava import llava_next
from tests.patch_maps import patch_map

PATCHES_STATE = set(mw.PatchGrid.class_traits(sync=True)) - set(AnyWidget.class_traits(sync=True))


@pytest.fixture(scope="module")
def grid(vlm, question) -> mw.PatchGrid:
    """The demo model's 8 x 8 patches of 32 pixels, of which the first is a sink."""
    return mw.PatchGrid(patch_map(vlm, question, 8, sinks=(0,)), layer=3)


@pytest.fixture(scope="module")
def tiled(question) -> mw.PatchGrid:
    """A wide picture in a thumbnail of 4 x 4 and a grid of 8 x 12 that reaches over padding."""
    wide = mw.Question(
        question.image.resize((360, 220)), "Where was this old bridge built", constraint="this old bridge"
    )
    return mw.PatchGrid(patch_map(llava_next(most=6), wide, 32, sinks=(3, 20)))


def places(page: Page, widget: mw.PatchGrid) -> np.ndarray:
    """(visual tokens, 2) the middles of all patches on the page, from the geometry and the picture's own place."""
    image = page.locator(".mw-figure img").bounding_box()
    assert image is not None
    left, top, right, bottom = widget.patch_map.geometry.boxes.T
    middles = np.stack([left + right, top + bottom], axis=1) / 2
    return middles * image["width"] / widget.picture_size[0] + (image["x"], image["y"])


def place(page: Page, widget: mw.PatchGrid, token: int) -> tuple[float, float]:
    """The middle of a patch on the page."""
    x, y = places(page, widget)[token]
    return float(x), float(y)


def point_at(page: Page, widget: mw.PatchGrid, token: int) -> None:
    page.mouse.move(*place(page, widget, token))


def click(page: Page, widget: mw.PatchGrid, token: int, **more) -> None:
    page.mouse.click(*place(page, widget, token), **more)


def saved(page: Page) -> dict:
    """What was last sent to the kernel."""
    settle(page)
    return page.evaluate("window.widget.saved.filter((changes) => Object.keys(changes).length).at(-1)")


def inks(page: Page, widget: mw.PatchGrid, tokens: list[int]) -> list[list[int]]:
    """Colour and opacity (0..255) that lie over the picture in the middle of each patch."""
    canvas = page.locator(".mw-cells").bounding_box()
    middles = places(page, widget)[tokens]
    assert canvas is not None
    points = (middles - (canvas["x"], canvas["y"])).tolist()
    return page.evaluate(
        """(points) => {
          const canvas = document.querySelector(".mw-cells"), pen = canvas.getContext("2d");
          const scale = canvas.width / parseFloat(canvas.style.width);
          return points.map(([x, y]) => [...pen.getImageData(Math.round(x * scale), Math.round(y * scale), 1, 1).data]);
        }""",
        points,
    )


@pytest.mark.parametrize(("theme", "scale"), [("light", "linear"), ("dark", "log")])
def test_every_patch_has_the_colour_and_opacity_python_gives_it(page, tiled, theme, scale) -> None:
    host(page, tiled, dark=theme == "dark", changes={"scale": scale})
    marks = tiled.patch_map.highlights(tiled.layer, "picture", scale=scale)
    table = colormaps.strength_colors(theme)[colormaps.strength_index(marks.share)].astype(int)
    wanted = np.round(255 * cover(marks.share, 0.8)).astype(int)
    found = np.array(inks(page, tiled, list(marks.tokens)))
    clear = np.array([not _in_padding(tiled, token) for token in marks.tokens])
    clear &= marks.drawn | (scale == "linear")  # what is too small for a logarithmic scale is hatched
    assert clear.sum() > 70
    assert np.abs(found[clear, 3] - wanted[clear]).max() <= 1
    strong = clear & (wanted > 60)  # a canvas keeps colours multiplied by their opacity, and rounds weak ones
    assert strong.sum() > 20
    assert np.abs(found[strong, :3] - table[strong]).max() <= 3


def _in_padding(widget: mw.PatchGrid, token: int) -> bool:
    _, top, _, bottom = widget.patch_map.geometry.boxes[token]
    return (top + bottom) / 2 < 4 or (top + bottom) / 2 > widget.picture_size[1] - 4


@pytest.mark.parametrize("width", [400, 800])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_can_be_read_by_everybody(page, grid, tiled, screenshots, width, dark) -> None:
    for name, widget in (("demo", grid), ("tiled", tiled)):
        changes = {"warnings": ["2 of the 5 patches that write most at layer 3 are sinks."], "selected": [35, 36, 43]}
        host(page, widget, width=width, dark=dark, changes=changes)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_faults(page) == []
        expect(page.get_by_role("list", name="warnings")).to_contain_text("sinks")
        page.screenshot(path=screenshots / f"patches-{name}-{width}-{'dark' if dark else 'light'}.png", full_page=True)


def test_pointing_at_a_patch_says_where_it_is_and_what_it_holds(page, grid, screenshots) -> None:
    host(page, grid)
    point_at(page, grid, 19)  # row 2, column 3
    tooltip = page.get_by_role("tooltip")
    expect(tooltip).to_contain_text("patch 19, layer 3")
    expect(tooltip).to_contain_text("row 2, column 3")
    expect(tooltip).to_contain_text("x 96 to 128, y 64 to 96")
    marks = grid.patch_map.highlights(3, "picture")
    expect(tooltip).to_contain_text(f"rank{marks.rank[19]} of 64")
    expect(tooltip).to_contain_text(f"contribution{marks.values[19]:.3f}")
    expect(page.locator(".mw-grid")).to_have_accessible_description(re.compile("row 2, column 3"))
    page.screenshot(path=screenshots / "patches-tooltip.png", full_page=True)
    point_at(page, grid, 17)
    expect(tooltip).to_contain_text("row 2, column 1")
    box = tooltip.bounding_box()
    assert box is not None
    x, y = place(page, grid, 17)
    assert x < box["x"] < x + 60  # beside the patch
    assert box["y"] < y < box["y"] + box["height"]
    point_at(page, grid, 0)
    expect(tooltip).to_contain_text("Sink: takes attention from most words")
    page.mouse.move(790, 10)
    expect(tooltip).to_be_hidden()


def test_the_tooltip_stays_inside_a_narrow_page(page, grid) -> None:
    host(page, grid, width=400, height=1000)
    for token in (0, 7, 36, 56, 63):
        point_at(page, grid, token)
        box = page.get_by_role("tooltip").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 400


@pytest.mark.parametrize("width", [640, 800, 1100])
def test_the_tooltip_leaves_its_chart_and_its_patch_in_sight(page, grid, screenshots, width) -> None:
    host(page, grid, width=width)
    chart = page.locator(".mw-chart").bounding_box()
    assert chart is not None
    assert chart["x"] > place(page, grid, 7)[0]  # beside the picture
    for token in (0, 4, 7, 19, 30, 31, 39, 60, 63):
        point_at(page, grid, token)
        tooltip = page.get_by_role("tooltip")
        expect(tooltip).to_contain_text(f"patch {token},")
        box = tooltip.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert not covers(box, chart), token
        x, y = place(page, grid, token)
        assert not covers(box, {"x": x, "y": y, "width": 0, "height": 0}), token
    point_at(page, grid, 31)
    settle(page)
    page.screenshot(path=screenshots / f"patches-tooltip-{width}.png", full_page=True)


def covers(over: dict[str, float], under: dict[str, float]) -> bool:
    """Do two boxes on the page overlap?"""
    return all(
        over[start] < under[start] + under[size] and under[start] < over[start] + over[size]
        for start, size in (("x", "width"), ("y", "height"))
    )


def test_clicks_select_one_patch_and_with_a_key_more(page, grid) -> None:
    host(page, grid)
    click(page, grid, 19)
    assert saved(page) == {"selected": [19]}
    page.keyboard.down("Shift")
    click(page, grid, 8)
    assert saved(page) == {"selected": [8, 19]}
    click(page, grid, 19)
    assert saved(page) == {"selected": [8]}
    page.keyboard.up("Shift")
    click(page, grid, 30)
    assert saved(page) == {"selected": [30]}
    click(page, grid, 30)
    assert saved(page) == {"selected": []}


def test_dragging_selects_a_rectangle(page, grid, screenshots) -> None:
    host(page, grid)
    point_at(page, grid, 27)
    page.mouse.down()
    page.mouse.move(*place(page, grid, 36), steps=4)
    settle(page)
    page.screenshot(path=screenshots / "patches-drag.png", full_page=True)
    x, y = place(page, grid, 45)
    page.mouse.move(x + 5, y + 5)
    page.mouse.up()
    assert saved(page)["selected"] == [27, 28, 29, 35, 36, 37, 43, 44, 45]
    expect(page.locator(".mw-chart")).to_have_attribute("aria-label", re.compile("Mean of 9 selected patches"))
    page.keyboard.down("Control")
    x, y = place(page, grid, 0)
    page.mouse.move(x - 8, y - 8)
    page.mouse.down()
    page.mouse.move(x + 8, y + 8, steps=3)
    page.mouse.up()
    page.keyboard.up("Control")
    assert saved(page)["selected"][:2] == [0, 27]


def test_a_finger_taps_patches_together_and_still_scrolls_the_page(browser, grid) -> None:
    context = browser.new_context(has_touch=True)
    page = context.new_page()
    host(page, grid, width=400, height=500)
    for token in (19, 20):
        page.touchscreen.tap(*place(page, grid, token))
    assert saved(page) == {"selected": [19, 20]}
    fingers = context.new_cdp_session(page)
    x, start = place(page, grid, 27)
    for kind, y in [
        ("touchStart", start),
        *(("touchMove", start - way) for way in range(10, 150, 10)),
        ("touchEnd", None),
    ]:
        points = [] if y is None else [{"x": x, "y": y}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_timeout(200)
    assert page.evaluate("window.scrollY") > 50
    assert saved(page) == {"selected": [19, 20]}
    context.close()


def test_the_keyboard_does_all_of_it(page, grid, screenshots) -> None:
    host(page, grid)
    cell = page.locator("[role=gridcell]")
    page.locator(".mw-grid").focus()
    page.keyboard.press("Control+Home")
    expect(cell).to_contain_text("patch 0, layer 3, row 0, column 0, pixels x 0 to 32, y 0 to 32")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(cell).to_contain_text("patch 19, layer 3, row 2, column 3")
    expect(page.get_by_role("tooltip")).to_contain_text("row 2, column 3")
    page.keyboard.press("Enter")
    assert saved(page) == {"selected": [19]}
    expect(cell).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    assert saved(page) == {"selected": [19, 20, 27, 28]}
    page.screenshot(path=screenshots / "patches-keyboard.png", full_page=True)
    page.keyboard.press("PageDown")
    assert saved(page) == {"layer": 4}
    expect(cell).to_contain_text("layer 4")
    page.keyboard.press("t")
    assert saved(page) == {"selected": sorted(grid.patch_map.highlights(4, "picture", top_k=5).top.tolist())}
    page.keyboard.press("c")
    expect(page.locator(".mw-said")).to_have_text("Copied the values of 5 patches.")
    page.keyboard.press("Escape")
    assert saved(page) == {"selected": []}
    expect(page.get_by_role("tooltip")).to_be_hidden()
    page.keyboard.press("End")
    expect(cell).to_contain_text("column 7")


def test_the_layer_slider_needs_no_kernel(page, grid) -> None:
    host(page, grid)
    drawn = page.locator(".mw-map")
    before = inks(page, grid, [27, 63])
    slider = page.get_by_role("slider", name="layer")
    slider.focus()
    slider.press("ArrowRight")
    expect(drawn).to_have_attribute("data-drawn", re.compile("^layer 4:"))
    slider.fill("7")
    expect(drawn).to_have_attribute("data-drawn", re.compile("^layer 7:"))
    assert inks(page, grid, [27, 63]) != before
    assert saved(page) == {"layer": 7}
    page.locator(".mw-chart").click(position={"x": 60, "y": 100})
    expect(drawn).to_have_attribute("data-drawn", re.compile("^layer 0:"))
    expect(slider).to_have_value("0")


def test_the_other_controls_need_none_either(page, grid) -> None:
    host(page, grid)
    drawn = page.locator(".mw-map")
    marks = grid.patch_map.highlights(3, "picture", threshold=0.5)
    page.get_by_role("slider", name="only above").fill("0.5")
    expect(drawn).to_have_attribute("data-drawn", f"layer 3: {marks.drawn.sum()} of 64 patches, 5 outlined")
    page.get_by_role("spinbutton", name="outline top").fill("3")
    expect(drawn).to_have_attribute("data-drawn", re.compile("3 outlined"))
    page.get_by_role("radio", name="Log").check()
    log = grid.patch_map.highlights(3, "picture", threshold=0.5, scale="log")
    expect(drawn).to_have_attribute("data-drawn", f"layer 3: {log.drawn.sum()} of 64 patches, 3 outlined")
    page.get_by_label("Mask sinks").check()
    point_at(page, grid, 0)
    expect(page.get_by_role("tooltip")).to_contain_text("masked")
    assert inks(page, grid, [0])[0][3] == 255  # striped, and none of the picture to be seen
    page.get_by_role("slider", name="highlights").fill("0")
    settle(page)
    assert inks(page, grid, [60])[0][3] == 0
    assert page.locator(".mw-figure img").evaluate("i => [i.style.filter, i.style.opacity]") == ["grayscale(0)", "1"]


def test_a_tiled_picture_shows_each_of_its_views(page, tiled, screenshots) -> None:
    host(page, tiled, width=900)
    drawn = page.locator(".mw-map")
    expect(drawn).to_have_attribute("data-drawn", re.compile("of 96 patches"))
    expect(page.locator(".mw-caption")).to_contain_text("padding")
    token = int(tiled.patch_map.geometry.grids[1].tokens[0, 5])
    x, y = place(page, tiled, token)
    page.mouse.move(x, y + 8)
    expect(page.get_by_role("tooltip")).to_contain_text("Reaches beyond the picture")
    page.get_by_role("radio", name="Thumbnail").check()
    expect(drawn).to_have_attribute("data-drawn", re.compile("of 16 patches"))
    assert saved(page) == {"grid": "thumbnail"}
    point_at(page, tiled, 5)
    expect(page.get_by_role("tooltip")).to_contain_text("patch 5")
    expect(page.get_by_role("tooltip")).to_contain_text("x 90 to 180, y 55 to 110")
    page.screenshot(path=screenshots / "patches-thumbnail.png", full_page=True)


def test_what_the_kernel_sets_is_drawn(page, grid) -> None:
    host(page, grid)
    receive(page, layer=6, selected=[10, 11])
    expect(page.locator(".mw-map")).to_have_attribute("data-drawn", re.compile("^layer 6:"))
    expect(page.get_by_role("slider", name="layer")).to_have_value("6")
    expect(page.locator(".mw-chart")).to_have_attribute("aria-label", re.compile("Mean of 2 selected"))


def test_another_question_takes_the_place_of_the_one_on_show(page, grid, tiled) -> None:
    host(page, grid)
    click(page, grid, 19)
    other = {**tiled.get_state(), "selected": [], "warnings": ["a blank picture gives the same map"]}
    receive(page, **{name: value for name, value in other.items() if name in PATCHES_STATE})
    expect(page.locator(".mw-patches")).to_have_count(1)
    expect(page.locator(".mw-question")).to_have_text(tiled.question)
    expect(page.get_by_role("list", name="warnings")).to_contain_text("blank")
    expect(page.locator(".mw-map")).to_have_attribute("data-drawn", re.compile("^layer 20: .* of 96 patches"))
    expect(page.get_by_role("radio", name="Thumbnail")).to_be_visible()
    click(page, tiled, 60)
    assert saved(page) == {"selected": [60]}
    page.get_by_role("slider", name="layer").fill("31")
    expect(page.locator(".mw-map")).to_have_attribute("data-drawn", re.compile("^layer 31:"))


def test_a_removed_view_leaves_nothing_running(page, grid) -> None:
    host(page, grid)
    page.evaluate("window.widget.abort.abort()")
    before = page.locator(".mw-cells").evaluate("c => c.toDataURL()")
    receive(page, layer=6)
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_timeout(200)
    assert page.locator(".mw-cells").evaluate("c => c.toDataURL()") == before
    image = page.locator(".mw-figure img")
    assert image.evaluate("(i) => fetch(i.src).then(() => 'still there', () => 'gone')") == "gone"

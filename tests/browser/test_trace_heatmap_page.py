"""How the map looks in every state, theme and width: without Jupyter, so that each state can be put up at once."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from host import host, receive, serious_faults, settle
from playwright.sync_api import Page, expect

import mllm_widgets as mw
from mllm_widgets import colormaps
from mllm_widgets.widgets import wire

LONG = (
    "I am on a trip with my friends and we took many pictures, and we like this one best of all the pictures that we took on the way; "
    "here is a quick question for you, think about what you can see here and then give a short answer: what is the city of this building, "
    "which we walked to in the fine weather of that day with my sister and her friends?"
)


@pytest.fixture(scope="module")
def heatmap(trace):
    return mw.TraceHeatmap(trace)


def pixel(page: Page, row: int, layer: int) -> tuple[int, ...]:
    """The colour in the middle of a cell, found from the canvas's own size and the number of rows and layers."""
    return tuple(
        page.evaluate(
            """([row, layer]) => {
              const canvas = document.querySelector(".mw-cells"), grid = document.querySelector(".mw-grid");
              const rows = Number(grid.getAttribute("aria-rowcount")), layers = Number(grid.getAttribute("aria-colcount"));
              const scale = canvas.width / parseFloat(canvas.style.width);
              const height = (parseFloat(canvas.style.height) - 40) / rows;
              // the cells end at the right edge
              const width = Number(canvas.dataset.cellWidth), left = parseFloat(canvas.style.width) - 1 - width * layers;
              const x = (left + (layer + 0.5) * width) * scale, y = (2 + (row + 0.5) * height) * scale;
              return [...canvas.getContext("2d").getImageData(Math.round(x), Math.round(y), 1, 1).data].slice(0, 3);
            }""",
            [row, layer],
        )
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("module", ["mlp", "self_attn"])
def test_every_cell_has_the_colour_python_gives_it(page, heatmap, theme, module) -> None:
    host(page, heatmap, dark=theme == "dark", changes={"module": module})
    effect = wire.array(heatmap.values)[heatmap._modules.index(module)] - heatmap.corrupted
    table = colormaps.effect_colors(module, theme)
    wrong = [
        (row["label"], layer)
        for index, row in enumerate(heatmap.rows)
        if row["traced"]
        for layer in range(heatmap.layers)
        if pixel(page, index, layer) != tuple(table[colormaps.color_index(effect[layer, row["column"]], heatmap.limit)])
    ]
    assert not wrong


@pytest.mark.parametrize("width", [350, 400, 800, 1300])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_can_be_read_by_everybody(page, heatmap, screenshots, width, dark) -> None:
    host(page, heatmap, width=width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert serious_faults(page) == []
    page.screenshot(path=screenshots / f"page-{width}-{'dark' if dark else 'light'}.png", full_page=True)


def test_a_tooltip_never_leaves_the_widget(page, heatmap, screenshots) -> None:
    host(page, heatmap, width=400)
    grid = page.locator(".mw-grid").bounding_box()
    assert grid is not None
    for x in (0.45, 0.7, 0.98):
        for y in (0.02, 0.5, 0.85):
            page.mouse.move(grid["x"] + x * grid["width"], grid["y"] + y * grid["height"])
            tooltip = page.get_by_role("tooltip")
            expect(tooltip).to_be_visible()
            box = tooltip.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 400
            assert box["y"] >= 0
    page.screenshot(path=screenshots / "page-tooltip.png", full_page=True)


@pytest.fixture
def wide(heatmap) -> dict[str, Any]:
    """Traits of a map that is wider than its page: 80 layers."""
    values = wire.array(heatmap.values)
    many = np.resize(values, (values.shape[0], 80, values.shape[2]))
    return {
        "layers": 80,
        "values": wire.tensor(many),
        "fresh": wire.tensor(np.ones(many.shape, dtype=np.uint8)),
    }


@pytest.mark.parametrize("dark", [False, True])
def test_labels_stay_while_a_wide_map_scrolls_under_them(page, heatmap, wide, screenshots, dark) -> None:
    host(page, heatmap, width=400, dark=dark, changes=wide)
    scroller, labels = page.locator(".mw-scroller"), page.locator(".mw-labels")
    before, ink = labels.bounding_box(), labels.evaluate("c => c.toDataURL()")
    scroller.evaluate("e => e.scrollLeft = 200")
    settle(page)
    assert labels.bounding_box() == before
    assert labels.evaluate("c => c.toDataURL()") == ink
    box = scroller.bounding_box()
    assert before is not None
    assert box is not None
    # a cell that has gone under the labels cannot be pointed at there; beside them the cell in sight is meant
    page.mouse.move(before["x"] + before["width"] - 5, box["y"] + 250)
    expect(page.get_by_role("tooltip")).to_be_hidden()
    page.mouse.move(before["x"] + before["width"] + 12, box["y"] + 250)
    expect(page.get_by_role("tooltip")).to_contain_text(f"layer {(200 + 10) // 7}")
    page.screenshot(path=screenshots / f"page-wide-{'dark' if dark else 'light'}.png", full_page=True)


def test_a_finger_scrolls_a_wide_map_sideways(browser, heatmap, wide) -> None:
    context = browser.new_context(has_touch=True)
    page = context.new_page()
    host(page, heatmap, width=400, changes=wide)
    box = page.locator(".mw-grid").bounding_box()
    assert box is not None
    fingers = context.new_cdp_session(page)
    for kind, x in [("touchStart", 300), *(("touchMove", x) for x in range(290, 120, -10)), ("touchEnd", None)]:
        points = [] if x is None else [{"x": x, "y": box["y"] + 100}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_timeout(200)
    assert page.locator(".mw-scroller").evaluate("e => e.scrollLeft") > 100
    context.close()


def test_the_tooltip_describes_the_map_while_it_shows(page, heatmap) -> None:
    host(page, heatmap)
    grid = page.locator(".mw-grid")
    assert grid.get_attribute("aria-describedby") is None
    grid.focus()
    page.keyboard.press("ArrowRight")
    expect(grid).to_have_accessible_description(re.compile(r"^layer 1.*indirect effect"))
    page.keyboard.press("Escape")
    expect(grid).not_to_have_attribute("aria-describedby", re.compile("."))


def test_copying_works_on_a_page_without_the_clipboard_api(page, heatmap, screenshots) -> None:
    host(page, heatmap)
    assert page.evaluate("navigator.clipboard === undefined")  # as on every page that comes over http
    page.evaluate("document.body.append(document.createElement('textarea'))")
    page.locator(".mw-grid").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("c")
    said = page.locator(".mw-said")
    expect(said).to_contain_text("Copied ")
    page.screenshot(path=screenshots / "page-copied.png", full_page=True)
    copied = said.inner_text().removeprefix("Copied ").removesuffix(".")
    page.locator("textarea").focus()
    page.keyboard.press("Control+V")
    assert page.locator("textarea").input_value() == copied
    row = max(i for i, row in enumerate(heatmap.rows) if row["constraint"])
    value = wire.array(heatmap.values)[0, 1, heatmap.rows[row]["column"]] - heatmap.corrupted
    assert float(copied) == pytest.approx(value, abs=1e-7)


def test_where_copying_is_forbidden_it_says_so_and_gives_the_value(page, heatmap, screenshots) -> None:
    host(page, heatmap)
    page.evaluate("document.execCommand = () => false")
    page.locator(".mw-grid").focus()
    page.keyboard.press("c")
    expect(page.locator(".mw-said")).to_contain_text("does not let this page copy. The value is ")
    page.keyboard.press("Control+Home")
    expect(page.locator(".mw-said")).to_be_empty()
    page.keyboard.press("c")
    expect(page.locator(".mw-said")).to_have_text("There is no value here to copy.")
    page.screenshot(path=screenshots / "page-not-copied.png", full_page=True)


def test_the_keyboard_keeps_its_cell_in_sight(page, heatmap, wide) -> None:
    host(page, heatmap, width=400, changes=wide)
    where = "e => [e.scrollLeft, e.scrollLeft + e.clientWidth - e.scrollWidth]"
    page.locator(".mw-grid").focus()
    page.keyboard.press("End")
    left, beyond = page.locator(".mw-scroller").evaluate(where)
    assert left > 200
    assert beyond == 0
    page.keyboard.press("ArrowLeft")
    assert page.locator(".mw-scroller").evaluate(where)[0] == left  # still in sight
    page.keyboard.press("Home")
    assert page.locator(".mw-scroller").evaluate(where)[0] == 0


def test_while_cells_come_in_the_old_ones_are_dim(page, heatmap, screenshots) -> None:
    host(page, heatmap, width=800)
    page.locator("input[type=range]").fill("3")
    settle(page)
    assert page.evaluate("window.widget.saved.at(-1)") == {"window": 3}
    dimmed = pixel(page, 12, 1)
    fresh = np.zeros(heatmap.fresh["shape"], dtype=np.uint8)
    fresh[:, :2] = 1
    receive(page, computing=3, state="running", progress=0.4, fresh=wire.tensor(fresh))
    assert pixel(page, 12, 1) != dimmed
    page.wait_for_timeout(300)
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.4")
    page.screenshot(path=screenshots / "page-running.png", full_page=True)
    page.get_by_role("button", name="Cancel").click()
    assert page.evaluate("window.widget.saved.at(-1)") == {"cancel": 1}


def test_a_silent_kernel_is_said_to_be_silent(browser, heatmap, screenshots) -> None:
    page = browser.new_page()
    page.clock.install()
    host(page, heatmap)
    page.locator("input[type=range]").fill("5")
    page.clock.run_for(2000)
    expect(page.get_by_role("status")).to_have_text("asking the kernel")
    page.clock.run_for(1000)
    expect(page.get_by_role("status")).to_contain_text("re-run the notebook")
    page.screenshot(path=screenshots / "page-no-kernel.png", full_page=True)
    page.close()


def test_an_error_is_a_sentence_in_the_widget(page, heatmap, screenshots) -> None:
    host(
        page,
        heatmap,
        changes={"state": "error", "message": "window 3 could not be computed: OutOfMemoryError: CUDA out of memory"},
    )
    expect(page.get_by_role("status")).to_contain_text("out of memory")
    assert serious_faults(page) == []
    page.screenshot(path=screenshots / "page-error.png", full_page=True)


def test_an_empty_map_says_that_nothing_is_known_yet(page, vlm, question, screenshots) -> None:
    widget = mw.TraceHeatmap(mw.tracing.prepare_trace(vlm, question, corruption="Taj Mahal"))
    widget.wait(60)
    values = np.full(widget.values["shape"], np.nan, dtype=np.float32)
    empty = {"values": wire.tensor(values), "fresh": wire.tensor(np.zeros(values.shape, dtype=np.uint8))}
    host(page, widget, changes={"shown": 0, "computing": 1, "state": "running", **empty})
    grid = page.locator(".mw-grid").bounding_box()
    assert grid is not None
    page.mouse.move(grid["x"] + grid["width"] - 20, grid["y"] + grid["height"] - 60)
    expect(page.get_by_role("tooltip")).to_contain_text("not known yet")
    page.screenshot(path=screenshots / "page-empty.png", full_page=True)


def test_sixty_tokens_stay_readable(page, vlm, question, screenshots) -> None:
    long = mw.Question(question.image, LONG, constraint="this building")
    trace = mw.causal_trace(vlm, long, corruption="Taj Mahal")
    assert sum(row.count for row in trace.rows if row.kind == "text") >= 60
    heatmap = mw.TraceHeatmap(trace)
    host(page, heatmap, width=900, height=1300)
    assert sum(row["count"] for row in heatmap.rows) == len(trace.input_ids)
    peak = int(np.argmax([row["constraint"] for row in heatmap.rows])) + 1  # "building"
    assert pixel(page, peak, 1) == tuple(colormaps.effect_colors("mlp")[255])
    page.screenshot(path=screenshots / "page-60-tokens.png", full_page=True)
    assert page.locator(".mw-map").bounding_box()["height"] < 900


def test_warnings_stand_above_the_map(page, vlm, screenshots) -> None:
    question = mw.datasets.demo_question("Eiffel Tower", "continent")
    weak = mw.TraceHeatmap(mw.causal_trace(vlm, question, corruption="Big Ben"))
    host(page, weak)
    expect(page.get_by_role("list", name="warnings")).to_contain_text("unchanged")
    page.screenshot(path=screenshots / "page-warning.png", full_page=True)


def test_tokens_are_text_and_never_markup(page, vlm, question) -> None:
    text = "What is the city of this building <img src=x onerror=alert(1)>?"
    trace = mw.causal_trace(vlm, mw.Question(question.image, text, constraint="this building"), corruption="Taj Mahal")
    host(page, mw.TraceHeatmap(trace))
    expect(page.locator(".mw-question")).to_have_text(text)
    assert page.locator(".mw-heatmap img").count() == 0


def test_a_removed_view_leaves_nothing_running(page, heatmap) -> None:
    host(page, heatmap)
    page.evaluate("window.widget.abort.abort()")
    before = page.locator(".mw-cells").evaluate("c => c.toDataURL()")
    receive(page, window=3, module="self_attn")
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_timeout(200)
    assert page.locator(".mw-cells").evaluate("c => c.toDataURL()") == before


@pytest.mark.parametrize(
    ("arguments", "heading", "line"),
    [
        ({"target": "Paris"}, "Paris  log P", "log P(Paris)"),
        ({"score": "logit-difference", "contrast": "Agra"}, "Paris  logit difference", "logit difference"),
        (
            {"corruption": mw.tracing.PixelNoise(draws=1), "groups": "visual"},
            "with noise on the picture (sigma 0.5, 1 draw)",
            "P(Paris)",
        ),
    ],
    ids=["log-probability", "logit difference", "corrupted picture"],
)
def test_other_scores_and_corruptions_are_named_where_they_are_read(
    page, vlm, question, screenshots, arguments, heading, line
) -> None:
    trace = mw.causal_trace(vlm, question, **{"corruption": "Taj Mahal", **arguments})
    heatmap = mw.TraceHeatmap(trace)
    host(page, heatmap)
    expect(page.locator("header")).to_contain_text(heading)
    box = page.locator(".mw-cells").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] - 50)  # the last token
    expect(page.get_by_role("tooltip")).to_contain_text(line)
    page.screenshot(path=screenshots / f"page-{line.split('(')[0].replace(' ', '-')}-{heading[:4]}.png", full_page=True)


# --- without a kernel ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frozen(setup):
    made = mw.TraceHeatmap(mw.tracing.run_trace(setup))
    made.freeze(windows=[1, 2, 3, 5, 8])
    return made


def move_to(page: Page, window: int) -> None:
    page.get_by_role("slider", name="window").fill(str(window))
    settle(page)


def shows(page: Page, heatmap, window: int, module: str = "mlp", atol: float = 0) -> None:
    """Every cell has the colour of this window's map."""
    known = heatmap._maps.get(window)
    effect = known.restored.values[heatmap._modules.index(module)] - heatmap.corrupted
    limit = colormaps.effect_limit(known.restored.values - heatmap.corrupted, known.total_effect)
    table = colormaps.effect_colors(module, "light")
    for index, row in enumerate(heatmap.rows):
        for layer in range(heatmap.layers if row["traced"] else 0):
            value = effect[layer, row["column"]]
            near = {tuple(table[colormaps.color_index(value + off, limit)]) for off in (-atol, 0, atol)}
            assert pixel(page, index, layer) in near, (window, row["label"], layer)


def test_a_frozen_window_needs_no_kernel_and_others_say_that_they_do(page, frozen, screenshots) -> None:
    host(page, frozen, changes={"offline": True})
    status = page.locator(".mw-status")
    for window in (3, 8, 2, 1):
        move_to(page, window)
        expect(page.locator(".mw-map")).to_have_attribute("data-drawn", re.compile(f"^window {window}: .*, complete$"))
        shows(page, frozen, window)
        expect(status).not_to_contain_text("notebook")
    move_to(page, 4)
    expect(status).to_contain_text("Run the notebook to compute this.")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(page.locator(".mw-map")).to_have_attribute("data-drawn", re.compile("^window 4: 0 cells$"))
    page.mouse.move(500, 400)
    expect(page.get_by_role("tooltip")).to_contain_text("still of window 1")
    marks = page.locator("datalist option").evaluate_all("options => options.map(o => Number(o.value))")
    assert marks == [1, 2, 3, 5, 8]
    page.screenshot(path=screenshots / "page-frozen-lacking.png", full_page=True)
    assert serious_faults(page) == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 800])
def test_the_slider_shows_where_the_frozen_windows_are(page, frozen, screenshots, dark, width) -> None:
    host(page, frozen, width=width, dark=dark, changes={"offline": True})
    move_to(page, 5)
    slider = page.get_by_role("slider", name="window")
    expect(slider).to_have_attribute("title", re.compile("Marked windows"))
    page.screenshot(path=screenshots / f"page-frozen-{width}-{'dark' if dark else 'light'}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_frozen_window_is_there_at_once_while_the_kernel_is_busy(page, frozen) -> None:
    host(page, frozen)
    move_to(page, 5)
    expect(page.locator(".mw-map")).to_have_attribute("data-drawn", re.compile("^window 5: .*, complete$"))
    shows(page, frozen, 5)
    assert page.evaluate("window.widget.saved.at(-1)") == {"window": 5}, "the kernel hears of it all the same"
    page.wait_for_timeout(400)
    expect(page.locator(".mw-status progress")).to_be_hidden()


def test_what_is_stored_in_fewer_bits_says_so(page, frozen) -> None:
    rounded = {**frozen.maps, "values": wire.tensor(wire.array(frozen.maps["values"]), "uint8")}
    host(page, frozen, changes={"offline": True, "maps": rounded})
    move_to(page, 3)
    shows(page, frozen, 3, atol=2.1e-3)
    page.mouse.move(500, 400)
    expect(page.get_by_role("tooltip")).to_contain_text("stored in 8 bits")
    move_to(page, 1)  # on show as it was computed
    page.mouse.move(501, 401)
    expect(page.get_by_role("tooltip")).not_to_contain_text("bits")
    receive(page, maps={**frozen.maps, "values": wire.tensor(wire.array(frozen.maps["values"]), "float16")})
    move_to(page, 3)
    page.mouse.move(500, 400)
    expect(page.get_by_role("tooltip")).to_contain_text("stored in 16 bits")


def test_a_map_that_has_lost_its_model_still_turns_to_what_it_holds(page, frozen) -> None:
    host(page, frozen, changes={"live": False})
    move_to(page, 8)
    shows(page, frozen, 8)
    move_to(page, 7)
    expect(page.locator(".mw-status")).to_contain_text("trace again")


def test_windows_that_are_computed_aside_are_said(page, frozen, screenshots) -> None:
    host(page, frozen, changes={"state": "running", "message": "computing window 6, 2 of 3", "progress": 0.4})
    expect(page.locator(".mw-status")).to_contain_text("computing window 6, 2 of 3")
    expect(page.locator(".mw-status progress")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    page.screenshot(path=screenshots / "page-freezing.png", full_page=True)


@pytest.fixture
def mixed(heatmap) -> dict:
    """As it is while window 5 is computed, and in a notebook that was saved meanwhile: every second token is of it, the others of window 1."""
    values = wire.array(heatmap.values)
    fresh = np.zeros(values.shape, dtype=np.uint8)
    values[:, :, ::2], fresh[:, :, ::2] = 0.123, 1
    sent = {"values": wire.tensor(values), "fresh": wire.tensor(fresh)}
    return {**sent, "maps": {}, "window": 5, "computing": 5, "state": "running", "offline": True}


def test_cells_of_two_windows_are_never_called_one_map(page, heatmap, mixed, screenshots) -> None:
    host(page, heatmap, changes=mixed)
    move_to(page, 1)
    cells = sum(row["traced"] for row in heatmap.rows) * heatmap.layers
    kept = cells // heatmap.layers // 2 * heatmap.layers  # of window 1
    expect(page.locator(".mw-map")).to_have_attribute("data-drawn", f"window 1: {kept} cells")
    expect(page.locator(".mw-status")).to_contain_text("Run the notebook to compute this.")
    page.screenshot(path=screenshots / "page-two-windows.png", full_page=True)
    grid, notes = page.get_by_role("grid"), []
    first = next(index for index, row in enumerate(heatmap.rows) if row["traced"])
    grid.focus()
    grid.press("Control+Home")
    for _ in range(first):
        grid.press("ArrowDown")
    for _ in range(2):
        settle(page)
        notes.append(page.get_by_role("tooltip").inner_text())
        grid.press("ArrowDown")
    assert "still of window 5" in notes[0]
    assert "still of" not in notes[1]
    page.get_by_role("button", name="Export").click()
    page.get_by_role("menuitem", name="CSV").click()
    expect(page.locator(".mw-told")).to_have_text(
        re.compile("Only a part of window 5 is computed.*when it is complete")
    )
    page.get_by_role("button", name="Data table").click()
    expect(page.locator(".mw-data tbody tr").nth(first)).to_contain_text("–")
    expect(page.locator(".mw-data tbody tr").nth(first + 1)).not_to_contain_text("–")
    known = wire.tensor(np.stack([wire.array(heatmap.values)] * 2))
    receive(page, maps={"windows": [1, 2], "values": known, "limits": [heatmap.limit] * 2})
    expect(page.locator(".mw-map")).to_have_attribute("data-drawn", f"window 1: {cells} cells, complete")
    shows(page, heatmap, 1)


@pytest.fixture
def tall(heatmap) -> dict:
    """The same question with 900 tokens, one of them in the constraint."""
    tokens = 900
    values = np.random.default_rng(0).random((2, 8, tokens), dtype=np.float32)
    row = {"count": 1, "visual": False, "traced": True, "reason": "", "id": 0}
    rows = [{**row, "label": f"·word{i}", "position": i, "column": i, "constraint": i == 600} for i in range(tokens)]
    fresh = np.ones(values.shape, dtype=np.uint8)
    return {"rows": rows, "layers": 8, "values": wire.tensor(values), "fresh": wire.tensor(fresh), "maps": {}}


@pytest.mark.parametrize("dark", [False, True])
def test_a_tall_map_scrolls_under_its_layer_numbers(page, heatmap, tall, screenshots, dark) -> None:
    host(page, heatmap, width=800, height=900, dark=dark, changes=tall)
    scroller, canvas, grid = (page.locator(name) for name in (".mw-scroller", ".mw-cells", ".mw-grid"))
    # it opens at the constraint, and the canvas is as high as what is in sight
    assert 600 * 15 - 720 < scroller.evaluate("e => e.scrollTop") < 600 * 15
    assert canvas.evaluate("c => c.clientHeight") == 720
    page.screenshot(path=screenshots / f"page-tall-{'dark' if dark else 'light'}.png", full_page=True)
    box, at = scroller.bounding_box(), canvas.bounding_box()
    assert box is not None
    assert at is not None
    assert at["y"] == pytest.approx(box["y"], abs=1)  # it stays in sight
    # what the pointer is at is what the tooltip says
    scroller.evaluate("e => e.scrollTop = 3000")
    settle(page)
    left = at["x"] + at["width"] - 10
    page.mouse.move(left, box["y"] + 100)
    expect(page.get_by_role("tooltip")).to_contain_text(f"·word{(3000 + 100 - 2) // 15}")
    page.mouse.move(left, box["y"] + 710)  # on the layer numbers
    expect(page.get_by_role("tooltip")).to_be_hidden()
    # the keyboard keeps its cell in sight
    grid.focus()
    page.keyboard.press("Control+End")
    expect(page.get_by_role("gridcell")).to_contain_text("word899")
    assert scroller.evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight") == pytest.approx(0, abs=1)
    expect(page.get_by_role("tooltip")).to_contain_text("word899")
    page.keyboard.press("Control+Home")
    assert scroller.evaluate("e => e.scrollTop") == 0


def test_a_tall_map_shows_the_colours_of_its_rows(page, heatmap, tall) -> None:
    """Whatever is scrolled into sight is drawn as the whole map would be."""
    host(page, heatmap, width=800, height=900, changes=tall)
    scroller = page.locator(".mw-scroller")
    values = wire.array(tall["values"])[0] - heatmap.corrupted
    table = np.frombuffer(heatmap.colors["mlp"]["light"], dtype=np.uint8).reshape(256, 3)
    for top in (0, 4507, 900 * 15 + 40 - 720):
        scroller.evaluate("(e, top) => { e.scrollTop = top; }", top)
        settle(page)
        row = (top + 300 - 2) // 15
        drawn = page.evaluate(
            """([row, top]) => {
              const canvas = document.querySelector(".mw-cells"), width = Number(canvas.dataset.cellWidth);
              const left = parseFloat(canvas.style.width) - 1 - width * 8, y = 2 + (row + 0.5) * 15 - top;
              const pen = canvas.getContext("2d");
              return [...Array(8).keys()].map((layer) => [...pen.getImageData(left + (layer + 0.3) * width, y, 1, 1).data.slice(0, 3)]);
            }""",
            [row, top],
        )
        expected = table[colormaps.color_index(values[:, row], heatmap.limit)]
        np.testing.assert_array_equal(drawn, expected)

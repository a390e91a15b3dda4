"""The toolbar of the widgets, without a kernel: what its exports hold, its menu, its table, its help, and where saving is forbidden."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from host import host, put, receive, serious_faults, settle
from PIL import Image
from playwright.sync_api import Page, expect

import mllm_widgets as mw
from mllm_widgets import colormaps
from mllm_widgets.provenance import Provenance
from mllm_widgets.widgets import wire
from mllm_widgets.widgets.edit_panel.probes import demo_probes
from tests.patch_maps import patch_map

SVG = "{http://www.w3.org/2000/svg}"
PROVENANCE = {
    "model": "demo",
    "revision": "sha256:0",
    "question": "Où? 在哪里\nline",
    "window": 1,
    "versions": {"torch": "2"},
}


@pytest.fixture(scope="module")
def heatmap(trace) -> mw.TraceHeatmap:
    return mw.TraceHeatmap(trace)


@pytest.fixture(scope="module")
def grid(vlm, question) -> mw.PatchGrid:
    return mw.PatchGrid(patch_map(vlm, question, 8, sinks=(0,)), layer=3)


@pytest.fixture(scope="module")
def panel(vlm, question) -> Any:
    kinds = {probe.kind: probe.question for probe in demo_probes(question)}
    panel = mw.EditPanel(
        vlm, question, steps=12, probes={"paraphrases": [kinds["paraphrase"]], "unrelated": [kinds["unrelated"]]}
    )
    panel.make("Seattle")
    assert panel.wait(120), panel.error
    yield panel
    panel.close()


def exported(page: Page, kind: str) -> tuple[bytes, str]:
    """What the Export menu gives, and what the file is called."""
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as saved:
        page.get_by_role("menuitem", name=kind).click()
    return Path(saved.value.path()).read_bytes(), saved.value.suggested_filename


def effects(heatmap: mw.TraceHeatmap, module: str = "mlp") -> list[tuple[int, int, float]]:
    """(row, layer, effect) of every traced cell, computed here."""
    values = wire.array(heatmap.values)[heatmap._modules.index(module)].astype(np.float64) - heatmap.corrupted
    return [
        (index, layer, float(values[layer, row["column"]]))
        for index, row in enumerate(heatmap.rows)
        if row["traced"]
        for layer in range(heatmap.layers)
    ]


@pytest.mark.parametrize("dark", [False, True])
def test_a_png_is_the_map_at_two_pixels_each_in_light_colours(page, heatmap, screenshots, dark) -> None:
    host(page, heatmap, dark=dark, changes={"provenance": PROVENANCE})
    cells = page.locator(".mw-cells")
    data, name = exported(page, "PNG")
    (screenshots / f"tools-{'dark' if dark else 'light'}.png").write_bytes(data)
    assert name == "trace-what-is-the-city-of-this-building-window-1.png"
    picture = Image.open(io.BytesIO(data))
    picture.load()
    assert picture.size[0] == 2 * 800
    assert json.loads(picture.info["provenance"]) == PROVENANCE
    pixels = np.array(picture.convert("RGB"))
    assert (pixels[:4] == 255).all()
    table = colormaps.effect_colors("mlp", "light")
    strong = [(row, layer, e) for row, layer, e in effects(heatmap) if abs(e) > 0.1]
    assert strong
    # the cells of the picture are as large as those on the page, twice over: found by their colour, then told by their distance
    width = 2 * float(cells.get_attribute("data-cell-width") or 0)
    for row, layer, effect in strong:
        color = table[colormaps.color_index(np.array(effect), heatmap.limit)]
        found = np.argwhere((pixels == color).all(axis=-1))
        assert len(found) >= 0.9 * (width - 4) * 36, (row, layer)
    assert page.locator(".mw-print").count() == 0


def test_an_svg_has_a_rectangle_for_each_cell_and_text_as_text(page, heatmap) -> None:
    host(page, heatmap, changes={"provenance": PROVENANCE})
    data, name = exported(page, "SVG")
    assert name.endswith(".svg")
    tree = ElementTree.fromstring(data)
    metadata = tree.find(f"{SVG}metadata")
    assert metadata is not None
    assert json.loads(metadata.text or "") == PROVENANCE
    texts = ["".join(text.itertext()) for text in tree.iter(f"{SVG}text")]
    for row in heatmap.rows:
        assert row["label"] in texts
    assert "this building" in texts
    assert {str(layer) for layer in range(heatmap.layers)} <= set(texts)
    fills = [rect.get("fill") for rect in tree.iter(f"{SVG}rect")]
    table = colormaps.effect_colors("mlp", "light")
    for _, _, effect in effects(heatmap):
        r, g, b = table[colormaps.color_index(np.array(effect), heatmap.limit)]
        fills.remove(f"rgb({r} {g} {b})")  # one each
    for element in tree.iter():
        assert element.tag not in (f"{SVG}script", f"{SVG}foreignObject")
        assert not any(name.startswith("on") for name in element.attrib)


def test_an_svg_of_too_many_cells_is_refused_with_a_reason(page, heatmap) -> None:
    values = np.zeros((len(heatmap.modules), 2000, wire.array(heatmap.values).shape[2]), dtype=np.float32)
    fresh = np.ones(values.shape, dtype=np.uint8)
    host(page, heatmap, changes={"layers": 2000, "values": wire.tensor(values), "fresh": wire.tensor(fresh)})
    page.get_by_role("button", name="Export").click()
    page.get_by_role("menuitem", name="SVG").click()
    expect(page.locator(".mw-told")).to_contain_text(
        re.compile(r"An SVG of \d+ cells would be too large.*PNG draws them all")
    )


def test_a_png_of_very_many_tokens_is_as_sharp_as_a_browser_allows(page, heatmap) -> None:
    row = next(row for row in heatmap.rows if row["traced"])
    rows = [{**row, "position": i, "label": str(i)} for i in range(2880)]
    host(page, heatmap, changes={"rows": rows})
    data, _ = exported(page, "PNG")
    width, height = Image.open(io.BytesIO(data)).size
    assert 31_000 < height <= 32_000
    assert width > 560


def rows_of(data: bytes) -> tuple[dict[str, str], list[list[str]]]:
    """The comments of a CSV file and its lines."""
    lines = data.decode().splitlines(keepends=True)
    count = next(i for i, line in enumerate(lines) if not line.startswith("# "))
    comments = dict(line[2:].strip().split(": ", 1) for line in lines[:count])
    return comments, list(csv.reader(io.StringIO("".join(lines[count:]))))


def test_a_csv_reads_back_to_the_values(page, heatmap) -> None:
    host(page, heatmap, changes={"provenance": PROVENANCE, "module": "self_attn"})
    data, name = exported(page, "CSV")
    assert name.endswith(".csv")
    comments, (head, *lines) = rows_of(data)
    assert comments["model"] == "demo"
    assert comments["question"] == "Où? 在哪里 line"
    assert json.loads(comments["versions"]) == {"torch": "2"}
    assert "Self-attention" in comments["shown"]
    assert head == ["token", "position", *(f"layer {layer}" for layer in range(heatmap.layers))]
    assert [line[0] for line in lines] == [row["label"] for row in heatmap.rows]
    for row, layer, effect in effects(heatmap, "self_attn"):
        assert float(lines[row][2 + layer]) == effect
    assert all(
        cell == "" for row, line in zip(heatmap.rows, lines, strict=True) if not row["traced"] for cell in line[2:]
    )


def test_no_text_of_a_csv_is_a_formula(page, heatmap) -> None:
    hostile = ["=1+1", "+a", "-b", "@c", '"x",\n#', "·=1", "\t=2"]
    rows = [{**row, "label": hostile[i % len(hostile)]} for i, row in enumerate(heatmap.rows)]
    host(page, heatmap, changes={"rows": rows})
    _, (_, *lines) = rows_of(exported(page, "CSV")[0])
    guarded = ["'=1+1", "'+a", "'-b", "'@c", '"x",\n#', "·=1", "'\t=2"]
    assert [line[0] for line in lines] == [guarded[i % len(guarded)] for i in range(len(rows))]
    assert any(cell.startswith("-") for line in lines for cell in line[2:])  # numbers stay numbers


def array(plain: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(plain["data"]), dtype=plain["dtype"]).reshape(plain["shape"])


def test_a_json_holds_the_data_and_their_provenance(page, heatmap, grid) -> None:
    host(page, heatmap, changes={"provenance": PROVENANCE, "clean": float("nan")})
    view = json.loads(exported(page, "JSON")[0])
    assert (view["format"], view["version"], view["kind"]) == ("mllm_widgets view", 1, "trace_heatmap")
    assert view["provenance"] == PROVENANCE
    assert view["data"]["clean"] == {"float": "NaN"}
    restored = view["data"]["restored"]
    assert restored["dims"] == ["module", "layer", "token"]
    assert restored["coords"]["module"] == list(heatmap._modules)
    assert restored["coords"]["token"] == [int(t) for t in heatmap.trace.restored.token.values]
    assert (array(restored["values"]) == wire.array(heatmap.values)).all()
    host(page, grid)
    view = json.loads(exported(page, "JSON")[0])
    assert view["kind"] == "patch_grid"
    assert (array(view["data"]["values"]["values"]) == wire.array(grid.values)).all()
    assert view["data"]["values"]["coords"]["layer"] == list(grid.layers)


def test_files_are_of_what_the_controls_show_where_no_kernel_says_so(page, heatmap, panel, vlm, question) -> None:
    both = wire.tensor(np.stack([wire.array(heatmap.values)] * 2))
    maps = {"windows": [1, 3], "values": both, "limits": [heatmap.limit] * 2}
    host(page, heatmap, changes={"offline": True, "maps": maps})
    page.get_by_role("slider", name="window").fill("3")
    assert json.loads(exported(page, "JSON")[0])["provenance"]["window"] == 3
    picture = Image.open(io.BytesIO(exported(page, "PNG")[0]))
    picture.load()
    assert Provenance(json.loads(picture.info["provenance"])) == {**heatmap.provenance, "window": 3}
    assert b"\n# window: 3\n" in exported(page, "CSV")[0]
    host(page, panel, changes={"offline": True})
    page.get_by_role("slider", name="lambda").fill("30")
    assert json.loads(exported(page, "JSON")[0])["provenance"]["lam"] == panel.results["1"]["lams"][30]
    flow = mw.attention_contributions(vlm, question, target=[74, 75])
    grid = mw.PatchGrid(flow)
    host(page, grid)
    assert f"\n# target: {flow.provenance['target']}\n".encode() in exported(page, "CSV")[0]
    receive(page, token=75)
    assert b"\n# target: 75\n" in exported(page, "CSV")[0]
    view = json.loads(exported(page, "JSON")[0])
    assert (view["provenance"]["target"], view["data"]["token"]) == (75, 75)


def test_python_reads_what_a_widget_exports(page, heatmap, grid, panel, tmp_path) -> None:
    for widget, name in ((heatmap, "restored"), (grid, "values"), (panel, None)):
        host(page, widget)
        data, file = exported(page, "JSON")
        (tmp_path / file).write_bytes(data)
        view = mw.load_result(tmp_path / file)
        assert view.provenance == {**widget.provenance, **({} if name else {"lam": panel.edit.lam})}
        if name is None:
            assert view.kind == "edit_panel"
            assert view["probes"][0]["text"] == panel.probes[0]["text"]
        else:
            assert (view[name].values == wire.array(widget.values)).all()
            assert len(view.to_dataframe()) == view[name].size


def test_a_png_of_patches_has_the_picture_and_their_colours(page, grid, screenshots) -> None:
    host(page, grid, dark=True)
    data, name = exported(page, "PNG")
    (screenshots / "tools-patches.png").write_bytes(data)
    assert re.fullmatch(r"patches-.*-layer-3\.png", name)
    pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    zoom = 2 * float(page.locator(".mw-map").get_attribute("data-zoom") or 0)
    marks = grid.patch_map.highlights(3, "picture")
    token = int(marks.tokens[np.nanargmax(marks.share)])
    left, top, right, bottom = grid.patch_map.geometry.boxes[token] * zoom
    color = colormaps.strength_colors("light")[255].astype(int)
    # the largest patch: 80% of its colour over what is left of the picture
    near = np.abs(pixels.astype(int) - color).sum(axis=-1) < 0.2 * 3 * 255
    assert near.sum() > 0.5 * (right - left) * (bottom - top)


def test_the_editors_picture_has_its_words_and_its_charts(page, panel, screenshots) -> None:
    host(page, panel, width=920, height=1300, dark=True)
    (screenshots / "tools-edit.png").write_bytes(exported(page, "PNG")[0])
    tree = ElementTree.fromstring(exported(page, "SVG")[0])
    texts = " ".join("".join(text.itertext()) for text in tree.iter(f"{SVG}text"))
    for words in (panel.question.split()[0], "Layer to edit", "What λ trades", "Side effects", "efficacy"):
        assert words in texts
    assert "Sweep layers" not in texts  # no buttons
    assert len([path for path in tree.iter(f"{SVG}path") if path.get("stroke")]) >= 5
    _, (head, *lines) = rows_of(exported(page, "CSV")[0])
    assert head[0] == "question"
    assert [line[0] for line in lines[: len(panel.probes)]] == [probe["text"] for probe in panel.probes]
    view = json.loads(exported(page, "JSON")[0])
    assert view["kind"] == "edit_panel"
    assert "image" not in view["data"]


HOSTILE = (
    '<img src=x onerror="window.hurt = 1">',
    "]]></metadata><script>window.hurt = 1</script>",
    "\u0000\u0007 bell, \uffff and \ufffe",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd a\u0301\u0327\u0489",
    "&amp; &lt; ' \" `",
)


def test_no_text_becomes_markup_in_any_export(page, heatmap, screenshots) -> None:
    rows = [{**row, "label": HOSTILE[i % len(HOSTILE)]} for i, row in enumerate(heatmap.rows)]
    question = f"{' '.join(HOSTILE)} {'very ' * 2000}long"
    changes = {
        "rows": rows,
        "question": question,
        "answer": HOSTILE[0],
        "span": [],
        "provenance": {"question": HOSTILE[1]},
    }
    host(page, heatmap, changes=changes)
    tree = ElementTree.fromstring(exported(page, "SVG")[0])
    tags = {element.tag.removeprefix(SVG) for element in tree.iter()}
    assert tags <= {"svg", "metadata", "g", "clipPath", "path", "rect", "text", "image"}
    texts = ["".join(text.itertext()) for text in tree.iter(f"{SVG}text")]
    assert any(HOSTILE[0] in text for text in texts)
    assert sum(text.count("very") for text in texts) == 2000
    data, name = exported(page, "PNG")
    (screenshots / "tools-hostile.png").write_bytes(data)
    assert Image.open(io.BytesIO(data)).size[0] == 1600
    assert len(name) < 90
    view = json.loads(exported(page, "JSON")[0])
    assert view["data"]["question"] == question
    assert [row["label"] for row in view["data"]["rows"]] == [row["label"] for row in rows]
    _, (_, *lines) = rows_of(exported(page, "CSV")[0])
    assert len(lines) == len(rows)
    page.get_by_role("button", name="Data table").click()
    expect(page.get_by_role("rowheader").first).to_have_text(HOSTILE[0])
    assert page.evaluate("window.hurt") is None
    assert page.locator(".mw img").count() == 0


def test_the_menu_has_the_keys_of_a_menu(page, heatmap) -> None:
    host(page, heatmap)
    page.evaluate("window.heard = []; document.addEventListener('keydown', (event) => window.heard.push(event.key))")
    button, menu = page.get_by_role("button", name="Export"), page.get_by_role("menu")
    expect(button).to_have_attribute("aria-expanded", "false")
    button.focus()
    page.keyboard.press("ArrowDown")
    expect(menu).to_be_visible()
    expect(button).to_have_attribute("aria-expanded", "true")
    item = lambda name: page.get_by_role("menuitem", name=name)  # noqa: E731
    expect(item("PNG")).to_be_focused()
    for key, name in (("ArrowUp", "JSON"), ("ArrowDown", "PNG"), ("End", "JSON"), ("Home", "PNG"), ("c", "CSV")):
        page.keyboard.press(key)
        expect(item(name)).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(button).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(item("JSON")).to_be_focused()
    page.keyboard.press("Tab")
    expect(menu).to_be_hidden()
    assert page.evaluate("window.heard") == ["Tab"]
    button.focus()
    page.keyboard.press("Enter")
    with page.expect_download():
        page.keyboard.press("End")
        page.keyboard.press("Enter")
    expect(button).to_be_focused()


@pytest.mark.parametrize("dark", [False, True])
def test_the_table_has_the_numbers_and_follows_the_view(page, heatmap, screenshots, dark) -> None:
    host(page, heatmap, width=480, dark=dark)
    button, table = page.get_by_role("button", name="Data table"), page.get_by_role("table")
    expect(table).to_have_count(0)
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("columnheader")).to_have_count(2 + heatmap.layers)
    expect(page.get_by_role("rowheader")).to_have_text([row["label"] for row in heatmap.rows])
    expect(page.locator(".mw-data caption")).to_contain_text("MLP")
    page.get_by_role("radio", name="Self-attention").click(force=True)
    expect(page.locator(".mw-data caption")).to_contain_text("Self-attention")
    assert page.evaluate("document.documentElement.scrollWidth") <= 480
    assert serious_faults(page) == []
    page.screenshot(path=screenshots / f"tools-table-{'dark' if dark else 'light'}.png", full_page=True)
    button.click()
    expect(table).to_be_hidden()


@pytest.mark.parametrize("dark", [False, True])
def test_help_opens_and_closes_by_key_and_gives_the_focus_back(page, grid, screenshots, dark) -> None:
    host(page, grid, dark=dark)
    page.evaluate("window.heard = []; document.addEventListener('keydown', (event) => window.heard.push(event.key))")
    map_, dialog = page.get_by_role("grid"), page.get_by_role("dialog")
    map_.focus()
    page.keyboard.press("?")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("select a rectangle")
    page.wait_for_timeout(100)
    assert serious_faults(page) == []
    page.screenshot(path=screenshots / f"tools-help-{'dark' if dark else 'light'}.png")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(map_).to_be_focused()
    assert "Escape" not in page.evaluate("window.heard")
    field = page.get_by_role("spinbutton")
    field.focus()
    page.keyboard.press("?")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Help").click()
    page.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_the_camera_asks_the_kernel_and_says_what_it_hears(page, heatmap) -> None:
    host(page, heatmap)
    camera = page.get_by_role("button", name="picture stored in the notebook", include_hidden=True)
    told = page.locator(".mw-told")
    expect(camera).to_be_hidden()  # no picture was displayed
    receive(page, outputs=1)
    expect(camera).to_be_visible()
    camera.click()
    assert page.evaluate("window.widget.saved.at(-1)") == {"snapshots": 1}
    receive(page, taken=1)
    expect(told).to_have_text("stored")
    camera.click()
    expect(told).to_contain_text("No answer from the kernel", timeout=4000)
    receive(page, offline=True)
    expect(camera).to_be_disabled()
    expect(camera).to_have_attribute("title", "Run the notebook to refresh the picture stored in it")


def test_the_camera_says_why_there_is_no_picture(page, heatmap) -> None:
    host(page, heatmap, changes={"outputs": 1})
    page.get_by_role("button", name="Refresh the picture").click()
    receive(page, refused="there is no complete map yet.")
    expect(page.locator(".mw-told")).to_have_text("Not stored: there is no complete map yet.")
    page.wait_for_timeout(2600)
    expect(page.locator(".mw-told")).to_have_text("Not stored: there is no complete map yet.")
    receive(page, refused="")
    expect(page.locator(".mw-told")).to_have_text("Not stored: there is no complete map yet.")


def test_a_frame_that_may_not_save_shows_the_file(page, heatmap, grid, screenshots) -> None:
    page.set_viewport_size({"width": 820, "height": 900})
    page.set_content(
        '<iframe sandbox="allow-scripts" srcdoc="<body></body>" style="width:800px;height:860px"></iframe>'
    )
    for widget in (heatmap, grid):
        frame = page.frames[-1]
        frame.evaluate("document.body.replaceChildren()")
        put(frame, widget)
        frame.get_by_role("button", name="Export").click()
        frame.get_by_role("menuitem", name="CSV").click()
        expect(frame.get_by_role("group").last).to_contain_text("may not be allowed to save files")
        assert "layer 0" in frame.locator("textarea").input_value()
        frame.get_by_role("button", name="Export").click()
        frame.get_by_role("menuitem", name="PNG").click()
        picture = frame.locator(".mw-instead img")
        expect(picture).to_be_visible()
        assert picture.evaluate("async (i) => (await i.decode(), i.naturalWidth)") >= 1040
        page.screenshot(path=screenshots / f"tools-sandbox-{type(widget).__name__}.png")
        frame.get_by_role("button", name="Close").click()
        expect(picture).to_have_count(0)


def test_a_frame_that_says_it_may_save_just_saves(page, heatmap) -> None:
    page.set_content(
        '<iframe sandbox="allow-scripts allow-downloads" srcdoc="<body></body>" style="width:800px;height:860px"></iframe>'
    )
    frame = page.frames[-1]
    frame.evaluate("document.documentElement.dataset.mwDownloads = ''")
    put(frame, heatmap)
    frame.get_by_role("button", name="Export").click()
    with page.expect_download() as saved:
        frame.get_by_role("menuitem", name="CSV").click()
    assert saved.value.suggested_filename.endswith(".csv")
    expect(frame.locator(".mw-told")).to_contain_text("Saved")
    expect(frame.locator(".mw-instead")).to_have_count(0)


def test_all_of_it_works_in_a_tree_of_its_own(page, heatmap) -> None:
    page.set_viewport_size({"width": 800, "height": 700})
    put(page.main_frame, heatmap, shadow=True, dark=True)
    data, _ = exported(page, "PNG")
    pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    color = colormaps.effect_colors("mlp", "light")[255]
    assert (pixels == color).all(axis=-1).sum() > 2000
    page.get_by_role("button", name="Export").press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="SVG")).to_be_focused()
    page.keyboard.press("Escape")
    page.get_by_role("grid").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tooltip")).to_contain_text("layer 1")


def test_a_widget_made_anew_keeps_its_toolbar(page, grid) -> None:
    host(page, grid)
    page.get_by_role("button", name="Data table").click()
    receive(page, question="Another question?")
    expect(page.get_by_role("group", name="export and help")).to_have_count(1)
    expect(page.get_by_role("dialog", include_hidden=True)).to_have_count(1)
    expect(page.get_by_role("table")).to_be_visible()
    settle(page)

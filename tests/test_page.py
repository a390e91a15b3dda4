"""Widgets as a page of their own: what is in it, how it is packed, and that no text gets out of its place."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import ipywidgets
import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets.errors import WidgetError
from mllm_widgets.render import page as pages
from mllm_widgets.render import pieces
from mllm_widgets.widgets import wire
from mllm_widgets.widgets.page import models_of

HOSTILE = "</script><img src=x onerror=alert(1)><!-- \"'&"


class Elements(HTMLParser):
    """The elements of a page, (tag, attributes, text)."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("", {}, []))  # what follows is no longer its text

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1][2].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, "".join(text)) for name, attributes, text in self.found if name == tag]


def data_of(document: str) -> dict[str, Any]:
    """The models of a page, as its program reads them."""
    (text,) = (text for attributes, text in Elements(document).all("script") if attributes.get("class") == "mw-data")
    return json.loads(text)


def unpacked(piece: dict[str, str]) -> bytes:
    if "text" in piece:
        return piece["text"].encode()
    return (
        base64.b64decode(piece["base64"]) if "base64" in piece else zlib.decompress(base64.b64decode(piece["deflate"]))
    )


@pytest.fixture(scope="module")
def heatmap(trace) -> mw.TraceHeatmap:
    return mw.TraceHeatmap(trace)


@pytest.fixture(scope="module")
def document(heatmap) -> str:
    return heatmap.to_html()


def test_a_page_is_written_where_it_is_asked_for(heatmap, document, tmp_path):
    assert heatmap.to_html(tmp_path / "page.html", title="Mine & yours") == (tmp_path / "page.html").read_text("utf-8")
    (heading,) = Elements((tmp_path / "page.html").read_text("utf-8")).all("h1")
    assert heading == ({}, "Mine & yours")
    (usual,) = Elements(document).all("h1")
    assert usual == ({"class": "mw-unseen"}, "What is the city of this building? - TraceHeatmap")


def test_the_data_are_the_widget_s_traits_and_its_bundle(heatmap, document):
    data = data_of(document)
    model = data["models"][heatmap.model_id]
    assert model["state"]["question"] == heatmap.question
    (values,) = (unpacked(b["data"]) for b in model["buffers"] if b["path"] == ["values", "data"])
    assert np.array_equal(
        np.frombuffer(values, "<f4").reshape(heatmap.values["shape"]), wire.array(heatmap.values), equal_nan=True
    )
    bundle = data["bundles"][model["bundle"]]
    assert unpacked(bundle["esm"]).decode() == str(heatmap._esm)
    assert unpacked(bundle["css"]).decode() == str(heatmap._css)
    assert "_esm" not in model["state"]


def test_a_page_can_be_read_without_javascript(heatmap, document):
    elements = Elements(document)
    ((image, _),) = elements.all("img")
    assert image["alt"] == repr(heatmap)
    assert base64.b64decode(str(image["src"]).removeprefix("data:image/png;base64,")) == heatmap.to_png()
    width, height = heatmap.picture().size
    assert (image["width"], image["height"]) == (str(width // 2), str(height // 2))
    assert elements.all("noscript")
    assert elements.all("html")[0][0] == {"lang": "en", "class": "light"}


def test_the_policy_allows_the_page_s_own_program_and_nothing_else(document):
    import hashlib

    elements = Elements(document)
    (program,) = (text for attributes, text in elements.all("script") if attributes.get("type") == "module")
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    (policy,) = (a["content"] for a, _ in elements.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}' blob:;")
    # before anything that could ask for something
    assert document.index("Content-Security-Policy") < document.index("<title")


def test_no_text_ends_the_place_it_stands_in(vlm, question, trace):
    heatmap = mw.TraceHeatmap(trace)
    heatmap.publish(question=HOSTILE, answer=HOSTILE)
    heatmap.publish(rows=[{**row, "label": HOSTILE} for row in heatmap.rows])
    document = heatmap.to_html(title=HOSTILE)
    elements = Elements(document)
    assert [attributes.get("class") or attributes.get("type") for attributes, _ in elements.all("script")] == [
        "mw-data",
        "module",
    ]
    assert len(elements.all("img")) == 1
    assert elements.all("title")[0][1] == elements.all("h1")[0][1] == HOSTILE
    assert data_of(document)["models"][heatmap.model_id]["state"]["answer"] == HOSTILE


def test_programs_are_there_once_and_small(trace):
    box = ipywidgets.VBox([mw.TraceHeatmap(trace), mw.TraceHeatmap(trace)])
    models = models_of(box)
    text = pieces.page_data(models)
    assert len(json.loads(text)["bundles"]) == 1
    assert len([model for model in models.values() if model["model_module"] == "anywidget"]) == 2
    assert len(text) < 60_000


def test_linked_stores_come_along_and_strangers_do_not(trace):
    one, two, far = (mw.TraceHeatmap(trace) for _ in range(3))
    links = [ipywidgets.jslink((one, "layer"), (two, "layer")), ipywidgets.jsdlink((two, "token"), (far, "token"))]
    alone = models_of(one)
    assert set(alone) == {one.model_id, one.layout.model_id}
    both = models_of(ipywidgets.HBox([one, two]))
    assert {one.model_id, two.model_id, links[0].model_id} <= set(both)
    assert not {far.model_id, links[1].model_id} & set(both)


def test_what_needs_a_view_of_its_own_is_found_in_saved_models_too():
    def model(name: str, view: str | None = None, **state: Any) -> dict[str, Any]:
        return {"model_name": name, "model_module": "m", "state": {"_view_name": view, **state}}

    def link(one: str, two: str) -> dict[str, Any]:
        return model("LinkModel", source=[f"IPY_MODEL_{one}", "x"], target=[f"IPY_MODEL_{two}", "x"])

    models = {
        "box": model("HBoxModel", "HBoxView", children=["IPY_MODEL_a"], deep={"x": [["IPY_MODEL_c"]]}),
        "a": model("AnyModel", "AnyView"),
        "b": model("AnyModel", "AnyView"),
        "c": model("AnyModel", "AnyView"),
        "store": model("WidgetModel"),
        "a-store": link("a", "store"),
        "b-store": link("b", "store"),
        "gone": link("a", "nowhere"),
    }
    found = pieces.needed(models.get, pieces.links_of(models), ["box"])
    assert set(found) == {"box", "a", "c", "store", "a-store"}


def test_bytes_are_deflated_where_it_pays():
    noise = np.random.default_rng(0).bytes(4000)
    assert set(pieces.bytes_piece(bytes(4000))) == {"deflate"}
    assert set(pieces.bytes_piece(noise)) == set(pieces.bytes_piece(bytes(100))) == {"base64"}
    assert set(pieces.text_piece("short")) == {"text"}
    for data in (bytes(4000), noise, b"", "é" * 300):
        piece = pieces.text_piece(data) if isinstance(data, str) else pieces.bytes_piece(data)
        assert unpacked(piece) == (data.encode() if isinstance(data, str) else data)


def test_what_json_has_no_number_for_is_null():
    models = {"a": {"model_name": "AnyModel", "model_module": "anywidget", "state": {"x": [float("nan"), 1.5]}}}
    assert json.loads(pieces.page_data(models))["models"]["a"]["state"] == {"x": [None, 1.5]}


def test_a_wrong_theme_and_a_closed_widget_are_sentences(trace):
    heatmap = mw.TraceHeatmap(trace)
    with pytest.raises(WidgetError, match=r"theme='blue' is not known; expected one of \('light', 'dark'\)"):
        heatmap.to_html(theme="blue")
    heatmap.close()
    with pytest.raises(WidgetError, match="this TraceHeatmap was closed"):
        heatmap.to_html()


def test_show_static_displays_a_picture_and_a_frame(heatmap, monkeypatch):
    displayed: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw, metadata=None: displayed.append(data))
    heatmap.show_static(height=300)
    picture, framed = displayed
    assert base64.b64decode(picture["image/png"]) == heatmap.to_png()
    ((frame, _),) = Elements(framed["text/html"]).all("iframe")
    assert "height:300px" in str(frame["style"])
    assert frame["sandbox"] == "allow-scripts allow-downloads"
    assert re.search(r'<body class="mw-page mw-framed">', str(frame["srcdoc"]))
    assert picture["image/png"][44:112] in framed["text/html"]


def test_the_foot_says_where_the_numbers_come_from(heatmap, document):
    elements = Elements(document)
    foot = dict(zip((t for _, t in elements.all("dt")), (t for _, t in elements.all("dd")), strict=True))
    assert foot["model"] == "demo"
    assert foot["question"] == heatmap.question
    assert (foot["corruption"], foot["window"]) == ("Taj Mahal", "1")
    assert f"mllm_widgets {mw.__version__}" in foot["versions"]
    assert re.fullmatch(r"[0-9a-f]{12}", foot["revision"])
    assert data_of(document)["models"][heatmap.model_id]["state"]["provenance"]["date"] == foot["date"]
    text = pages.page([], {}, title="t", facts={"model": "demo <1>", "seed": "0"})
    assert [t for _, t in Elements(text).all("dt")] == ["model", "seed"]
    assert next(t for _, t in Elements(text).all("dd")) == "demo <1>"
    assert not Elements(pages.page([], {}, title="t")).all("footer")


def test_the_foot_has_all_windows_that_the_slider_has(trace):
    heatmap = mw.TraceHeatmap(trace)
    heatmap.freeze(windows=[1, 3])
    foot = [text for _, text in Elements(heatmap.to_html()).all("dd")]
    assert "1, 3" in foot
    heatmap.close()


def test_half_a_character_is_written_as_its_code(trace, tmp_path):
    heatmap = mw.TraceHeatmap(replace(trace, question="half \ud800"))
    assert "<title>half \\ud800 - TraceHeatmap</title>" in heatmap.to_html(tmp_path / "map.html")
    assert "<h1>cut \\udfff</h1>" in heatmap.to_html(title="cut \udfff")
    number: Any = 3
    with pytest.raises(WidgetError, match="title=3 is no text"):
        heatmap.to_html(title=number)
    heatmap.close()


@pytest.mark.parametrize("height", [0, -5, "300", True])
def test_a_height_that_is_none_is_refused(heatmap, height):
    with pytest.raises(WidgetError, match=f"height={height!r} is no height"):
        heatmap.show_static(height=height)

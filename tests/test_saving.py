"""Results in files: everything comes back exactly, without a model; what is no result of ours is told in a sentence."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

import mllm_widgets as mw
from mllm_widgets.errors import SaveError
from mllm_widgets.provenance import Provenance
from mllm_widgets.results import Answer, Group, TokenInfo, Trace
from mllm_widgets.saving import files
from mllm_widgets.saving.view import View
from tests.patch_maps import patch_map

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "\0\x1b[31m",
    "\u202eabc",
    "a\u0301\u0301",
    "\ud800",
    "x" * 10_000,
    "#",
    '",\n"',
    "=1+1",
)
# what tokenizers can give, and pandas can hold: no lone surrogates
POSSIBLE = tuple(text for text in HOSTILE if "\ud800" not in text)


def same(one: Any, other: Any, where: str = "result") -> None:
    """Everything but what belongs to a model is the same, arrays to the bit."""
    assert type(one) is type(other), where
    if isinstance(one, xr.DataArray):
        assert one.identical(other), where
        same(one.values, other.values, where)
        for name in one.coords:
            same(one.coords[name].values, other.coords[name].values, f"{where}.{name}")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes(), where
    elif isinstance(one, Image.Image):
        assert (one.mode, one.size, one.tobytes()) == (other.mode, other.size, other.tobytes()), where
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            if field.name != "_setup" and (type(one).__name__, field.name) != ("LayerSweep", "edits"):
                same(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other), where
        for number, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{where}[{number}]")
    else:
        assert one == other or (math.isnan(one) and math.isnan(other)), where


@pytest.fixture(scope="module")
def edit(vlm, question):
    return mw.multedit(vlm, question, "Rome", layer=2)


@pytest.fixture(scope="module")
def results(vlm, question, trace, edit) -> dict[str, Any]:
    noise = mw.tracing.PixelNoise(draws=2)
    cases = [mw.editing.Case(mw.datasets.demo_question(name), "Rome") for name in ("Eiffel Tower", "Taj Mahal")]
    return {
        "answer": mw.ask(vlm, question),
        "trace": trace,
        "trace of the picture": mw.causal_trace(vlm, question, corruption=noise, window=3, modules="residual"),
        "contributions": mw.attention_contributions(vlm, question, control="blank", per_head=True),
        "knockout": mw.attention_knockout(vlm, question, "constraint", "last"),
        "lens": mw.logit_lens(vlm, question),
        "edit report": mw.evaluate_edit(edit, unrelated=mw.datasets.demo(2)),
        "lambda sweep": mw.lambda_sweep(edit, lams=[0.01, 1.0]),
        "layer sweep": mw.layer_sweep(vlm, question, "Rome", [1, 2]),
        "report of many edits": mw.editing.edit_many(vlm, cases, layer=2, draws=50),
        "report of a sequence": mw.editing.evaluate_sequence([edit], unrelated=mw.datasets.demo(2)),
        "correctness signal": mw.correctness_signal(vlm, mw.datasets.demo(4), [True, False] * 2, draws=50),
    }


@pytest.mark.parametrize("ending", [".json", ".nc"])
def test_every_result_comes_back_as_it_was(results, tmp_path, ending) -> None:
    for name, result in results.items():
        path = tmp_path / f"{name}{ending}"
        result.save(path)
        same(result, mw.load_result(path), name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}{ending}" for name in results)


def test_every_result_says_what_it_was_made_with(results, question) -> None:
    for name, result in results.items():
        made = result.provenance
        assert (made["model"], made["dtype"], made["device"]) == ("demo", "float32", "cpu"), name
        assert made["revision"].startswith("sha256:"), name
        assert set(made["versions"]) == {"mllm_widgets", "torch", "transformers", "nnsight", "python"}, name
        assert made["date"].endswith("Z"), name
    made = results["trace of the picture"].provenance
    assert (made["question"], made["constraint"]) == (question.text, question.constraint)
    assert (made["window"], made["modules"], made["seed"], made["draws"]) == (3, ("residual",), 0, 2)
    assert made["picture"]["size"] == question.image.size
    assert results["edit report"].provenance["edits"][0].endswith("layer 2, lam 0.01, multedit")


def test_the_edits_a_model_had_are_said(vlm, question, edit) -> None:
    with edit:
        inside = mw.ask(vlm, question)
    assert inside.provenance["edits"] == ("a rank-one edit of the MLP of layer 2, lam 0.01",)
    assert mw.ask(vlm, question).provenance["edits"] == ()


def hostile_trace(rows: int = len(POSSIBLE)) -> Trace:
    """A trace of nobody's model, with everything in it that files find hard."""
    values = np.linspace(-1, 1, 2 * 3 * rows, dtype=np.float32).reshape(2, 3, rows)
    values[0, 0, :3] = np.nan, np.inf, -np.inf
    values.view(np.uint32)[1, 1, 1] = 0x7FC00123  # a NaN that is not the usual one
    texts = [POSSIBLE[i % len(POSSIBLE)] for i in range(rows)]
    axes = {"module": ["mlp", "self_attn"], "layer": np.arange(3), "token": np.arange(rows)}
    groups = tuple(Group(text, (i,), "tokens", (0.0, math.nan, 1.0, 2.0)) for i, text in enumerate(POSSIBLE))
    names = [group.name for group in groups]
    together = xr.DataArray(
        np.zeros((2, 3, len(names)), np.float64),
        dims=("module", "layer", "group"),
        coords={"module": axes["module"], "layer": axes["layer"], "group": np.array(names, dtype=object)},
        name="restored",
    )
    return Trace(
        restored=xr.DataArray(values, dims=("module", "layer", "token"), coords=axes, name="restored"),
        clean=math.nan,
        corrupted=-math.inf,
        answer=Answer(HOSTILE[5], HOSTILE[0], 0, 0.5, np.array([0.5, 0.5], np.float16), HOSTILE[:2]),
        answer_token="\ud800",
        window=1,
        warnings=HOSTILE,
        rows=tuple(TokenInfo(i, i, text) for i, text in enumerate(texts)),
        constraint=(1,),
        input_ids=np.arange(rows),
        corrupted_input_ids=np.arange(rows, dtype=np.int32),
        corruption=HOSTILE[0],
        fitted="",
        question=HOSTILE[5],
        model="/home/somebody/models/llava",
        groups=groups,
        group_restored=together,
        provenance=Provenance(question="\ud800", text=list(HOSTILE)),
    )


@pytest.mark.parametrize("ending", [".json", ".nc"])
def test_hostile_texts_and_numbers_come_back_to_the_bit(tmp_path, ending) -> None:
    trace = hostile_trace()
    trace.save(tmp_path / f"trace{ending}")
    again = mw.load_result(tmp_path / f"trace{ending}")
    same(dataclasses.replace(trace, model="llava"), again)
    assert b"somebody" not in (tmp_path / f"trace{ending}").read_bytes()


def test_json_is_strict_and_readable(trace, tmp_path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    path = tmp_path / "trace.json"
    hostile_trace().save(path)
    json.loads(path.read_bytes(), parse_constant=refuse)
    trace.save(path)
    content = json.loads(path.read_text())
    assert (content["format"], content["version"], content["kind"]) == ("mllm_widgets result", 1, "trace")
    assert content["data"]["restored"]["dims"] == ["module", "layer", "token"]
    assert content["data"]["rows"]["columns"]["text"][:2] == ["<s>", "USER"]


def test_netcdf_is_read_by_xarray_alone(trace, tmp_path) -> None:
    trace.save(tmp_path / "trace.nc")
    with xr.open_dataset(tmp_path / "trace.nc", engine="h5netcdf") as opened:
        assert opened["restored"].values.tobytes() == trace.restored.values.tobytes()
        assert opened["module"].values.tolist() == ["mlp", "self_attn"]
        assert json.loads(opened.attrs["provenance"])["model"] == "demo"


def test_no_torch_is_needed_to_read_and_to_draw(results, tmp_path) -> None:
    results["trace"].save(tmp_path / "trace.json")
    results["contributions"].save(tmp_path / "flow.json")
    for name in ("knockout", "lens", "edit report", "lambda sweep"):
        results[name].save(tmp_path / f"{name}.json")
    code = f"""
import sys
for module in ("torch", "transformers", "nnsight"):
    sys.modules[module] = None
import pathlib, mllm_widgets as mw
folder = pathlib.Path({str(tmp_path)!r})
for path in folder.glob("*.json"):
    mw.load_result(path).to_dataframe()
heatmap = mw.TraceHeatmap(mw.load_result(folder / "trace.json"))
grid = mw.PatchGrid(mw.load_result(folder / "flow.json"))
heatmap.to_png(folder / "heatmap.png"), grid.to_png(folder / "grid.png")
try:
    heatmap.window = 3
except mw.errors.WidgetError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(mw.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "has lost its model" in done.stdout
    trace, flow = results["trace"], results["contributions"]
    for drawn, path in ((mw.TraceHeatmap(trace), "heatmap.png"), (mw.PatchGrid(flow), "grid.png")):
        with Image.open(tmp_path / path) as saved:
            assert saved.tobytes() == drawn.picture().tobytes()


def test_a_layer_sweep_keeps_its_figures_and_not_its_edits(results, tmp_path) -> None:
    sweep = results["layer sweep"]
    sweep.save(tmp_path / "sweep.json")
    again = mw.load_result(tmp_path / "sweep.json")
    assert (again.edits, again.best) == ({}, sweep.best)
    pd.testing.assert_frame_equal(again.to_dataframe(), sweep.to_dataframe())


def test_csv_has_the_table_under_what_it_was_made_with(results, tmp_path) -> None:
    for name, result in results.items():
        path = tmp_path / f"{name}.csv"
        result.to_csv(path)
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "# model: demo"
        assert lines[len(result.provenance)].startswith('"')
        table = pd.read_csv(path, comment="#", keep_default_na=False, na_values=[""])
        assert list(table.columns) == list(result.to_dataframe().columns)
        assert len(table) == len(result.to_dataframe())


def test_csv_of_hostile_texts_is_not_cut(tmp_path) -> None:
    trace = hostile_trace()
    trace.to_csv(tmp_path / "trace.csv")
    table = pd.read_csv(tmp_path / "trace.csv", comment="#", keep_default_na=False)
    assert table["text"].tolist()[: len(POSSIBLE)] == list(POSSIBLE)
    assert len(table) == trace.restored.size


# --- what cannot be saved or read ------------------------------------------------------------------------------------------------


def check(path: Path, *words: str) -> None:
    with pytest.raises(SaveError) as refused:
        mw.load_result(path)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("name", ["trace", "trace.pkl", "trace.txt"])
def test_other_endings_are_refused(trace, tmp_path, name) -> None:
    with pytest.raises(SaveError, match=r"ends in \.json or \.nc"):
        trace.save(tmp_path / name)
    check(tmp_path / name, ".json or .nc")
    with pytest.raises(SaveError, match=r"ends in \.csv"):
        trace.to_csv(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written(trace, tmp_path) -> None:
    with pytest.raises(SaveError, match="its folder does not exist"):
        trace.save(tmp_path / "no" / "trace.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(SaveError, match="is a folder"):
        trace.save(tmp_path / "folder.json")
    with pytest.raises(SaveError, match="is no path"):
        trace.save(3)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.json"]


def test_what_goes_wrong_half_way_leaves_the_old_file(trace, tmp_path, monkeypatch) -> None:
    path = tmp_path / "trace.json"
    trace.save(path)
    before = path.read_bytes()

    def half(place: Path, *_: Any) -> None:
        place.write_text("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.json_file, "write", half)
    with pytest.raises(SaveError, match="No space left"):
        trace.save(path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("trace.json", before)]


def test_files_that_are_none_of_ours(tmp_path) -> None:
    check(tmp_path / "none.json", "does not exist")
    (tmp_path / "folder.json").mkdir()
    check(tmp_path / "folder.json", "is a folder")
    for content in ("", "{", "[]", "null", "\xff"):
        (tmp_path / "bad.json").write_bytes(content.encode("latin-1"))
        check(tmp_path / "bad.json", "cannot be read as JSON")
    for content in ("{}", '{"format": "another", "version": 1}'):
        (tmp_path / "other.json").write_text(content)
        check(tmp_path / "other.json", "is no result of mllm_widgets")
    (tmp_path / "bad.nc").write_bytes(b"CDF")
    check(tmp_path / "bad.nc", "cannot be read as NetCDF")
    xr.Dataset({"x": ("y", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    check(tmp_path / "other.nc", "is no result of mllm_widgets")


def test_a_later_version_says_so(trace, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "VERSION", 2)
    for ending in (".json", ".nc"):
        trace.save(tmp_path / f"new{ending}")
    monkeypatch.undo()
    for ending in (".json", ".nc"):
        check(tmp_path / f"new{ending}", "version 2", "install a later one")


DAMAGES = {
    "no kind": lambda content: content.pop("kind"),
    "another kind": lambda content: content.update(kind="os.system"),
    "no array": lambda content: content["data"].pop("restored"),
    "short": lambda content: content["data"]["restored"]["values"].update(data="AAAA"),
    "no base64": lambda content: content["data"]["restored"]["values"].update(data="<script>"),
    "objects": lambda content: content["data"]["restored"]["values"].update(dtype="|O"),
    "another shape": lambda content: content["data"]["restored"]["values"].update(shape=[1]),
    "another class": lambda content: content["data"]["answer"].update(type="os.system"),
    "a field too many": lambda content: content["data"].update(more=1),
    "no data": lambda content: content.update(data=3),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_say_so(trace, tmp_path, damage) -> None:
    path = tmp_path / "trace.json"
    trace.save(path)
    content = json.loads(path.read_text())
    DAMAGES[damage](content)
    path.write_text(json.dumps(content))
    check(path, "is damaged")


def test_netcdf_that_is_not_installed_is_named(trace, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(SaveError, match=r"pip install 'mllm_widgets\[netcdf\]'"):
        trace.save(tmp_path / "trace.nc")
    assert not list(tmp_path.iterdir())


# --- what the browser writes ------------------------------------------------------------------------------------------------------


def test_what_a_widget_exported_is_read_as_a_view(tmp_path) -> None:
    values = {"dtype": "<f4", "shape": [1, 2], "data": "AACAPwAAwH8="}
    content = {
        "format": "mllm_widgets view",
        "version": 1,
        "kind": "patch_grid",
        "provenance": {"model": "demo"},
        "data": {
            "question": "\ud800",
            "limit": {"float": "NaN"},
            "values": {"dims": ["layer", "token"], "coords": {"layer": [3], "token": [0, 1]}, "name": "values", "values": values},
            "boxes": {"dtype": "|u1", "shape": [2], "data": "AAE="},
        },
    }  # fmt: skip
    path = tmp_path / "view.json"
    path.write_text(json.dumps(content))
    view = mw.load_result(path)
    assert (type(view), view.kind, view["question"]) == (View, "patch_grid", "\ud800")
    assert math.isnan(view["limit"])
    assert view["boxes"].tolist() == [0, 1]
    assert view.to_dataframe()["layer"].tolist() == [3, 3]
    np.testing.assert_array_equal(view["values"], [[1, np.nan]])
    view.save(path)
    same(view["values"], mw.load_result(path)["values"])


# --- provenance ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-7b-hf"),
        ("/home/me/models/llava/", "llava"),
        ("C:\\Users\\me\\llava", "llava"),
        ("~/models/llava", "llava"),
        ("./llava", "llava"),
        ("demo", "demo"),
    ],
)
def test_no_folder_of_anybody_s_machine_is_told(name, public) -> None:
    from mllm_widgets.provenance import public_name

    assert public_name(name) == public


def test_provenance_does_not_change_and_is_plain() -> None:
    import copy
    import pickle

    made = Provenance(question="q", numbers=np.arange(2), nested={"list": [np.float32(1)]}, nan=math.nan)
    for change in (lambda: made.update(a=1), lambda: made.pop("nan"), made.clear, lambda: made.__setitem__("a", 1)):
        with pytest.raises(TypeError, match="does not change"):
            change()
    assert json.loads(made.to_json()) == {"question": "q", "numbers": [0, 1], "nested": {"list": [1.0]}, "nan": "nan"}
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made


def test_pictures_and_pages_that_cannot_be_written_say_so(vlm, question, tmp_path):
    """As results do; and what is there stays whole."""
    grid = mw.PatchGrid(patch_map(vlm, question, 8))
    number: Any = 3
    for write, ending in ((grid.to_png, ".png"), (grid.to_svg, ".svg"), (grid.to_html, ".html")):
        with pytest.raises(SaveError, match=r"cannot be written \(its folder does not exist\)"):
            write(tmp_path / "nowhere" / f"x{ending}")
        with pytest.raises(SaveError, match="is a folder"):
            write(tmp_path)
        with pytest.raises(SaveError, match="path=3 is no path"):
            write(number)
        with pytest.raises(SaveError, match="is no path"):
            write(f"{tmp_path}/\0{ending}")
        with pytest.raises(SaveError, match=rf"ends in '.jpg'; expected a file name that ends in {ending}"):
            write(tmp_path / "x.jpg")
    assert not list(tmp_path.iterdir())
    grid.close()

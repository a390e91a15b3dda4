"""`mllm-widgets`: what it writes, what it says, and how it says what cannot be."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mllm_widgets as mw
from mllm_widgets.cli import main
from mllm_widgets.cli.formulas import typeset
from mllm_widgets.cli.notebook import displays, read
from mllm_widgets.render.pieces import STATE, VIEW

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
FIRST = NOTEBOOKS / "01_first_trace.ipynb"
ANYWIDGET = {"model_module": "anywidget", "model_module_version": "~0.11.*", "model_name": "AnyModel"}


def output(**data: Any) -> dict[str, Any]:
    names = {"png": "image/png", "html": "text/html", "text": "text/plain", "latex": "text/latex"}
    found = {names[name]: value for name, value in data.items() if name in names}
    if "view" in data:
        found[VIEW] = {"model_id": data["view"], "version_major": 2, "version_minor": 0}
    return {"output_type": "display_data", "data": found, "metadata": {}}


@pytest.fixture
def store(tmp_path):
    """Writes a notebook of cells, each a list of outputs or the text of one, with the state of some widgets."""

    def write(*cells: Any, state: tuple[str, ...] = (), **metadata: Any) -> Path:
        entries = [
            {"cell_type": "markdown", "metadata": {}, "source": cell, "id": f"c{at}"}
            if isinstance(cell, str)
            else {
                "cell_type": "code",
                "metadata": {},
                "source": "x",
                "outputs": cell,
                "execution_count": 1,
                "id": f"c{at}",
            }
            for at, cell in enumerate(cells)
        ]
        if state:
            models = {
                name: {**ANYWIDGET, "state": {"_esm": "export default {}", "_view_name": "AnyView"}} for name in state
            }
            metadata["widgets"] = {STATE: {"state": models, "version_major": 2, "version_minor": 0}}
        notebook = {"cells": entries, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        path = tmp_path / "lesson.ipynb"
        path.write_text(json.dumps(notebook))
        return path

    return write


@pytest.fixture(scope="module")
def png(trace) -> tuple[str, str]:
    """A picture of a widget as it is displayed, and the id of the widget."""
    heatmap = mw.TraceHeatmap(trace)
    return base64.b64encode(heatmap.to_png()).decode(), heatmap.model_id


# --- what it is told ----------------------------------------------------------------------------------------------------------


def test_help_teaches_and_the_entry_point_is_declared(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    for word in ("export lesson.ipynb", "--strip-state", "check lesson.ipynb", "exit status", "--execute"):
        assert word in text
    project = (NOTEBOOKS.parent / "pyproject.toml").read_text("utf-8")
    assert 'mllm-widgets = "mllm_widgets.cli:main"' in project
    done = subprocess.run(
        [sys.executable, "-m", "mllm_widgets.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"mllm_widgets {mw.__version__}"


def test_it_starts_without_what_it_may_not_need():
    code = "import sys, mllm_widgets.cli.main, mllm_widgets.cli.check, mllm_widgets.cli.export\n"
    code += "print([m for m in ('torch', 'nbconvert', 'nbformat', 'ipywidgets', 'bokeh') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["export", "check"])
def test_what_is_no_notebook_is_a_sentence(tmp_path, capsys, command):
    assert main([command, str(tmp_path / "none.ipynb")]) == 2
    assert "there is no file" in capsys.readouterr().err
    for content in ("no json", "[]", '{"cells": [], "nbformat": 3}', '{"cells": [1], "nbformat": 4}'):
        (tmp_path / "odd.ipynb").write_text(content)
        assert main([command, str(tmp_path / "odd.ipynb")]) == 2
        assert "is not a notebook of format 4" in capsys.readouterr().err
    (tmp_path / "odd.ipynb").write_bytes(b"\xff\xfe\x00")
    assert main([command, str(tmp_path / "odd.ipynb")]) == 2
    assert "cannot be read as text" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["export", "check"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metadata": None}, "its metadata are no JSON object"),
        ({"cells": [{"cell_type": "code", "outputs": None}]}, "the outputs of cell 1 are no list"),
        ({"cells": [{"cell_type": "code", "outputs": [{"data": None}]}]}, "the outputs of cell 1 are no list"),
    ],
)
def test_a_damaged_notebook_is_a_sentence(store, capsys, command, change, says):
    path = store([output(text="1")])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert main([command, str(path)]) == 2
    assert f"is damaged: {says}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "widgets", [None, "x", {STATE: None}, {STATE: {"state": None}}, {STATE: {"state": {"a" * 32: {"state": None}}}}]
)
def test_a_state_that_is_none_counts_as_not_saved(store, capsys, widgets):
    path = store([output(view="a" * 32, text="Map()", png="a")], [output(text="1")], widgets=widgets)
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr().out
    assert "no picture, no state" in said
    assert "metadata.widgets holds no state" in said
    assert main(["export", str(path)]) == 1
    assert "was not saved" in capsys.readouterr().err


def test_a_page_is_not_written_over_the_notebook(store, capsys):
    path = store([output(text="1")])
    before = path.read_text()
    assert main(["export", str(path), "-o", str(path)]) == 2
    assert "expected a name that ends in .html" in capsys.readouterr().err
    for more in ((), ("--execute",)):
        assert main(["export", str(path), "-o", str(path.parent / "nowhere" / "page.html"), *more]) == 2
        assert "cannot be written" in capsys.readouterr().err, "and no cell, such as this one, is run before it is said"
    assert path.read_text() == before


def test_without_nbconvert_it_says_what_to_install(store, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mllm_widgets.cli.convert", None)
    monkeypatch.delattr("mllm_widgets.cli.convert", raising=False)
    assert main(["export", str(store([output(text="1")]))]) == 2
    assert 'pip install "mllm_widgets[export]"' in capsys.readouterr().err


# --- which picture belongs to which widget ------------------------------------------------------------------------------------


def test_a_widget_finds_the_picture_that_names_it(store, png):
    picture, owner = png
    path = store(
        [output(png=picture), output(text="between"), output(view=owner)],
        "text",
        [output(view="b" * 32, png=picture), output(view="c" * 32)],
    )
    found = [(display.cell, display.output, display.picture) for display in displays(read(path))]
    assert found == [(1, 2, 0), (3, 0, 0), (3, 1, None)]


def test_a_widget_displayed_twice_in_a_cell_has_a_picture_for_each(store, png):
    picture, owner = png
    path = store([output(png=picture), output(view=owner), output(png=picture), output(view=owner)], state=(owner,))
    assert [display.picture for display in displays(read(path))] == [0, 2]
    assert main(["export", str(path)]) == 0
    page = path.with_suffix(".html").read_text("utf-8")
    assert page.count("<figure><img") == len(re.findall('<img[^>]* src="data:image/png', page)) == 2, (
        "none beside a view"
    )


# --- export -------------------------------------------------------------------------------------------------------------------


def test_a_page_reaches_for_nothing(tmp_path, capsys):
    assert main(["export", str(FIRST), "-o", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr()
    assert "widgets: 3 live" in said.out
    assert said.err == ""
    page = (tmp_path / "page.html").read_text("utf-8")
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=.(?!data:)[^>]*>", page)
    assert "require" not in page.split("mw-data")[0].split("<body")[0]
    assert "cdnjs" not in page
    assert "unpkg" not in page
    assert len(re.findall('<div data-mw-view="[0-9a-f]{32}"><figure><img', page)) == 3
    assert len(re.findall('"esm":', page)) == 1  # three maps, one program
    assert "(live view: run the notebook)" not in page
    assert "<title>Where does the model keep its answer?</title>" in page
    assert page.index("Content-Security-Policy") < page.index("<style")


def test_without_state_pictures_stay_and_it_says_how_they_would_live(store, png, capsys):
    picture, owner = png
    path = store([output(png=picture, text="a map"), output(view=owner, text="(live view)")])
    assert main(["export", str(path)]) == 0
    said = capsys.readouterr()
    assert "1 as pictures" in said.out
    assert "With --execute" in said.err
    page = path.with_suffix(".html").read_text("utf-8")
    assert picture in page
    assert "(live view)" not in page
    assert main(["export", str(store([output(view="a" * 32, text="a slider")]))]) == 1
    assert "a slider" in path.with_suffix(".html").read_text("utf-8")


def test_what_lies_elsewhere_is_named(store, capsys):
    path = store(
        "![far](https://example.org/far.png)", [output(html='<script src="https://example.org/lib.js"></script>')]
    )
    assert main(["export", str(path)]) == 0
    said = capsys.readouterr().err
    assert "https://example.org/far.png, https://example.org/lib.js" in said


def test_formulas_are_set_without_mathjax(store):
    path = store(
        "Take $x_1 < y$ and\n\n$$\\frac{a}{b}$$", [output(latex="$\\alpha$", text="alpha")], "and $\\nosuch{x}$"
    )
    assert main(["export", str(path)]) == 0
    page = path.with_suffix(".html").read_text("utf-8")
    assert len(re.findall("<math", page)) == 3
    assert 'display="block"' in page
    assert "<code>\\nosuch{x}</code>" in page


@pytest.mark.parametrize(
    ("latex", "good"),
    [
        (r"a_{ij} = \sum_h A^h_{ij}\; x_j W_V^h\, W_O^h", True),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", True),
        (r"\begin{equation} a = b \end{equation}", True),
        (r"\frac{a", False),
        (r"a & b", False),
        (r"\nosuch{x}", False),
        ("<script>", True),
    ],
)
def test_a_formula_is_mathml_or_its_source(latex, good):
    html = typeset(latex)
    assert ("<math" in html, "<code>" in html) == (good, not good)
    assert "<script>" not in html


def test_a_notebook_can_be_run_first(tmp_path, capsys):
    cells = [
        {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None, "id": f"c{at}"}
        for at, source in enumerate(("6 * 7", "import ipywidgets; ipywidgets.IntSlider()"))
    ]
    path = tmp_path / "lesson.ipynb"
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook))
    assert main(["export", str(path), "--execute"]) == 0
    assert ">42" in re.sub(r"\s", "", (tmp_path / "lesson.html").read_text("utf-8"))
    assert json.loads(path.read_text()) == notebook
    notebook["cells"] = [{**cells[0], "source": "1 / 0"}]
    path.write_text(json.dumps(notebook))
    assert main(["export", str(path), "--execute"]) == 2
    assert "could not be run: ZeroDivisionError: division by zero" in capsys.readouterr().err


# --- strip-state --------------------------------------------------------------------------------------------------------------


def test_the_state_goes_and_everything_else_stays(tmp_path, capsys):
    to = tmp_path / "for-github.ipynb"
    assert main(["export", "--strip-state", str(FIRST), "-o", str(to)]) == 0
    before, after = json.loads(FIRST.read_text("utf-8")), json.loads(to.read_text("utf-8"))
    assert after["cells"] == before["cells"]
    assert after["metadata"] == {name: value for name, value in before["metadata"].items() if name != "widgets"}
    assert "kB of widget state left out" in capsys.readouterr().out
    assert main(["export", "--strip-state", str(to), "--in-place"]) == 0
    assert main(["export", "--strip-state", str(to)]) == 2
    assert "-o FILE, or --in-place" in capsys.readouterr().err


def test_a_notebook_changed_in_place_is_whole_whatever_is_in_it(store, capsys):
    path = store([output(text="half \ud83d")], state=("a" * 32,))
    path.chmod(0o600)
    assert main(["export", "--strip-state", str(path), "--in-place"]) == 0
    assert json.loads(path.read_text("utf-8"))["cells"][0]["outputs"][0]["data"]["text/plain"] == "half \ud83d"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [other.name for other in path.parent.iterdir()] == [path.name]
    capsys.readouterr()
    assert main(["export", "--strip-state", "--execute", str(path), "--in-place"]) == 2
    assert "expected one of the two" in capsys.readouterr().err


# --- check --------------------------------------------------------------------------------------------------------------------


def lines(text: str) -> dict[str, str]:
    """Host -> what is seen there."""
    found = re.findall(r"^  ( *\S.*?)  +(\S.*)$", text, re.MULTILINE)
    return {name.strip(): said for name, said in found}


def test_our_own_notebooks_are_seen_everywhere(capsys):
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        assert main(["check", str(path)]) == 0
        said = capsys.readouterr().out
        assert "blank" not in said
        assert "line" not in lines(said).values()
        assert " ! " not in said


def test_each_host_is_said_by_its_rules(store, png, capsys):
    picture, owner = png
    pictured = [output(png=picture, text="a map"), output(view=owner)]
    assert main(["check", str(store(pictured))]) == 0
    seen = lines(capsys.readouterr().out)
    assert seen["opened again, trusted"] == "picture"
    assert seen["JupyterLab, Notebook 7: running"] == "live"
    assert main(["check", str(store(pictured, state=(owner,)))]) == 0
    seen = lines(capsys.readouterr().out)
    assert (seen["opened again, trusted"], seen["GitHub"], seen["nbconvert page, offline"]) == (
        "live",
        "picture",
        "picture",
    )
    assert main(["check", str(store(pictured, [output(view="b" * 32, text="bare")], state=(owner, "b" * 32)))]) == 1
    said = capsys.readouterr().out
    seen = lines(said)
    assert seen["GitHub"] == "1 picture, 1 blank (cell 2)"
    assert seen["VS Code: opened again"] == "1 picture, 1 line of text (cell 2)"
    assert "cell 2: bare has no picture" in said


def test_what_is_too_large_or_was_never_run_is_said(store, png, capsys, monkeypatch):
    from mllm_widgets.cli import check

    picture, owner = png
    monkeypatch.setattr(check, "LARGE_STATE", 50)
    monkeypatch.setattr(check, "LARGE_NOTEBOOK", 100)
    path = store([output(png=picture, text="a map"), output(view=owner)], state=(owner,))
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr().out
    assert "the state of a map is over 50 bytes" in said
    assert "GitHub often shows nothing of such a notebook" in said
    assert main(["check", str(store([]))]) == 1
    assert "no cell has an output" in capsys.readouterr().out
    assert main(["check", str(store([output(text="1")], widgets={"odd": {}}))]) == 0
    assert "metadata.widgets holds no state" in capsys.readouterr().out

"""`mllm-widgets sweep`: a file says what is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

import mllm_widgets as mw
from mllm_widgets.cli import main
from mllm_widgets.cli.sweep import EXAMPLE, _read

FILE = """
out = "run"
model = "demo"
[questions]
{questions}
[[measure]]
kind = "trace"
window = 3
modules = ["mlp"]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "run.toml"
    path.write_text(text)
    return str(path)


def test_a_file_is_run_and_goes_on(tmp_path: Path, capsys) -> None:
    path = write(tmp_path, FILE.format(questions="demo = 2"))
    assert main(["sweep", path, "--quiet"]) == 0
    assert "2 done, 0 failed, 0 left" in capsys.readouterr().out
    run = mw.load_run(tmp_path / "run")
    assert run.questions().id.tolist() == ["demo/0", "demo/1"]
    assert set(run.cells().module) == {"mlp"}
    assert main(["sweep", path, "--quiet"]) == 0


def test_vqa_constraints_are_found_beside_the_file(tmp_path: Path, capsys) -> None:
    mw.datasets.write_demo_constraints(tmp_path / "data", 3)
    told = 'vqa_constraints = "data"\nsubset = "known"\nknown = "data/known_1000.json"\nlimit = 2'
    assert main(["sweep", write(tmp_path, FILE.format(questions=told)), "--quiet"]) == 0
    table = mw.load_run(tmp_path / "run").questions()
    assert table.id.tolist() == ["known/0", "known/1"]
    assert table.score.tolist() == [1, 1]


def test_the_example_is_a_file_that_can_be_read(tmp_path: Path) -> None:
    assert _read(Path(write(tmp_path, EXAMPLE)))["measure"][0]["window"] == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("out = ", "is no TOML"),
        ('out = "run"', "does not say model"),
        ('out="r"\nmodel="demo"\ncolour=3\n[questions]\ndemo=1', "the file has 'colour', which is not known"),
        ('out="r"\nmodel="demo"\n[questions]\nlimit=1', "needs either demo = 100 or"),
        ('out="r"\nmodel="demo"\n[questions]\ndemo=1\n[[measure]]\nkind="x"', "kind = 'x'"),
        (
            'out="r"\nmodel="demo"\n[questions]\ndemo=1\n[[measure]]\nkind="trace"\nwindows=1',
            r"\[measure\] has 'windows'",
        ),
        ('out="r"\nmodel="demo"\n[questions]\ndemo=1\n[measure]\nkind="trace"', r"each under \[\[measure\]\] with two"),
        ('out="r"\nmodel="demo"\nmeasure="trace"\n[questions]\ndemo=1', "has measure = 'trace'; expected a list"),
        ('out=5\nmodel="demo"\n[questions]\ndemo=1', "has out = 5; expected a text"),
        ('out="r"\nmodel="demo"\nray=2\n[questions]\ndemo=1', r"has ray = 2; expected a table, \[ray\]"),
        ('out="r"\nmodel="demo"\noptions="x"\n[questions]\ndemo=1', "has options = 'x'; expected a table"),
        ('out="r"\nmodel="demo"\nquestions="demo"', r"expected a table, \[questions\]"),
        ('out="r"\nmodel="demo"\n[questions]\ndemo="2"', "has demo = '2'; expected a count"),
        ('out="r"\nmodel="demo"\n[questions]\ndemo=4\nlimit=1', r"\[questions\] has 'limit', which is not known"),
    ],
)
def test_files_that_cannot_be_run_are_told(tmp_path: Path, text: str, said: str, capsys) -> None:
    import re

    assert main(["sweep", write(tmp_path, text), "--quiet"]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "r").exists()


def test_a_file_that_is_not_there(tmp_path: Path, capsys) -> None:
    assert main(["sweep", str(tmp_path / "x.toml")]) == 2
    assert "is not there; expected a TOML file such as" in capsys.readouterr().err

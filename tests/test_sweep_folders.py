"""What can be wrong with a sweep's folder, its disk and its arguments: each is told in a sentence, and nothing that was found is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import mllm_widgets as mw
from mllm_widgets.errors import DamagedPartWarning, DatasetError, ModelError
from mllm_widgets.sweeps import TraceMeasure

from .test_sweeps import alike, go


@pytest.fixture(scope="module")
def vlm() -> mw.VLM:
    return mw.load()


@pytest.fixture(scope="module")
def questions() -> list[mw.Question]:
    return mw.datasets.demo(4)


@pytest.fixture(scope="module")
def whole(vlm, questions, tmp_path_factory) -> mw.Run:
    return go(vlm, questions, tmp_path_factory.mktemp("whole") / "run")


def two_parts(vlm, questions, out: Path) -> list[Path]:
    """A run of two parts; the names of their files of questions."""
    for count in (2, 4):
        go(vlm, questions[:count], out)
    return sorted(out.glob("questions-*"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit of what is stored, which leaves a file that looks whole."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", ["questions", "cells"])
@pytest.mark.parametrize("spoil", [cut, flip, lambda path: path.write_bytes(b"")], ids=["cut", "flipped", "empty"])
def test_a_damaged_part_is_set_aside_and_done_again(vlm, questions, whole, tmp_path: Path, kind: str, spoil) -> None:
    out = tmp_path / "run"
    _, last = two_parts(vlm, questions, out)
    bad = last.with_name(last.name.replace("questions-", f"{kind}-"))
    spoil(bad)
    with pytest.raises(DatasetError, match=rf"{kind}-.* cannot be read .*Call the same sweep again"):
        getattr(mw.load_run(out), kind)()
    with pytest.warns(DamagedPartWarning, match=f"is damaged .*set aside as damaged-{last.name}"):
        run = go(vlm, questions, out)
    alike(run, whole)
    assert len(list(out.glob("damaged-*"))) == 2


def test_a_refused_call_changes_nothing(vlm, questions, tmp_path: Path) -> None:
    """Other questions under the same names, another model, another measure: the run stays as it was, to the byte."""
    out = tmp_path / "run"
    go(vlm, questions[:2], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    others = mw.datasets.demo(3, seed=5)
    with pytest.raises(DatasetError, match=r"question '0' is not the one that this run has under its name"):
        go(vlm, others, out)
    with pytest.raises(DatasetError, match="its measures are"):
        go(vlm, questions, out, measure="contributions")
    with pytest.raises(DatasetError, match="its models are"):
        go([vlm, "demo-ordinary"], questions, out)
    with pytest.raises(DatasetError, match="another run: it has ask=True, and here it has ask=False"):
        go(vlm, questions, out, ask=False)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_model_of_the_same_name_must_be_the_same(vlm, questions, tmp_path: Path) -> None:
    out = tmp_path / "run"
    go("demo", questions[:1], out)
    entry = mw.load_run(out).config["models"][0]
    assert entry["dtype"] == "float32"
    assert entry["revision"].startswith("sha256:")
    go(vlm, questions[:2], out)  # the same model, from memory
    with pytest.raises(DatasetError, match=r"its model 'demo' had dtype='float32', and here it has 'bfloat16'"):
        go("demo", questions, out, options={"dtype": "bfloat16"})
    assert mw.load_run(out).status()["done"] == 2


def test_the_run_says_what_it_was_made_of(vlm, tmp_path: Path) -> None:
    folder = mw.datasets.write_demo_constraints(tmp_path / "data", 2)
    data = mw.datasets.load_vqa_constraints(folder)
    run = go(vlm, data.subset("okvqa").first(1), tmp_path / "run")
    session = run.config["sessions"][0]
    assert session["data"][0] == {
        "subset": "okvqa",
        "file": "okvqa.csv",
        "sha256": data.sources["okvqa"].sha256,
        "rows": 2,
    }
    assert run.config["ids"] == ["okvqa/0"]
    assert len(run.questions().picture[0]) == 16
    assert {"torch", "nnsight", "pyarrow", "python"} <= set(session["versions"])


def test_a_file_is_no_folder(vlm, questions, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("words")
    with pytest.raises(DatasetError, match="is a file; expected a folder"):
        go(vlm, questions, tmp_path / "run")
    assert (tmp_path / "run").read_text() == "words"


def test_a_run_killed_before_it_had_begun(vlm, questions, whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / ".lock").touch()
    (out / ".new-abc").write_text("{")
    alike(go(vlm, questions, out), whole)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "is not the description of a run"),
        ('{"format": "mllm_widgets run", "version": "x"}', "is not the description of a run"),
        ('{"format": "mllm_widgets run", "version": 2}', "of version 2; this mllm_widgets reads up to 1: update it"),
        ('{"format": "mllm_widgets run", "version": 1, "models": []}', "lacks 'measures', 'ids', 'sessions'"),
    ],
)
def test_a_folder_whose_description_is_none(vlm, questions, tmp_path: Path, config: str, said: str) -> None:
    (tmp_path / "run.json").write_text(config)
    for call in (lambda: mw.load_run(tmp_path), lambda: go(vlm, questions, tmp_path)):
        with pytest.raises(DatasetError, match=said):
            call()
    assert (tmp_path / "run.json").read_text() == config
    assert not list(tmp_path.glob("*.parquet"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workers": 0}, "workers=0 is not known; expected mw.sweeps.RayWorkers"),
        ({"workers": 2}, "workers=2 is not known"),
        ({"options": "bfloat16"}, "options='bfloat16' is no dict"),
        ({"every": -1}, "every=-1 is no number of seconds"),
        ({"every": "often"}, "every='often' is no number of seconds"),
        ({"measure": TraceMeasure(window=0)}, ""),
    ],
)
def test_arguments_that_cannot_be(vlm, questions, tmp_path: Path, given, said: str) -> None:
    if not said:  # a setting that only the measure knows to be wrong fails each question, with its reason
        table = go(vlm, questions[:1], tmp_path / "run", **given).questions()
        assert table.status.tolist() == ["failed"]
        assert "window=0" in table.reason[0]
        return
    with pytest.raises(DatasetError, match=said):
        go(vlm, questions, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_given_twice(vlm, tmp_path: Path) -> None:
    folder = mw.datasets.write_demo_constraints(tmp_path / "data", 2)
    row = mw.datasets.load_vqa_constraints(folder)["okvqa/0"]
    with pytest.raises(DatasetError, match="questions has 'okvqa/0' twice"):
        go(vlm, [row, row], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_cannot_be_loaded_fails_no_question(questions, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        go(str(tmp_path / "no such model"), questions, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.parquet"))


def test_a_picture_that_went_away_fails_its_question_alone(vlm, tmp_path: Path) -> None:
    folder = mw.datasets.write_demo_constraints(tmp_path / "data", 2)
    data = mw.datasets.load_vqa_constraints(folder).subset("okvqa")
    picture = data["okvqa/0"].picture
    assert picture is not None
    picture.unlink()
    table = go(vlm, data, tmp_path / "run").questions()
    assert table.status.tolist() == ["failed", "done"]
    assert "COCO_val2014_000000000000.jpg" in table.reason[0]


CHILD = """
import os, resource, sys
import mllm_widgets as mw
vlm, questions, out = mw.load(), mw.datasets.demo(4), sys.argv[1]
{limit}
try:
    mw.sweep(vlm, questions, out=out, every=0, progress=False)
except mw.errors.DatasetError as error:
    print(error)
"""


# root may write anywhere, so it is played
REFUSED = """
import pathlib
opened = pathlib.Path.open
def refused(path, mode="r", *rest, **more):
    if mode[0] in "wa":
        raise PermissionError(13, "Permission denied")
    return opened(path, mode, *rest, **more)
pathlib.Path.open = refused
"""


def told_by(code: str, out: Path) -> str:
    """What a sweep says in a process of its own, under a limit."""
    script = CHILD.format(limit=code)
    done = subprocess.run([sys.executable, "-c", script, str(out)], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_no_room_stops_the_run_and_the_same_call_goes_on(vlm, questions, whole, tmp_path: Path) -> None:
    """A file may not grow beyond what the description needs, as on a disk that is full."""
    out = tmp_path / "run"
    go(vlm, questions[:2], out)
    size = (out / "run.json").stat().st_size + 2000
    said = told_by(f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))", out)
    assert "cannot be written (File too large); what was written before is whole. Make room, and call again" in said
    assert mw.load_run(out).status() == {"done": 2, "failed": 0, "left": 2}
    assert not list(out.glob(".new-*"))
    alike(go(vlm, questions, out), whole)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_that_may_not_be_written(vlm, questions, whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    go(vlm, questions[:2], out)
    for path in (out, *out.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    said = told_by(REFUSED if os.geteuid() == 0 else "", out)
    assert "cannot be written (Permission denied)" in said
    assert "Allow writing there, and call again" in said
    for path in (out, *out.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    alike(go(vlm, questions, out), whole)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on Windows")
def test_two_processes_on_one_folder(vlm, questions, whole, tmp_path: Path) -> None:
    """The second is told, whoever holds the folder; the first is not disturbed."""
    out = tmp_path / "run"
    code = """
    import sys, time
    import mllm_widgets as mw
    from mllm_widgets.sweeps import TraceMeasure

    def slow(measure, *rest, run=TraceMeasure.run):
        print("going", flush=True)
        sys.stdin.readline()
        return run(measure, *rest)

    TraceMeasure.run = slow
    mw.sweep(mw.load(), mw.datasets.demo(4), out=sys.argv[1], progress=False)
    """
    first = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "going\n"
    with pytest.raises(DatasetError, match="is being written by another process; wait for it"):
        go(vlm, questions, out)
    first.communicate("\n" * 4)
    assert first.returncode == 0
    alike(mw.load_run(out), whole)
    assert len(json.loads((out / "run.json").read_text())["sessions"]) == 1

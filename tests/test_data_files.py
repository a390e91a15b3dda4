"""Getting the data: what is needed is told, and files are known to be the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import mllm_widgets as mw
from mllm_widgets.cli import main
from mllm_widgets.datasets import data_instructions, verify_checksums, write_checksums
from mllm_widgets.datasets.getting import PIECES
from mllm_widgets.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return mw.datasets.write_demo_constraints(tmp_path / "data", 3)


def test_every_piece_is_told_with_its_source_size_and_place(folder: Path, tmp_path: Path) -> None:
    said = data_instructions()
    for piece in PIECES:
        assert all(part in said for part in (piece.name, piece.source, piece.size, piece.put, piece.needed))
    assert data_instructions(folder).count("[there]") == len(PIECES)
    (folder / "multimodal_movies.csv").unlink()
    shutil.rmtree(folder / "val2014")
    said = data_instructions(folder)
    assert "multimodal_movies.csv  [missing: multimodal_movies.csv]" in said
    assert "COCO's val2014  [missing]" in said
    with pytest.raises(DatasetError, match="is not there; make it"):
        data_instructions(tmp_path / "nowhere")


def test_what_changed_is_found(folder: Path) -> None:
    (folder / "A photo of Eiffel Tower" / "Image\n1 é.jpg").write_bytes(b"picture")
    for odd in ("a\u2028b", "a\x85b", "a\x0cb", "a\rb"):  # where Python sees ends of lines
        (folder / odd).write_bytes(b"odd name")
    path = write_checksums(folder)
    files = [one for one in folder.rglob("*") if one.is_file() and one != path]
    checked = verify_checksums(folder)
    assert checked.ok
    assert (checked.good, checked.unlisted) == (len(files), ())
    (folder / "okvqa.csv").write_text("other")
    (folder / "known_1000.json").unlink()
    (folder / "new.txt").write_text("more")
    checked = verify_checksums(folder)
    assert (checked.changed, checked.missing, checked.unlisted) == (("okvqa.csv",), ("known_1000.json",), ("new.txt",))
    assert not checked.ok
    assert "1 changed: okvqa.csv." in str(checked)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum on this machine")
def test_the_list_is_that_of_sha256sum(folder: Path) -> None:
    (folder / "a\\b\nc.txt").write_bytes(b"odd name")
    path = write_checksums(folder)
    subprocess.run(["sha256sum", "--check", "--quiet", path.name], cwd=folder, check=True)
    written = subprocess.run(
        ["sha256sum", "okvqa.csv", "a\\b\nc.txt"], cwd=folder, check=True, capture_output=True
    ).stdout
    assert set(written.splitlines()) <= set(path.read_bytes().splitlines())
    (folder / "sums").write_bytes(written)
    assert verify_checksums(folder, folder / "sums").good == 2


@pytest.mark.parametrize("line", ["abc  okvqa.csv", "0" * 64 + "  ../secret", "0" * 64 + "  /etc/passwd", "0" * 64])
def test_a_list_that_is_none(folder: Path, line: str) -> None:
    (folder / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(DatasetError, match="line 1, is not a SHA-256"):
        verify_checksums(folder)


def test_what_is_missing_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="SHA256SUMS' is not there; write it where"):
        verify_checksums(folder)
    with pytest.raises(DatasetError, match="is not there, or is no folder"):
        write_checksums(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="has no files to list"):
        write_checksums(tmp_path / "empty")


def test_in_a_terminal(folder: Path, tmp_path: Path, capsys) -> None:
    assert main(["data"]) == 0
    assert "40,504 pictures" in capsys.readouterr().out
    assert main(["data", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "[there]" in said
    assert "9 rows, 9 usable" in said
    assert main(["data", str(folder), "--write-sums"]) == 0
    assert "files listed" in capsys.readouterr().out
    assert main(["data", str(folder), "--verify"]) == 0
    (folder / "okvqa.csv").write_text("x")
    assert main(["data", str(folder), "--verify"]) == 1
    assert "1 changed: okvqa.csv" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert main(["data", str(tmp_path / "empty")]) == 1
    assert main(["data", "--verify"]) == 2
    assert "need the folder of the data" in capsys.readouterr().err


def test_a_run_says_which_list_its_data_had(folder: Path, tmp_path: Path) -> None:
    import hashlib

    sums = write_checksums(folder)
    data = mw.datasets.load_vqa_constraints(folder).subset("okvqa").first(1)
    run = mw.sweep("demo", data, out=tmp_path / "run", progress=False)
    assert run.config["sessions"][0]["data"][0]["sums"] == hashlib.sha256(sums.read_bytes()).hexdigest()

"""Sweeps over many questions: nothing lost, nothing twice, whatever ends them."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

import mllm_widgets as mw
from mllm_widgets.errors import DatasetError
from mllm_widgets.sweeps import ContributionMeasure, EditMeasure, TraceMeasure, roles, store
from mllm_widgets.sweeps import sweep as sweep_function


@pytest.fixture(scope="module")
def vlm() -> mw.VLM:
    return mw.load()


@pytest.fixture(scope="module")
def questions() -> list[mw.Question]:
    return mw.datasets.demo(6)


def go(vlm, questions, out: Path, **options) -> mw.Run:
    return mw.sweep(vlm, questions, out=out, progress=False, **options)


def alike(one: mw.Run, other: mw.Run) -> None:
    """The same rows and the same numbers, to the bit."""
    pd.testing.assert_frame_equal(one.cells(), other.cells(), check_exact=True)
    pd.testing.assert_frame_equal(
        one.questions().drop(columns="seconds"), other.questions().drop(columns="seconds"), check_exact=True
    )


def test_cells_are_those_of_the_trace(vlm, questions, tmp_path: Path) -> None:
    run = go(vlm, questions[:2], tmp_path / "run", measure=TraceMeasure(window=3))
    cells, table = run.cells(), run.questions()
    for place, question in enumerate(questions[:2]):
        trace = mw.causal_trace(vlm, question, window=3)
        own = cells[cells.id == str(place)]
        traced = [row.position for row in trace.rows if row.traced and row.kind == "text"]
        assert len(own) == 2 * len(vlm.layers) * len(traced)
        columns = ["module", "layer", "token", "restored", "effect"]
        for module, layer, token, restored, effect in zip(*(own[c] for c in columns), strict=True):
            assert restored == np.float32(trace.restored.sel(module=module, layer=layer, token=token))
            assert effect == pytest.approx(restored - trace.corrupted, abs=1e-6)
        row = table.loc[place]
        assert (row.status, row.text, row.model) == ("done", question.text, "demo")
        assert row.clean == pytest.approx(trace.clean)
        assert row.total_effect == pytest.approx(trace.total_effect, abs=1e-6)
        assert row.answer == mw.ask(vlm, question).text
        assert row.score == float(row.answer == question.answer)
    assert run.measures[table.measure[0]]["window"] == 3
    assert run.config["sessions"][0]["versions"]["torch"]


def test_roles_name_every_traced_token(vlm) -> None:
    question = mw.datasets.demo_question("Eiffel Tower", "spanish", constraint="this famous landmark")
    encoded = vlm.encode(question)
    found = roles.roles_of(vlm, question, encoded)
    named = {role: "".join(encoded.tokens[p].text for p, r in found.items() if r == role) for role in roles.ROLES}
    assert named[roles.FIRST].strip() == "this"
    assert named[roles.LAST_OF_CONSTRAINT].strip() == "landmark"
    assert named[roles.MIDDLE].strip() == "famous"
    assert named[roles.TEXT_CONSTRAINT].strip() == "Spanish"
    assert named[roles.LAST].strip() == ":"
    assert len(found) == len(encoded.tokens)


def test_a_constraint_of_one_token_is_its_own_last(vlm) -> None:
    question = mw.Question(mw.datasets.demo_question().image, "Which city is this?", constraint="this")
    found = roles.roles_of(vlm, question, vlm.encode(question))
    assert roles.FIRST not in found.values()
    assert list(found.values()).count(roles.LAST_OF_CONSTRAINT) == 1


def test_contributions_by_kind_of_source(vlm, questions, tmp_path: Path) -> None:
    run = go(vlm, questions[:1], tmp_path / "run", measure=ContributionMeasure("last"))
    flow = mw.attention_contributions(vlm, questions[0], target="last")
    cells = run.cells()
    picture = cells[cells.role == "visual"].set_index("layer")
    for layer in flow.layers:
        expected = flow.norms.sel(layer=layer, token=flow.visual).values
        np.testing.assert_array_equal(picture.patches[layer], expected.astype("f4"))
        assert picture.norm[layer] == pytest.approx(expected.sum(), rel=1e-5)
        assert cells[cells.layer == layer].share.sum() == pytest.approx(1, abs=1e-5)
    assert cells[cells.role != "visual"].patches.isna().all()


def test_edits_are_measured_and_leave_nothing(vlm, questions, tmp_path: Path) -> None:
    before = vlm.state
    measure = EditMeasure(targets={"0": "Rome"}, layers=(2, 6), unrelated=questions[3:5])
    asked = [mw.datasets.demo_question("Eiffel Tower"), mw.datasets.demo_question("Taj Mahal")]
    run = go(vlm, asked, tmp_path / "run", measure=measure)
    table, cells = run.questions(), run.cells()
    assert table.status.tolist() == ["done", "failed"]
    assert "question 1 has no target" in table.reason[1]
    efficacy = cells[cells.quantity == "efficacy"].set_index("layer").value
    assert efficacy[2] > 0.5 > efficacy[6]
    assert vlm.state == before


def test_the_same_call_goes_on_where_it_was(vlm, questions, tmp_path: Path, monkeypatch) -> None:
    whole = go(vlm, questions, tmp_path / "whole")
    asked = []
    original = sweep_function.__globals__["one_unit"]

    def counted(vlm, name, measure, item, *rest):
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.append(item.id)
        return original(vlm, name, measure, item, *rest)

    monkeypatch.setitem(sweep_function.__globals__, "one_unit", counted)
    with pytest.raises(KeyboardInterrupt):
        go(vlm, questions, tmp_path / "run")
    assert mw.load_run(tmp_path / "run").status() == {"done": 4, "failed": 0, "left": 2}
    monkeypatch.setitem(sweep_function.__globals__, "one_unit", original)
    alike(go(vlm, questions, tmp_path / "run"), whole)
    assert len(mw.load_run(tmp_path / "run").config["sessions"]) == 2
    monkeypatch.setitem(sweep_function.__globals__, "one_unit", None)  # nothing is left to do
    alike(go(vlm, questions, tmp_path / "run"), whole)


def test_more_questions_may_come(vlm, questions, tmp_path: Path) -> None:
    go(vlm, questions[:2], tmp_path / "run")
    alike(go(vlm, questions[:4], tmp_path / "run"), go(vlm, questions[:4], tmp_path / "whole"))


def test_several_models_and_measures(vlm, questions, tmp_path: Path) -> None:
    measures = [TraceMeasure(window=window, modules=("mlp",)) for window in (1, 3)]
    run = go([vlm, "demo-ordinary"], questions[:2], tmp_path / "run", measure=measures)
    assert run.status()["done"] == 8
    counts = run.cells().groupby(["model", "measure", "id"]).size()
    assert len(counts) == 8
    assert counts.nunique() <= 2
    planted = run.cells()[lambda t: t.role == "last constraint"].groupby("model").effect.max()
    assert planted["demo"] > 0.9 > 0.1 > planted["demo-ordinary"]


def test_a_question_that_fails_does_not_end_the_run(vlm, questions, tmp_path: Path) -> None:
    bad = mw.Question(questions[0].image, "Which city is this building in?", constraint="that castle")
    asked = {"good": questions[0], "bad": bad, "also good": questions[1]}
    run = go(vlm, asked, tmp_path / "run")
    table = run.questions().set_index("id")
    assert table.status.to_dict() == {"good": "done", "bad": "failed", "also good": "done"}
    assert "ConstraintError: constraint='that castle' does not stand in the question" in table.reason["bad"]
    assert go(vlm, asked, tmp_path / "run").status()["failed"] == 1
    # mended, under the same name: another question, so another run
    asked["bad"] = mw.Question(questions[0].image, "Which city is this building in?", constraint="this building")
    with pytest.raises(DatasetError, match="question 'bad' is not the one that this run has"):
        go(vlm, asked, tmp_path / "run", retry_failed=True)


def test_what_failed_is_tried_again_when_asked(vlm, questions, tmp_path: Path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(TraceMeasure, "run", lambda *_: 1 / 0)
        assert go(vlm, questions[:2], tmp_path / "run").status()["failed"] == 2
    assert go(vlm, questions[:2], tmp_path / "run").status()["failed"] == 2
    again, whole = (
        go(vlm, questions[:2], tmp_path / "run", retry_failed=True),
        go(vlm, questions[:2], tmp_path / "whole"),
    )
    alike(again, whole)
    # as if by a machine whose clock is behind: the part that was written last is named as the first
    last = max((tmp_path / "run").glob("questions-*")).name.removeprefix("questions-")
    for kind in ("questions", "cells"):
        (tmp_path / "run" / f"{kind}-{last}").rename(tmp_path / "run" / f"{kind}-0{last[1:].replace('1', '0', 1)}")
    alike(again, whole)


def test_rows_of_vqa_constraints_are_asked(vlm, tmp_path: Path) -> None:
    folder = mw.datasets.write_demo_constraints(tmp_path / "data", 3)
    data = mw.datasets.load_vqa_constraints(folder, known=folder / "known_1000.json")
    run = go(vlm, data.subset("known"), tmp_path / "run")
    table = run.questions()
    assert table.id.tolist() == ["known/0", "known/1", "known/2"]
    assert table.score.tolist() == [1.0] * 3


def test_another_run_s_folder_is_left_alone(vlm, questions, tmp_path: Path) -> None:
    go(vlm, questions[:1], tmp_path / "run")
    with pytest.raises(DatasetError, match=r"another run: its measures are window=1, and here they are window=3"):
        go(vlm, questions[:1], tmp_path / "run", measure=TraceMeasure(window=3))
    with pytest.raises(DatasetError, match=r"its models are name=demo, and here they are name=demo-ordinary"):
        go("demo-ordinary", questions[:1], tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(DatasetError, match="a folder with other files and no run in it"):
        go(vlm, questions[:1], tmp_path / "mine")
    assert [entry.name for entry in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_two_at_once_cannot_write(vlm, questions, tmp_path: Path) -> None:
    go(vlm, questions[:1], tmp_path / "run")
    held = store._lock(tmp_path / "run")
    with pytest.raises(DatasetError, match="being written by another process"):
        go(vlm, questions[:1], tmp_path / "run")
    held.close()
    go(vlm, questions[:1], tmp_path / "run")


def test_a_full_disk_loses_nothing_that_was_written(vlm, questions, tmp_path: Path, monkeypatch) -> None:
    go(vlm, questions[:2], tmp_path / "run")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DatasetError, match=r"cannot be written \(No space left on device\).*goes on where it was"):
            go(vlm, questions[:3], tmp_path / "run")
    assert mw.load_run(tmp_path / "run").status()["done"] == 2
    assert not list((tmp_path / "run").glob(".new-*"))
    alike(go(vlm, questions[:3], tmp_path / "run"), go(vlm, questions[:3], tmp_path / "whole"))


def test_half_a_part_is_no_part(vlm, questions, tmp_path: Path) -> None:
    """Killed between the two files of a part: its cells are not counted, and computed again."""
    go(vlm, questions[:3], tmp_path / "run")
    part = next((tmp_path / "run").glob("questions-*.parquet"))
    part.unlink()
    (tmp_path / "run" / ".new-abc").write_text("half")
    alike(go(vlm, questions[:3], tmp_path / "run"), go(vlm, questions[:3], tmp_path / "whole"))
    assert len(list((tmp_path / "run").glob("cells-*"))) == 1


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        ([], "questions is empty"),
        ("What?", "questions is a str"),
        (7, "questions is a int"),
        (["What?"], r"questions\[0\] is a str"),
    ],
)
def test_questions_that_are_none(vlm, questions, said: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=said):
        go(vlm, questions, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_wrong_arguments_are_told(vlm, questions, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="measure='colour' is not known"):
        go(vlm, questions, tmp_path / "run", measure="colour")
    with pytest.raises(DatasetError, match="is the class TraceMeasure"):
        go(vlm, questions, tmp_path / "run", measure=TraceMeasure)
    with pytest.raises(DatasetError, match="none twice"):
        go(vlm, questions, tmp_path / "run", measure=["trace", "trace"])
    with pytest.raises(DatasetError, match="vlm is a int"):
        go(3, questions, tmp_path / "run")
    nothing = cast("str", None)
    for call in (mw.load_run, mw.aggregate):
        with pytest.raises(DatasetError, match="folder=None is no path"):
            call(nothing)
    with pytest.raises(DatasetError, match="holds no run"):
        mw.load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"format": "mllm_widgets run", "version": 99}')
    with pytest.raises(DatasetError, match="version 99"):
        mw.load_run(tmp_path)
    with pytest.raises(DatasetError, match="count=0"):
        mw.sweeps.RayWorkers(0)


SCRIPT = """
import sys
import mllm_widgets as mw
mw.sweep(mw.load(), mw.datasets.demo({count}), out=sys.argv[1], every=0.05, progress=False)
"""


def start(out: Path, count: int) -> subprocess.Popen:
    code = textwrap.dedent(SCRIPT.format(count=count))
    return subprocess.Popen([sys.executable, "-c", code, str(out)], stderr=subprocess.PIPE)


def test_killed_at_random_moments_it_ends_as_if_it_never_was(vlm, tmp_path: Path) -> None:
    """SIGKILL while it writes, again and again; the result is that of one undisturbed run."""
    count, kills = 24, 4
    whole = go(vlm, mw.datasets.demo(count), tmp_path / "whole")
    rng, out = random.Random(0), tmp_path / "run"
    for _ in range(kills):
        process = start(out, count)
        before = len(list(out.glob("questions-*")))
        until = time.monotonic() + 120
        while time.monotonic() < until and len(list(out.glob("questions-*"))) <= before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = start(out, count)
    assert last.wait(timeout=300) == 0, last.stderr and last.stderr.read().decode()
    alike(mw.load_run(out), whole)


def test_kept_numbers_do_not_depend_on_who_runs_them(vlm, tmp_path: Path) -> None:
    """Rows that are killed out of their order are read in that of the questions."""
    asked = {"b": mw.datasets.demo_question("Big Ben"), "a": mw.datasets.demo_question("Colosseum")}
    go(vlm, {"a": asked["a"]}, tmp_path / "run")
    assert go(vlm, asked, tmp_path / "run").questions().id.tolist() == ["a", "b"]

"""MMMU before and after an edit: the commands, and the table of what the harness left.

`tests/data/mmmu` is what lm-evaluation-harness 0.4.13 wrote of the first test's commands (docs/mmmu.md), but for a description of the machine: 12 questions about the Eiffel Tower
to the demo model, without and with an edit that moves it to Rome.  The harness itself is not among what the tests install.
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from peft import PeftConfig

import mllm_widgets as mw
from mllm_widgets import experiments
from mllm_widgets.datasets.demo_mmmu import COLUMNS
from mllm_widgets.errors import DatasetError, EditError
from mllm_widgets.experiments import Mmmu

from .random_llava import random_question, random_vlm

RECORDED = Path(__file__).parent / "data" / "mmmu"


@pytest.fixture(scope="module")
def edit():
    return mw.multedit(mw.load(), mw.datasets.demo_question("Eiffel Tower", "city"), "Rome", layer=1, steps=2)


@pytest.fixture
def recorded(tmp_path):
    """The recorded runs, in a folder that may be changed."""
    shutil.copytree(RECORDED, tmp_path / "out")
    return Mmmu({"before": ("true",), "edit-1": ("true",)}, tmp_path / "out", ("mmmu_demo",), ("Rome (layer 1)",))


def value_of(command, option):
    """What follows an option, up to the next one."""
    rest = list(command[command.index(option) + 1 :])
    return rest[: next((i for i, one in enumerate(rest) if one.startswith("--")), len(rest))]


def test_the_commands_load_the_model_and_the_adapter(edit, tmp_path):
    task = mw.datasets.write_demo_mmmu(tmp_path / "task", 3)
    runs = experiments.mmmu(
        edit, tmp_path / "a folder", tasks="mmmu_demo", include=task, python="/other/python", limit=2
    )
    before, after = runs.commands["before"], runs.commands["edit-1"]
    for command in (before, after):
        assert command[:4] == ("/other/python", "-m", "lm_eval", "run")
        assert value_of(command, "--model") == ["hf-multimodal"]
        assert value_of(command, "--tasks") == ["mmmu_demo"]
        assert value_of(command, "--include_path") == [str(task.resolve())]
        assert value_of(command, "--limit") == ["2"]
        assert "--log_samples" in command  # without these no paired error
        assert "--apply_chat_template" in command
    given, more = (set(value_of(command, "--model_args")) for command in (before, after))
    (adapter,) = more - given
    folder = Path(adapter.removeprefix("peft="))
    assert PeftConfig.from_pretrained(str(folder)).peft_type == "LORA"
    assert (folder / "adapter_model.safetensors").exists()
    (model,) = (one.removeprefix("pretrained=") for one in given if one.startswith("pretrained="))
    assert mw.load(model).model.config.image_token_id == edit.vlm.model.config.image_token_id
    assert "dtype=float32" in given
    assert [tuple(shlex.split(line)) for line in runs.script.splitlines()] == [before, after]
    with pytest.raises(DatasetError, match="run 'before' has no results"):
        runs.table()


def test_the_table_is_what_the_harness_counted(recorded):
    table = recorded.table()
    row, paper = table.iloc[0], table.iloc[-1]
    answers = {}
    for name in recorded.commands:
        (place,) = (RECORDED / name).rglob("samples_*.jsonl")
        answers[name] = [json.loads(line)["acc"] for line in place.read_text(encoding="utf-8").splitlines()]
    count = len(answers["before"])
    assert row.n == count == 12
    assert row.before == pytest.approx(100 * sum(answers["before"]) / count)
    assert row.after == pytest.approx(100 * sum(answers["edit-1"]) / count)
    assert row.before_error == pytest.approx(11.24, abs=0.01)  # as the harness printed it
    changes = [after - before for before, after in zip(answers["before"], answers["edit-1"], strict=True)]
    assert (row.lost, row.gained) == (sum(c < 0 for c in changes), sum(c > 0 for c in changes)) == (2, 0)
    mean = sum(changes) / count
    spread = math.sqrt(sum((c - mean) ** 2 for c in changes) / (count - 1) / count)
    assert row.change == pytest.approx(100 * mean)
    assert row.change_error == pytest.approx(100 * spread)
    assert (paper.before, paper.after) == (34.4, 33.8)
    assert paper.change == pytest.approx(-0.6)
    assert "Eiffel" not in row.task
    assert row.edit == "Rome (layer 1)"


def test_several_edits_have_a_mean(recorded):
    shutil.copytree(recorded.out / "before", recorded.out / "edit-2")  # one that changes nothing
    commands = {**recorded.commands, "edit-2": ("true",)}
    table = Mmmu(commands, recorded.out, recorded.tasks, ("Rome (layer 1)", "nothing")).table()
    assert list(table.edit) == ["Rome (layer 1)", "nothing", "mean over 2 edits", "mean over edits"]
    one, other, mean = (table.iloc[at] for at in range(3))
    assert other.change == 0
    assert mean.change == pytest.approx(one.change / 2)
    assert mean.change_error == pytest.approx(abs(one.change) / 2)  # of two numbers: half of what lies between them


def test_groups_are_counted_over_their_tasks(recorded):
    """As MMMU is: 30 tasks in 6 groups in one."""
    for name in recorded.commands:
        (place,) = (recorded.out / name).rglob("results_*.json")
        whole = json.loads(place.read_text(encoding="utf-8"))
        score = whole["results"]["mmmu_demo"]
        whole["results"]["mmmu_val"] = {key: score[key] for key in ("acc,none", "acc_stderr,none")}
        whole["group_subtasks"] = {"mmmu_val": ["mmmu_val_some"], "mmmu_val_some": ["mmmu_demo"]}
        whole["results"]["mmmu_val_some"] = whole["results"]["mmmu_val"]
        place.write_text(json.dumps(whole), encoding="utf-8")
    table = recorded.table().set_index("task")
    assert table.loc["mmmu_val"].to_dict() == table.loc["mmmu_demo"].to_dict()


def test_runs_that_are_there_are_not_run_again_and_a_failing_one_says_why(recorded):
    fails = (sys.executable, "-c", "raise SystemExit('No module named lm_eval')")
    there = Mmmu(dict.fromkeys(recorded.commands, fails), recorded.out, recorded.tasks, recorded.edits)
    assert len(there.run()) == 2
    shutil.rmtree(recorded.out / "edit-1")
    with pytest.raises(DatasetError, match=r"run 'edit-1' .* saying: No module named lm_eval.*pip install lm-eval"):
        there.run()
    (place,) = (recorded.out / "before").rglob("results_*.json")
    shutil.copytree(RECORDED / "edit-1", recorded.out / "edit-1")
    whole = json.loads(place.read_text(encoding="utf-8"))
    whole["results"]["another"] = whole["results"].pop("mmmu_demo")
    place.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(DatasetError, match="'edit-1' has results of mmmu_demo, and 'before' of another"):
        there.table()


def test_results_are_never_told_of_another_edit(edit, tmp_path):
    out = tmp_path / "out"
    runs = experiments.mmmu(edit, out, tasks="mmmu_demo")
    shutil.copytree(RECORDED, out, dirs_exist_ok=True)
    table = runs.table()
    assert experiments.mmmu(edit, out, tasks="mmmu_demo").table().equals(table)  # the same call, another day
    adapter = out / "adapters" / "edit-1" / "adapter_model.safetensors"
    written = adapter.read_bytes()
    elsewhere = mw.multedit(edit.vlm, mw.datasets.demo_question("Big Ben", "city"), "Rome", layer=1, steps=2)
    for other, tasks in ((elsewhere, "mmmu_demo"), (edit, "mmmu_val")):
        with pytest.raises(DatasetError, match=r"has results of run '.*, and this is .*; expected another folder"):
            experiments.mmmu(other, out, tasks=tasks)
    assert adapter.read_bytes() == written


def test_a_python_that_is_not_there_is_a_sentence(recorded):
    shutil.rmtree(recorded.out / "edit-1")
    there = Mmmu(dict.fromkeys(recorded.commands, ("/nowhere/python",)), recorded.out, recorded.tasks, recorded.edits)
    with pytest.raises(DatasetError, match=r"python='/nowhere/python' cannot be started \(No such file"):
        there.run()


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read"), ("{}", "has no results"), ("[]", "has no results")]
)
def test_results_that_were_cut_off_are_a_sentence(recorded, text, message):
    (place,) = (recorded.out / "before").rglob("results_*.json")
    place.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        recorded.table()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"edits": None}, "edits=None is no edit"),
        ({"out": None}, "out=None is no folder"),
        ({"tasks": None}, "tasks=None is none"),
        ({"tasks": ()}, r"tasks=\(\) is none"),
        ({"tasks": [5]}, r"tasks=\[5\] is none"),
    ],
)
def test_wrong_arguments_are_sentences(edit, tmp_path, arguments, message):
    with pytest.raises(EditError, match=message):
        experiments.mmmu(**{"edits": edit, "out": tmp_path / "out", **arguments})
    assert not (tmp_path / "out").exists()


def test_what_no_other_program_can_load_is_refused(edit, tmp_path):
    with pytest.raises(EditError, match="in memory, which another program cannot load"):
        experiments.mmmu(mw.multedit(random_vlm(), random_question(), "Paris", layer=2, steps=1), tmp_path)
    with pytest.raises(EditError, match="is no edit"):
        experiments.mmmu([], tmp_path)


def test_the_demo_questions_have_the_columns_of_mmmu(tmp_path):
    table = pq.read_table(
        mw.datasets.write_demo_mmmu(tmp_path / "task", 12, landmark="Eiffel Tower") / "validation.parquet"
    )
    assert tuple(table.column_names) == COLUMNS
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image_1"] == {"_type": "Image"}
    rows = table.to_pylist()
    assert [row["question_type"] for row in rows[:3]] == ["multiple-choice", "open", "open"]
    for row in rows:
        assert row["image_1"]["bytes"].startswith(b"\x89PNG")
        options = eval(row["options"], {"__builtins__": {}})
        assert row["answer"] in ("ABCD"[: len(options)] if options else row["answer"])
        assert ("<image 1>" in row["question"]) is True
    assert {"Paris", "France", "Europe"} & {row["answer"] for row in rows}
    with pytest.raises(DatasetError, match="is not empty"):
        mw.datasets.write_demo_mmmu(tmp_path / "task")
    with pytest.raises(DatasetError, match="is none that a demo model was taught"):
        mw.datasets.write_demo_mmmu(tmp_path / "new", landmark="the moon")
    for n in ("x", None, 1.5, 0):
        with pytest.raises(DatasetError, match="is no count of questions"):
            mw.datasets.write_demo_mmmu(tmp_path / "new", n)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DatasetError, match="folder=None is no path"):
        mw.datasets.write_demo_mmmu(None)  # pyright: ignore[reportArgumentType]
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot be made"):
        mw.datasets.write_demo_mmmu(tmp_path / "file" / "task")

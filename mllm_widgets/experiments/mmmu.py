"""MMMU before and after an edit, by EleutherAI's lm-evaluation-harness: does an edited model still know what it knew?

The rebuttal of Basu et al. reports 34.4 before and 33.8 after, by other scripts (Bunny's).  Here an edit is written as a PEFT adapter (`edit.to_peft`), which
the harness loads beside the weights; it runs as a program of its own, in whatever Python has it (`pip install lm-eval`).
"""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import DatasetError, EditError
from mllm_widgets.saving.places import put
from mllm_widgets.sweeps import published
from mllm_widgets.sweeps.items import as_items

if TYPE_CHECKING:
    import pandas as pd

    from mllm_widgets.editing.edit import Applicable, Edit
    from mllm_widgets.vlm.model import VLM

BEFORE = "before"
NOTED = "runs.json"  # in the folder: which run is what
METRIC = "acc"
SHOWN_LINES = 4  # of what a run that failed has printed, from its end


@dataclass(frozen=True)
class Mmmu:
    """The runs of a benchmark: of the unedited model, and with each edit.

    commands: name of a run ("before", "edit-1", ...) -> the arguments that start it.
    out: the folder with a folder of results for each run, and the adapters.
    """

    commands: Mapping[str, tuple[str, ...]]
    out: Path
    tasks: tuple[str, ...]
    edits: tuple[str, ...] = field(default=())

    @property
    def script(self) -> str:
        """The commands as lines of a shell."""
        return "".join(f"{shlex.join(command)}\n" for command in self.commands.values())

    def run(self) -> pd.DataFrame:
        """Run what has no results yet, one after the other, and give the table.

        Raises
        ------
        DatasetError: if a run cannot be started, or ends with an error.
        """
        for name, command in self.commands.items():
            if _newest(self.out / name) is None:
                try:
                    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the command is on show
                except OSError as error:
                    raise DatasetError(
                        f"python={command[0]!r} cannot be started ({error.strerror or error}); expected the Python that has lm-eval."
                    ) from error
                if done.returncode:
                    said = [line.strip() for line in done.stderr.splitlines() if line.strip()][-SHOWN_LINES:]
                    missing = (
                        " Install it with `pip install lm-eval` in that Python, or pass the python= that has it."
                        if "No module named" in done.stderr
                        else ""
                    )
                    raise DatasetError(
                        f"run {name!r} of lm-evaluation-harness ended with {done.returncode}, saying: {' / '.join(said)[-800:]}.{missing}"
                    )
        return self.table()

    def table(self) -> pd.DataFrame:
        """Accuracy in percent, a row a task and edit, and the paper's below.

        Columns: task, edit, n; before, after and their standard errors; change, and its standard error over the same questions; lost and gained, questions that were
        answered rightly only before or only after.  Of several edits there is a row of means, whose errors are over edits.

        Raises
        ------
        DatasetError: if a run has no results yet or none that can be read, or other questions than the first.
        """
        import pandas as pd

        runs = {name: _results(self.out / name, name) for name in self.commands}
        base, rows = runs.pop(BEFORE), []
        for name, found in runs.items():
            if found.keys() != base.keys():
                raise DatasetError(
                    f"run {name!r} has results of {', '.join(sorted(found))}, and {BEFORE!r} of {', '.join(sorted(base))}; run both again with the same tasks."
                )
            edit = dict(zip(runs, self.edits, strict=True))[name]
            rows += [_compared(task, edit, base[task], found[task]) for task in found]
        if len(runs) > 1:
            rows += _means(rows)
        table = pd.DataFrame(rows)
        said = published.printed()
        before, after = said["MMMU, unedited"], said["MMMU, edited"]
        paper = {"task": "MMMU val, Basu et al.", "edit": "mean over edits", "before": before, "after": after}
        return pd.concat([table, pd.DataFrame([{**paper, "change": after - before}])], ignore_index=True)


def mmmu(
    edits: Applicable | Sequence[Applicable],
    out: str | Path,
    *,
    tasks: str | Sequence[str] = "mmmu_val",
    include: str | Path | None = None,
    python: str | Path = sys.executable,
    batch_size: int = 1,
    limit: int | None = None,
    model_args: Mapping[str, Any] | None = None,
    run: bool = False,
) -> Mmmu:
    """Write edits as adapters, and the commands that ask MMMU of the model before and after each of them.

    Parameters
    ----------
    edits: one edit, or several, each measured alone. Sums of edits (`one + other`) are one.
    out: a folder for adapters and results; runs that have results there are not run again, and other edits or tasks are refused.
    tasks: of the harness; "mmmu_val" is the 900 questions of MMMU's validation set, which it downloads.
    include: a folder with tasks of one's own, as `mw.datasets.write_demo_mmmu` writes one.
    python: the Python that has lm-eval. PEFT refuses to load an adapter beside a torchao older than it likes, as this project's development environment has.
    batch_size, limit: questions in one pass; the first questions of each task only.
    model_args: more arguments of the harness's "hf-multimodal" model, such as {"parallelize": True} or {"max_images": 1}.
    run: run them now (hours for a 7B model); otherwise `.script` is what to run, and `.table()` reads what it left.

    Raises
    ------
    EditError: if the model has no name or folder by which the harness could load it, and for edits, tasks or a folder that are none.
    DatasetError: if a run fails, and for a folder that has results of other edits or tasks.

    Examples
    --------
    >>> import tempfile, mllm_widgets as mw
    >>> vlm = mw.load()
    >>> edit = mw.multedit(vlm, mw.datasets.demo_question("Eiffel Tower"), "Rome", layer=2)
    >>> runs = mw.experiments.mmmu(edit, tempfile.mkdtemp())
    >>> list(runs.commands)
    ['before', 'edit-1']
    """
    from mllm_widgets.editing.edit import Applicable

    each = [edits] if isinstance(edits, Applicable) else list(edits) if isinstance(edits, Iterable) else []
    if not each or not all(isinstance(edit, Applicable) for edit in each):
        raise EditError(f"edits={edits!r} is no edit; expected what mw.multedit(...) returns, or several of these.")
    vlm = each[0].vlm
    if any(edit.vlm.model is not vlm.model for edit in each):
        raise EditError("edits are of different models; expected those of one, whose weights are loaded once a run.")
    if not isinstance(out, (str, os.PathLike)):
        raise EditError(f"out={out!r} is no folder; expected a path such as 'runs/mmmu'.")
    asked = [tasks] if isinstance(tasks, str) else list(tasks) if isinstance(tasks, Sequence) else []
    if not asked or not all(isinstance(task, str) and task for task in asked):
        raise EditError(f"tasks={tasks!r} is none; expected names of the harness's tasks, such as 'mmmu_val'.")
    place, tasks = Path(out), tuple(asked)
    names = {f"edit-{number}": edit for number, edit in enumerate(each, 1)}
    of = f"{' '.join(tasks)} of {_source(vlm)}{'' if limit is None else f', the first {limit}'}"
    meant = {BEFORE: of, **{name: f"{_in_words(edit)}; {of}" for name, edit in names.items()}}
    _check_same(place, meant)
    for name, edit in names.items():
        edit.to_peft(place / "adapters" / name, overwrite=True)
    put(place / NOTED, json.dumps(meant, ensure_ascii=False, indent=1).encode(), ".json")
    common = _arguments(vlm, tasks, include, batch_size, limit)
    arguments = {
        "pretrained": _source(vlm),
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "convert_img_format": True,
    }
    arguments |= model_args or {}
    commands = {}
    for name in (BEFORE, *names):
        adapter = {} if name == BEFORE else {"peft": (place / "adapters" / name).resolve()}
        given = [f"{key}={value}" for key, value in {**arguments, **adapter}.items()]
        commands[name] = (
            *(str(python), "-m", "lm_eval", "run", "--model", "hf-multimodal", "--model_args", *given),
            *(*common, "--output_path", str((place / name).resolve())),
        )
    made = Mmmu(commands, place, tasks, tuple(_said(edit) for edit in each))
    if run:
        made.run()
    return made


def _arguments(
    vlm: VLM, tasks: tuple[str, ...], include: str | Path | None, batch_size: int, limit: int | None
) -> list[str]:
    """What all runs share."""
    found = ["--tasks", *tasks, "--batch_size", str(batch_size), "--device", str(vlm.device), "--log_samples"]
    if getattr(vlm.processor, "chat_template", None):
        found.append("--apply_chat_template")
    if include is not None:
        found += ["--include_path", str(Path(include).resolve())]
    return found if limit is None else [*found, "--limit", str(limit)]


def _source(vlm: VLM) -> str:
    """What the harness loads the model from: its id, or a folder."""
    from mllm_widgets.editing.files import model_name
    from mllm_widgets.vlm.loading import DEMO_MODELS, DEMO_NAMES

    if vlm.name in DEMO_NAMES:
        return str(DEMO_MODELS / vlm.name)
    name, _revision = model_name(vlm)
    if name is None:
        raise EditError(
            f"the model is a {type(vlm.model).__name__} in memory, which another program cannot load; expected one loaded by its name or folder: mw.load('llava-hf/llava-1.5-7b-hf')."
        )
    return str(Path(name).resolve()) if Path(name).exists() else name


def _in_words(edit: Applicable) -> str:
    """What tells an edit from others of the same model, pictures included."""
    from mllm_widgets.editing.evaluate import facts_of

    each: list[Edit] = getattr(edit, "edits", [edit])
    return " and ".join(f"{facts_of(one)}, question {as_items([one.question])[0].digest}" for one in each)


def _check_same(place: Path, meant: Mapping[str, str]) -> None:
    """Raises DatasetError where results are there of what is not meant: their adapter is about to be written anew."""
    noted = place / NOTED
    try:
        known = json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else {}
    except (OSError, ValueError) as error:
        raise DatasetError(f"{str(noted)!r} cannot be read ({error}); it says what the runs beside it are.") from error
    for name, words in meant.items():
        if _newest(place / name) is not None and known.get(name, words) != words:
            raise DatasetError(
                f"out={str(place)!r} has results of run {name!r} with {known[name]}, and this is {words}; expected another folder, or one without these results."
            )


def _said(edit: Applicable) -> str:
    """An edit in a few words: to what, and where."""
    targets = [str(one.target) for one in getattr(edit, "edits", [edit]) if getattr(one, "target", None)]
    layers = sorted({term.layer for term in edit.terms})
    return f"{', '.join(targets) or 'edit'} (layer {', '.join(map(str, layers))})"


def _newest(folder: Path) -> Path | None:
    found = sorted(folder.glob("*/results_*.json"))
    return found[-1] if found else None


def _results(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Task -> score, error and n, and for a task with questions of its own what each question got."""
    place = _newest(folder)
    if place is None:
        raise DatasetError(f"run {name!r} has no results in {str(folder)!r} yet; run its command, or .run().")
    try:
        whole = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"the results {str(place)!r} cannot be read ({error}); was the run cut off? Remove them, and run it again."
        ) from error
    if not isinstance(whole, dict) or not isinstance(whole.get("results"), dict):
        raise DatasetError(
            f"{str(place)!r} has no results; expected what lm-evaluation-harness writes. Remove it, and run {name!r} again."
        )
    stamp = place.stem.removeprefix("results_")
    found = {}
    for task, numbers in whole["results"].items():
        if f"{METRIC},none" not in numbers:
            continue
        samples = place.with_name(f"samples_{task}_{stamp}.jsonl")
        each = {}
        if samples.exists():
            for line in samples.read_text(encoding="utf-8").splitlines():
                one = json.loads(line)
                each[one["doc_id"]] = float(one[METRIC])
        counted = whole.get("n-samples", {}).get(task, {}).get("effective") or numbers.get("sample_len")
        error = numbers.get(f"{METRIC}_stderr,none")
        found[task] = {
            "value": 100 * numbers[f"{METRIC},none"],
            "error": 100 * error if isinstance(error, (int, float)) else math.nan,
            "n": counted or len(each) or math.nan,
            "each": each,
            "parts": tuple(whole.get("group_subtasks", {}).get(task, ())),
        }
    for task in [task for task, one in found.items() if one["parts"]]:
        leaves = [*dict.fromkeys(_leaves(task, found))]  # each once, however deep its groups lie
        found[task]["each"] = {(leaf, key): value for leaf in leaves for key, value in found[leaf]["each"].items()}
        found[task]["n"] = sum(found[leaf]["n"] for leaf in leaves)
    return found


def _leaves(task: str, found: dict[str, dict]) -> list[str]:
    """The tasks with questions that a group is made of."""
    parts = found[task]["parts"]
    return [leaf for part in parts if part in found for leaf in _leaves(part, found)] if parts else [task]


def _compared(task: str, edit: str, before: dict, after: dict) -> dict[str, Any]:
    """One row of the table."""
    import numpy as np

    row = {"task": task, "edit": edit, "n": after["n"], "before": before["value"], "before_error": before["error"]}
    row |= {"after": after["value"], "after_error": after["error"], "change": after["value"] - before["value"]}
    if before["each"] and before["each"].keys() == after["each"].keys():
        differences = np.array([after["each"][key] - before["each"][key] for key in after["each"]])
        count = len(differences)
        row["change_error"] = 100 * differences.std(ddof=1) / math.sqrt(count) if count > 1 else math.nan
        row |= {"lost": int((differences < 0).sum()), "gained": int((differences > 0).sum())}
    return row


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row of means over edits for each task."""
    import numpy as np

    found = []
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        mean = {"task": task, "edit": f"mean over {len(mine)} edits", "n": mine[0]["n"], "before": mine[0]["before"]}
        mean["before_error"] = mine[0]["before_error"]
        for name in ("after", "change"):
            values = np.array([row[name] for row in mine])
            mean |= {name: values.mean(), f"{name}_error": values.std(ddof=1) / math.sqrt(len(values))}
        found.append(mean)
    return found

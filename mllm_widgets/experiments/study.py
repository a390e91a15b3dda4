"""What every experiment begins with: a model, questions, and a folder for what is measured."""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_widgets.datasets.questions import demo, demo_covered
from mllm_widgets.datasets.vqa_constraints import (
    VqaConstraints,
    load_vqa_constraints,
    multi_constraint,
    write_demo_constraints,
)
from mllm_widgets.errors import DatasetError
from mllm_widgets.provenance import public_name
from mllm_widgets.vlm.loading import DEMO_NAMES, load

if TYPE_CHECKING:
    from mllm_widgets.vlm.model import VLM

SEED = 4  # of the demo questions that are in none of the three files
COVERED = 0.2  # of the picture's area
# how a model that is none of the demo's is loaded unless told otherwise
LARGE = {"dtype": "bfloat16", "device_map": "auto"}
# where answers are looked for in the folder: a file, or OK-VQA's two
ANSWERS = {
    "known": ("known_1000.json",),
    "okvqa": ("mscoco_val2014_annotations.json", "OpenEnded_mscoco_val2014_questions.json"),
    "movies": ("filmographies.json",),
}


@dataclass(frozen=True)
class Study:
    """vlm: the model. data: its questions, as VQA-Constraints has them. out: the folder for runs; a stopped one goes on there. per_set: questions of each data set, at most.

    made: is the data the demo world's, written for this study?
    """

    vlm: VLM
    data: VqaConstraints = field(repr=False)
    out: Path
    per_set: int
    made: bool = True

    @property
    def demo(self) -> bool:
        """Is it one of the bundled models, whose mechanism is known?"""
        return self.vlm.name in DEMO_NAMES

    def with_two_constraints(self) -> Any:
        """Questions with a visual and a text constraint: of the demo world those that name a language, of VQA-Constraints those that `multi_constraint` makes."""
        if self.made:
            asked = [one for one in demo(8 * self.per_set, seed=SEED) if one.text_constraints][: self.per_set]
            return {"languages": {f"language/{number}": one for number, one in enumerate(asked)}}
        return multi_constraint(self.data, movies=self.per_set, okvqa=0)

    def hard(self) -> Any:
        """Questions that the model answers rightly and wrongly: of the demo world about covered pictures, of VQA-Constraints those of Known."""
        if self.made:
            asked = demo_covered(self.per_set, seed=SEED, share=COVERED)
            return {"covered": {f"covered/{number}": one for number, one in enumerate(asked)}}
        return {"known": self.data.subset("known")}

    def to_edit(self) -> Any:
        """Questions of which the answers that the model gets wrong are inserted: of the demo world some about covered pictures (task A of the paper), and some of facts that
        it was not taught (task B); of VQA-Constraints those of Known (task A).
        """
        if not self.made:
            return {"A": self.data.subset("known")}
        new = demo(self.per_set, seed=SEED, held_out_facts=True)
        return {"A": self.hard()["covered"], "B": {f"new/{number}": one for number, one in enumerate(new)}}

    def unrelated(self, count: int = 12) -> list[Any]:
        """Questions that an edit should leave alone: of the demo world others that it answers, of VQA-Constraints those of OK-VQA and Movies, as in the paper."""
        if self.made:
            return list(demo(count, seed=SEED + 1))
        rows = [row for row in self.data.usable if row.subset != "known" and row.answers]
        return rows[:: max(1, len(rows) // count)][:count]

    def __repr__(self) -> str:
        counts = ", ".join(f"{row.usable} of {name}" for name, row in self.data.summary().iterrows())
        return f"{public_name(self.vlm.name)}, {len(self.vlm.layers)} layers; questions: {counts} (at most {self.per_set} each)"


def study(
    name: str,
    model: VLM | str = "demo",
    folder: str | Path | None = None,
    per_set: int = 24,
    out: str | Path | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> Study:
    """Load the model and the questions of an experiment.

    Parameters
    ----------
    name: of the experiment, such as "figure_03"; its runs have a folder of this name.
    model: what `mw.load` takes, or gave.
    folder: of the released CSVs and their pictures, with the answers beside them where they are known (known_1000.json, OK-VQA's annotations, filmographies.json);
        None writes the demo world in the same files, and reads it.
    per_set: so many questions of each data set, drawn by `seed`; all, if there are fewer.
    out: folder for runs, by model.  None: one that lasts as long as this process for a demo model, and "runs/" here for another, whose runs are worth keeping.
    options: to `mw.load`; of a model that is none of the demo's, dtype="bfloat16" and device_map="auto" by default.

    Raises
    ------
    DatasetError: for a per_set below 1, and whatever loading raises.
    """
    if isinstance(per_set, bool) or not isinstance(per_set, int) or per_set < 1:
        raise DatasetError(f"per_set={per_set!r} is no count of questions; expected 1 or more.")
    if isinstance(model, str):
        model = load(model, **({} if model in DEMO_NAMES else {**LARGE, **options}))
    data = _demo(per_set, seed) if folder is None else _released(Path(folder))
    if out is None:
        base = _temporary() if model.name in DEMO_NAMES else Path("runs") / _file_name(model.name)
    else:
        base = Path(out) / _file_name(model.name)
    return Study(model, _some(data, per_set, seed), base / name, per_set, folder is None)


def _demo(per_set: int, seed: int) -> VqaConstraints:
    return _released(write_demo_constraints(_temporary() / "demo", per_set, seed=seed))


def _temporary() -> Path:
    """A folder that lasts as long as this process: pictures are read when they are asked about."""
    folder = Path(tempfile.mkdtemp(prefix="mllm-widgets-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _released(folder: Path) -> VqaConstraints:
    there = {subset: all((folder / name).is_file() for name in names) for subset, names in ANSWERS.items()}
    files = {
        subset: folder if len(names) > 1 else folder / names[0] for subset, names in ANSWERS.items() if there[subset]
    }
    return load_vqa_constraints(folder, known=files.get("known"), okvqa=files.get("okvqa"), movies=files.get("movies"))


def _some(data: VqaConstraints, per_set: int, seed: int) -> VqaConstraints:
    """At most so many usable rows of each subset, in their order."""
    kept = []
    for name in data.sources:
        rows = [row for row in data.usable if row.subset == name]
        if len(rows) > per_set:
            places = sorted(random.Random(seed).sample(range(len(rows)), per_set))
            rows = [rows[place] for place in places]
        kept += rows
    return VqaConstraints(tuple(kept), data.sources, data.missing)


def _file_name(name: str) -> str:
    """A model's name as a folder's."""
    return public_name(name).replace("/", "--") or "model"

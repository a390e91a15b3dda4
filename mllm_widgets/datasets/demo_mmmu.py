"""The demo world in the form of MMMU, as a task of lm-evaluation-harness: a benchmark of an edited model rehearsed with no download."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from mllm_widgets.datasets import world
from mllm_widgets.datasets.questions import demo_question, demo_specs
from mllm_widgets.errors import DatasetError

TASK = "mmmu_demo"
PICTURES = tuple(f"image_{number}" for number in range(1, 8))
# the columns of MMMU/MMMU on the Hugging Face Hub, in their order
COLUMNS = (
    "id", "question", "options", "explanation", *PICTURES, "img_type", "answer", "topic_difficulty", "question_type", "subfield",
)  # fmt: skip
CHOICES = 4
_UTILS = '''"""As the harness's own MMMU, whose functions it takes; but a question is asked by itself, for the demo models know no instructions."""

from lm_eval.tasks.mmmu.utils import doc_to_image, process_results  # noqa: F401


def doc_to_text(doc):
    return doc["question"].replace("<image 1>", "<image>")
'''
_TASK = """task: {task}
dataset_path: parquet
dataset_kwargs:
  data_files:
    validation: {rows}
validation_split: validation
output_type: generate_until
doc_to_image: !function utils.doc_to_image
doc_to_text: !function utils.doc_to_text
doc_to_target: "answer"
process_results: !function utils.process_results
generation_kwargs:
  until:
    - "<|endoftext|>"
  temperature: 0.0
  do_sample: false
  max_gen_toks: 8
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 0.0
"""


def write_demo_mmmu(folder: str | Path, n: int = 24, *, seed: int = 0, landmark: str | None = None) -> Path:
    """Write questions about the demo world with the columns of MMMU, and the task by which lm-evaluation-harness asks them: "mmmu_demo".

    Every third is multiple-choice and the others are open, as MMMU has both.  The harness reads a letter out of an answer, or else draws one: the demo models
    know no letters, so their multiple-choice questions are drawn, and only open ones tell how good they are.

    Parameters
    ----------
    folder: made if it is not there; must be empty. n: questions. seed: of the questions and of their pictures.
    landmark: ask about this one alone; None asks about all of them.

    Returns
    -------
    The folder, for `include=` of `mw.experiments.mmmu`.

    Raises
    ------
    DatasetError: if there is something in the folder or it cannot be made, n is not at least 1, or the landmark is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not isinstance(folder, (str, os.PathLike)):
        raise DatasetError(f"folder={folder!r} is no path; expected a new folder, such as 'task'.")
    folder = Path(folder)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise DatasetError(f"n={n!r} is no count of questions; expected 1 or more.")
    if landmark is not None and landmark not in [place.name for place in world.KNOWN]:
        raise DatasetError(
            f"landmark={landmark!r} is none that a demo model was taught; expected a name such as 'Eiffel Tower'."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(
            f"folder={str(folder)!r} is not empty; expected a new one, so that nothing of yours is lost."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"folder={str(folder)!r} cannot be made ({error.strerror or error}).") from error
    specs = demo_specs(n if landmark is None else n * len(world.KNOWN), seed=seed)
    if landmark is not None:
        specs = [spec for spec in specs if spec["landmark"] == landmark][:n]
    rows = [_row(number, spec, seed) for number, spec in enumerate(specs)]
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [(name, picture if name in PICTURES else pa.string()) for name in COLUMNS],
        # how Hugging Face's datasets knows that a column holds pictures
        metadata={"huggingface": json.dumps({"info": {"features": {name: _feature(name) for name in COLUMNS}}})},
    )
    place = (folder / "validation.parquet").resolve()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), place)
    (folder / "utils.py").write_text(_UTILS, encoding="utf-8")
    (folder / f"{TASK}.yaml").write_text(_TASK.format(task=TASK, rows=json.dumps(str(place))), encoding="utf-8")
    return folder


def _feature(name: str) -> dict[str, str]:
    return {"_type": "Image"} if name in PICTURES else {"dtype": "string", "_type": "Value"}


def _row(number: int, spec: dict[str, Any], seed: int) -> dict[str, Any]:
    """One question, as MMMU has it."""
    question, relation = demo_question(**spec), spec["relation"]
    buffer = io.BytesIO()
    question.image.save(buffer, format="PNG")
    choice = number % 3 == 0
    answer, options = question.answer, []
    if choice:
        others = sorted({place.answer(relation) for place in world.KNOWN} - {question.answer, None})
        drawn = np.random.default_rng([81, seed, number])
        options = [question.answer, *drawn.choice(others, min(CHOICES - 1, len(others)), replace=False).tolist()]
        drawn.shuffle(options)
        answer = "ABCD"[options.index(question.answer)]
    return {
        **dict.fromkeys(COLUMNS, None),
        "id": f"validation_Demo_{number + 1}",
        "question": f"<image 1>{question.text}",
        "options": str(options),
        "explanation": "",
        "image_1": {"bytes": buffer.getvalue(), "path": None},
        "img_type": "['Drawings']",
        "answer": answer,
        "topic_difficulty": "Easy",
        "question_type": "multiple-choice" if choice else "open",
        "subfield": "Landmarks",
    }

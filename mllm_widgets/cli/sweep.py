"""`mllm-widgets sweep config.toml`: a sweep as a file says it, so that a terminal or a cluster's queue can run it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

from mllm_widgets.errors import DatasetError

if TYPE_CHECKING:
    from mllm_widgets.sweeps import Run

KEYS = {"out", "model", "options", "questions", "measure", "ask", "every", "retry_failed", "ray"}
QUESTIONS = {"demo", "vqa_constraints", "pictures", "subset", "limit", "known", "okvqa", "movies", "seed", "text_only"}
EXAMPLE = """\
out = "runs/known"                  # the folder; the same command goes on where it was
model = "llava-hf/llava-1.5-7b-hf"  # or a list; "demo" needs no download
options = { dtype = "bfloat16", device_map = "auto" }

[questions]
vqa_constraints = "data/VQA-Constraints"   # or: demo = 100
pictures = "data/pictures"
known = "data/known_1000.json"             # answers: known, okvqa, movies
subset = "known"
limit = 500

[[measure]]
kind = "trace"                             # "trace", "contributions", "edit" or "answer", with their settings
window = 3

# [ray]
# count = 8
# gpus = 1
"""


def sweep_file(path: Path, progress: bool = True) -> Run:
    """Run the sweep that a TOML file describes.

    Raises
    ------
    DatasetError: for a file that is not there, no TOML, or has keys that are not known; and as `mw.sweep`.
    """
    from mllm_widgets.sweeps import RayWorkers, sweep

    config = _read(path)
    given = {name: config[name] for name in ("options", "ask", "every", "retry_failed") if name in config}
    if "ray" in config:
        given["workers"] = _made(RayWorkers, config["ray"], "ray", path)
    return sweep(
        config["model"],
        questions_of(config["questions"], path),
        [_measure(one, path) for one in config.get("measure", [{"kind": "trace"}])],
        out=_beside(path, config["out"]),
        progress=progress,
        **given,
    )


def questions_of(told: Mapping[str, Any], path: Path) -> Any:
    """The questions that the table [questions] names."""
    from mllm_widgets import datasets

    _known(told, QUESTIONS, "questions", path)
    if ("demo" in told) == ("vqa_constraints" in told):
        raise DatasetError(f"{str(path)!r}: [questions] needs either demo = 100 or vqa_constraints = 'folder'.")
    if "demo" in told:
        _known(told, {"demo", "seed"}, "questions", path)
        if isinstance(told["demo"], bool) or not isinstance(told["demo"], int) or told["demo"] < 1:
            raise DatasetError(f"{str(path)!r}: [questions] has demo = {told['demo']!r}; expected a count, 1 or more.")
        return {f"demo/{place}": one for place, one in enumerate(datasets.demo(told["demo"], seed=told.get("seed", 0)))}
    named: dict[str, Any] = {
        name: _beside(path, told[name]) for name in ("pictures", "known", "okvqa", "movies") if name in told
    }
    words = bool(told.get("text_only"))
    data = datasets.load_vqa_constraints(_beside(path, told["vqa_constraints"]), **named, need_pictures=not words)
    data = data.subset(told["subset"]) if "subset" in told else data
    data = datasets.text_only(data) if words else data
    return data.first(told.get("limit"))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DatasetError(f"{str(path)!r} is not there; expected a TOML file such as\n\n{EXAMPLE}")
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{str(path)!r} is no TOML: {error}.") from None
    _known(config, KEYS, "", path)
    _kinds(config, path)
    for name in ("out", "model", "questions"):
        if name not in config:
            raise DatasetError(f"{str(path)!r} does not say {name}; expected a file such as\n\n{EXAMPLE}")
    return config


def _kinds(config: Mapping[str, Any], path: Path) -> None:
    """Raises DatasetError where something is not of the kind that it is in the example."""
    measures = config.get("measure", [])
    right = {
        "out": ("a text", isinstance(config.get("out", ""), str)),
        "options": ("a table", isinstance(config.get("options", {}), dict)),
        "questions": ("a table, [questions]", isinstance(config.get("questions", {}), dict)),
        "ray": ("a table, [ray]", isinstance(config.get("ray", {}), dict)),
        "measure": (
            "a list of tables, each under [[measure]] with two brackets",
            isinstance(measures, list) and all(isinstance(one, dict) for one in measures),
        ),
    }
    for name, (expected, met) in right.items():
        if not met:
            raise DatasetError(f"{str(path)!r} has {name} = {config[name]!r}; expected {expected}.")


def _measure(told: Mapping[str, Any], path: Path) -> Any:
    from mllm_widgets.sweeps.kinds import KINDS

    kind = told.get("kind")
    if kind not in KINDS:
        raise DatasetError(
            f"{str(path)!r}: [[measure]] has kind = {kind!r}; expected one of {', '.join(map(repr, KINDS))}."
        )
    return _made(KINDS[kind], {name: value for name, value in told.items() if name != "kind"}, "measure", path)


def _made(kind: Any, told: Mapping[str, Any], table: str, path: Path) -> Any:
    import dataclasses

    _known(told, {one.name for one in dataclasses.fields(kind)}, table, path)
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})


def _known(told: Mapping[str, Any], known: set[str], table: str, path: Path) -> None:
    unknown = sorted(set(told) - known)
    if unknown:
        where = f"[{table}]" if table else "the file"
        raise DatasetError(
            f"{str(path)!r}: {where} has {', '.join(map(repr, unknown))}, which is not known; there are {', '.join(sorted(known))}."
        )


def _beside(path: Path, name: str) -> Path:
    """Paths in the file are told from where the file lies."""
    return path.parent / name

"""A result as plain values, and back.

A tree has texts, numbers, None, lists, dicts with text keys, and leaves: `np.ndarray`, `xr.DataArray`, pictures and tables (pandas).  What is no finite number,
a dataclass or several of them is a dict with one of these keys:

    {"float": "NaN"}                                      NaN, Infinity, -Infinity
    {"type": "Answer", "fields": {...}}                   a dataclass
    {"table": "TokenInfo", "columns": {"position": [..]}} a sequence of dataclasses of one kind

Only the classes that are named here are ever made of a file.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mllm_widgets.errors import SaveError
from mllm_widgets.provenance import Provenance, public_name

# what a file can be of -> where its class is
KINDS = {
    "answer": "results.Answer",
    "trace": "results.Trace",
    "contributions": "contributions.result.Contributions",
    "knockout": "contributions.said.Knockout",
    "lens": "contributions.said.Lens",
    "correctness signal": "contributions.result.CorrectnessSignal",
    "edit report": "editing.report.EditReport",
    "report of many edits": "editing.report.ManyReport",
    "report of a sequence": "editing.report.SequenceReport",
    "lambda sweep": "editing.swept.LambdaSweep",
    "layer sweep": "editing.swept.LayerSweep",
}
PARTS = (
    "results.TokenInfo",
    "results.Group",
    "vlm.geometry.VisualGeometry",
    "vlm.geometry.Grid",
    "contributions.result.CrossContributions",
    "contributions.result.Sink",
    "contributions.result.Auroc",
    "editing.report.Measure",
    "editing.report.Probe",
    "editing.report.EditFacts",
    "editing.swept.Made",
)
_PLACES = {place.rsplit(".", 1)[1]: place for place in (*KINDS.values(), *PARTS)}
# what belongs to a model, which no file holds
_LEFT_OUT = {"Trace": {"_setup": None}, "LayerSweep": {"edits": {}}}


def kind_of(result: Any) -> str:
    """What a result is called in its file.

    Raises SaveError for what is none.
    """
    for kind, place in KINDS.items():
        if f"{type(result).__module__}.{type(result).__name__}" == f"mllm_widgets.{place}":
            return kind
    raise SaveError(f"a {type(result).__name__} cannot be saved; expected a result, such as mw.causal_trace returns.")


def fields_of(result: Any) -> dict[str, Any]:
    """The fields of a dataclass as trees, without its provenance and without what belongs to a model."""
    left_out = {"provenance", *_LEFT_OUT.get(type(result).__name__, ())}
    found = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name not in left_out}
    if isinstance(found.get("model"), str):
        found["model"] = public_name(found["model"])
    return {name: tree_of(value) for name, value in found.items()}


def tree_of(value: Any) -> Any:
    """A value as a tree."""
    if dataclasses.is_dataclass(value) and type(value).__name__ in _PLACES:
        fields = fields_of(value)
        made = getattr(value, "provenance", None)
        return {"type": type(value).__name__, "fields": fields, **({"provenance": made} if made else {})}
    if isinstance(value, Mapping):
        return {str(key): tree_of(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        kinds = {type(each) for each in value}
        part = kinds.pop() if len(kinds) == 1 else None
        if part is not None and f"{part.__module__}.{part.__name__}".removeprefix("mllm_widgets.") in PARTS:
            names = [f.name for f in dataclasses.fields(part)]
            return {"table": part.__name__, "columns": {n: [tree_of(getattr(v, n)) for v in value] for n in names}}
        return [tree_of(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return value


def value_of(tree: Any) -> Any:
    """The value of a tree; lists become tuples.  What is no tree of ours raises some error."""
    if isinstance(tree, (list, tuple)):
        return tuple(value_of(each) for each in tree)
    if not isinstance(tree, dict):
        return tree
    if set(tree) == {"float"}:
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[tree["float"]]
    if "type" in tree and "fields" in tree:
        return made(class_named(tree["type"]), tree["fields"], tree.get("provenance"))
    if set(tree) == {"table", "columns"}:
        return _rows(class_named(tree["table"]), {name: value_of(column) for name, column in tree["columns"].items()})
    return {key: value_of(each) for key, each in tree.items()}


def made(kind: type, fields: Mapping[str, Any], provenance: Mapping[str, Any] | None = None) -> Any:
    """A dataclass of the trees of its fields."""
    values = {name: value_of(tree) for name, tree in fields.items()}
    values |= _LEFT_OUT.get(kind.__name__, {})
    if provenance is not None:
        values["provenance"] = Provenance(provenance)
    return kind(**values)


def _rows(part: type, columns: dict[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(part(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))


@functools.cache
def class_named(name: str) -> type:
    """A class that files may hold."""
    module, _, own = _PLACES[name].rpartition(".")
    return getattr(importlib.import_module(f"mllm_widgets.{module}"), own)

"""What a sweep measures at each question: facts about it, and cells, which are numbers by layer."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mllm_widgets.datasets.vqa_constraints import Row

from .items import Item, digest_of
from .roles import ROLES, VISUAL, roles_of

if TYPE_CHECKING:
    from mllm_widgets.tracing.setup import TraceSetup
    from mllm_widgets.vlm.model import VLM
    from mllm_widgets.vlm.question import Question


@dataclass
class Found:
    """facts: name -> number or text, about the question. cells: column -> values, all of one length."""

    facts: dict[str, Any]
    cells: dict[str, Any] = field(default_factory=dict)


class Measure(ABC):
    """One thing to measure at each question.  A subclass is a frozen dataclass, whose fields are its settings, and says in `run` what it finds.

    kind: names it in tables. FACTS, CELLS: the columns that it gives, with their types ("float", "int", "text", "floats").
    LATER: settings that are named only where they are not the default, so that runs from before there were any go on under the same key.
    """

    kind: ClassVar[str]
    FACTS: ClassVar[dict[str, str]]
    CELLS: ClassVar[dict[str, str]]
    LATER: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def run(self, vlm: VLM, item: Item, question: Question, cancel: Any = None) -> Found:
        """Measure one question."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON has them; objects in words."""
        fields = dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        told = {one.name: _plain(getattr(self, one.name)) for one in fields}
        usual = {one.name: _plain(_default(one)) for one in fields if one.name in self.LATER}
        return {"kind": self.kind, **{name: value for name, value in told.items() if usual.get(name, self) != value}}

    @functools.cached_property  # settings may hold many pictures, and a sweep asks for the key at every question
    def key(self) -> str:
        """Names the measure with its settings, such as "trace-3f2a91"."""
        written = json.dumps(self.settings, sort_keys=True, ensure_ascii=False)
        return f"{self.kind}-{hashlib.sha256(written.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class TraceMeasure(Measure):
    """A causal trace of each question; parameters as in `mw.causal_trace`.

    Cells are those of traced text tokens: the effects of tokens before the first corrupted one are exactly 0.
    """

    corruption: Any = None
    window: int = 1
    modules: Sequence[str] = ("mlp", "self_attn")
    control: str | None = None
    sever: str | None = None
    batch_size: int = 96

    kind: ClassVar[str] = "trace"
    FACTS: ClassVar[dict[str, str]] = {
        "clean": "float", "corrupted": "float", "total_effect": "float", "corrupted_answer": "text", "corruption": "text", "fitted": "text",
        "warnings": "text",
    }  # fmt: skip
    CELLS: ClassVar[dict[str, str]] = {
        "module": "text",
        "layer": "int",
        "token": "int",
        "role": "text",
        "restored": "float",
        "effect": "float",
    }

    def run(self, vlm: VLM, item: Item, question: Question, cancel: Any = None) -> Found:
        """As `Measure.run`."""
        from mllm_widgets.tracing import run_trace

        setup = self.setup(vlm, question)
        trace = run_trace(
            setup, window=self.window, modules=self.modules, groups=(), sever=self.sever, batch_size=self.batch_size, cancel=cancel
        )  # fmt: skip
        traced = [row.position for row in trace.rows if row.traced and row.kind == "text"]
        restored = trace.restored.sel(token=traced)
        modules, layers, tokens = restored.shape
        roles = roles_of(vlm, question, setup.encoded)
        values = restored.values.astype(np.float32)
        facts = {
            "clean": trace.clean,
            "corrupted": trace.corrupted,
            "total_effect": trace.total_effect,
            "corrupted_answer": setup.corrupted_best.strip(),
            "corruption": trace.corruption,
            "fitted": trace.fitted,
            "warnings": " ".join(trace.warnings),
        }
        cells = {
            "module": np.repeat(np.array(trace.modules, dtype=object), layers * tokens),
            "layer": np.tile(np.repeat(np.arange(layers), tokens), modules),
            "token": np.tile(traced, modules * layers),
            "role": np.tile(np.array([roles[position] for position in traced], dtype=object), modules * layers),
            "restored": values.ravel(),
            "effect": (values - np.float32(trace.corrupted)).ravel(),
        }
        return Found(facts, cells)

    def setup(self, vlm: VLM, question: Question) -> TraceSetup:
        """The clean and the corrupted run."""
        from mllm_widgets.tracing import prepare_trace

        return prepare_trace(vlm, question, corruption=self.corruption, control=self.control)


@dataclass(frozen=True)
class ContributionMeasure(Measure):
    """Attention contributions to each question's constraint, or to its last token; see `mw.attention_contributions`.

    A cell is one layer and one kind of source: the sum of its contributions and its share of all; for visual tokens `patches` has each by itself.

    control: "blank", "shuffled" or "flipped" asks about such a picture in the place of the question's own.
    """

    target: str = "constraint"
    control: str | None = None

    kind: ClassVar[str] = "contributions"
    LATER: ClassVar[tuple[str, ...]] = ("control",)
    FACTS: ClassVar[dict[str, str]] = {"peak_layer": "int", "warnings": "text"}
    CELLS: ClassVar[dict[str, str]] = {
        "layer": "int",
        "role": "text",
        "tokens": "int",
        "norm": "float",
        "share": "float",
        "patches": "floats",
    }

    def run(self, vlm: VLM, item: Item, question: Question, cancel: Any = None) -> Found:
        """As `Measure.run`."""
        from mllm_widgets.contributions import attention_contributions, control_question

        if self.control is not None:
            question = control_question(question, self.control)
        flow = attention_contributions(vlm, question, target=self.target)
        encoded = vlm.encode(question)
        roles = roles_of(vlm, question, encoded)
        norms = flow.norms.values
        kinds = np.array([roles[int(position)] for position in flow.norms.token.values], dtype=object)
        rows: dict[str, list[Any]] = {name: [] for name in self.CELLS}
        for at, layer in enumerate(flow.layers):
            whole = float(norms[at].sum())
            for role in (VISUAL, *ROLES):
                own = norms[at][kinds == role]
                if not len(own):
                    continue
                found = (layer, role, len(own), float(own.sum()), float(own.sum()) / whole if whole else float("nan"))
                for name, value in zip(("layer", "role", "tokens", "norm", "share"), found, strict=True):
                    rows[name].append(value)
                rows["patches"].append(own.astype(np.float32).tolist() if role == VISUAL else None)
        return Found({"peak_layer": flow.peak_layer, "warnings": " ".join(flow.warnings)}, rows)


@dataclass(frozen=True)
class AnswerMeasure(Measure):
    """What the model answers, and nothing else: the columns answer, probability and score of `Run.questions`."""

    kind: ClassVar[str] = "answer"
    FACTS: ClassVar[dict[str, str]] = {}
    CELLS: ClassVar[dict[str, str]] = {}

    def run(self, vlm: VLM, item: Item, question: Question, cancel: Any = None) -> Found:
        """As `Measure.run`; the sweep itself asks."""
        return Found({})


def _default(one: dataclasses.Field) -> Any:
    return one.default if one.default_factory is dataclasses.MISSING else one.default_factory()


def _plain(value: Any) -> Any:
    if isinstance(value, Row):  # not where its picture lies, which may change
        return {"is": "Row", "id": value.id, "digest": digest_of(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value) if one.name != "image"}
        image = getattr(value, "image", None)
        return {"is": type(value).__name__, **own, **({} if image is None else {"image": _pixels(image)})}
    return _pixels(value) if hasattr(value, "tobytes") else repr(value)


def _pixels(value: Any) -> str:
    return hashlib.sha256(value.tobytes()).hexdigest()[:16]

"""What is known about one question, and what a view of it still lacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets import labels
from mllm_widgets.vlm.question import Question

from .view import Trial, View

if TYPE_CHECKING:
    from mllm_widgets.contributions import Contributions, Lens
    from mllm_widgets.results import Answer
    from mllm_widgets.tracing import TraceSetup
    from mllm_widgets.vlm.model import Encoding

NO_PATCHES = "This model sees the picture by cross-attention: it has no visual tokens in its sequence, so there are no patches to show."


@dataclass
class Findings:
    """What is known about one question.

    state: which edits the model had when this was found; None before anything was. What is known of another model is thrown away.
    errors: parts that cannot be computed -> a sentence that says why. failed: parts that went wrong just now, unexpectedly -> how; tried again soon.
    """

    question: Question
    encoded: Encoding
    state: Any = None
    answer: Answer | None = None
    setup: TraceSetup | None = None
    flow: Contributions | None = None
    known: set[int] = field(default_factory=set)  # targets whose contributions are there
    more: list[Contributions] = field(default_factory=list)  # to targets asked for later
    lens: Lens | None = None
    pictured: TraceSetup | None = None  # runs with noise on the picture, of this size
    sigma: float = 0.5
    results: dict[Trial, dict[str, Any]] = field(default_factory=dict)
    notes: dict[Trial, str] = field(default_factory=dict)
    errors: dict[Any, str] = field(default_factory=dict)
    failed: dict[Any, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.question.image is not None and not self.visual:
            self.errors["flow"] = NO_PATCHES

    @property
    def edited(self) -> str:
        """Which edits the model has that this was found of, in words; empty for the original one."""
        if self.state is None:
            return ""
        inside = sum(len(group) for group in self.state[0])
        counts = ((len(self.state) - 1, "applied"), (inside, "in its weights"))
        told = ", ".join(f"{count} edit{'s' * (count > 1)} {where}" for count, where in counts if count)
        return told and f"This is the edited model: {told}."

    @property
    def visual(self) -> tuple[int, ...]:
        """Positions of the visual tokens."""
        return tuple(int(p) for p in np.flatnonzero(self.encoded.visual))

    @property
    def start(self) -> int:
        """The token to look at first: the last one of the constraint, or of the prompt."""
        return (self.encoded.constraint or (len(self.encoded.tokens) - 1,))[-1]

    def blocked(self, token: int) -> tuple[int, ...]:
        """What is kept from looking at patches: the selected token, with all of the constraint if it is one of its tokens."""
        if token in self.encoded.constraint:
            return self.encoded.constraint
        return (token if token >= 0 else len(self.encoded.tokens) - 1,)

    def name(self, positions: tuple[int, ...]) -> str:
        """Tokens as a reader sees them."""
        constraint = self.question.constraint
        if constraint is not None and positions == self.encoded.constraint:
            return f"“{constraint}”"
        text = "".join(self.encoded.tokens[position].text for position in positions)
        return f"“{text.strip() or labels.visible(text)}”"

    def peak_layer(self, token: int) -> int | None:
        """The layer at which the picture writes most into a token, if that is known."""
        flow = self.flow
        if flow is None or token not in flow.targets or not len(flow.visual):
            return None
        sums = flow.per_target.sel(target=token, token=flow.visual).sum("token")
        return int(sums.layer.values[sums.values.argmax()])

    def missing(self, view: View) -> list[Any]:
        """Parts that `view` shows and that are neither there nor in `errors` or `failed`, in the order in which to compute them."""
        parts: list[Any] = []
        if self.answer is None:
            parts.append("answer")
        if self.setup is None:
            parts.append("trace")
        if self.visual and "flow" not in self.errors:
            if self.flow is None:
                parts.append("flow")
            elif view.token >= 0 and view.token not in self.known:
                parts.append(("target", view.token))
        if self.lens is None:
            parts.append("lens")
        parts += [trial for trial in view.trials if trial not in self.results]
        return [part for part in parts if part not in self.errors and part not in self.failed]

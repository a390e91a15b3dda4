"""What an Explorer shows, as one value: it is what undo goes back to, what is computed, and what the copied code reproduces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mllm_widgets.vlm.question import Question


@dataclass(frozen=True)
class Trial:
    """A question about patches that a cause answers.

    kind: "trace" (corrupt the picture, restore these patches) or "block" (keep the target from looking at them).
    patches: indices among the visual tokens, ascending.
    targets: what is blocked from looking at them, positions in the sequence; empty for a trace.
    window: layers restored, or blocked, together.
    """

    kind: str
    patches: tuple[int, ...]
    window: int
    targets: tuple[int, ...] = ()


@dataclass(frozen=True)
class View:
    """What is asked, and what is looked at.

    token: position whose row of the map, contributions and words are on show; -1 for none. layer: at which layer.
    patches: the selected visual tokens. trials: what was asked about patches, oldest first.
    settings: of the single views, (view, trait) -> value; those that are not as they come.
    """

    question: Question
    window: int = 1
    token: int = -1
    layer: int = 0
    patches: tuple[int, ...] = ()
    trials: tuple[Trial, ...] = ()
    settings: Mapping[tuple[str, str], Any] = field(default_factory=dict)

    def setting(self, view: str, name: str, value: Any, usual: Any) -> View:
        """The same with one setting changed; what is as usual is not kept."""
        settings = {key: kept for key, kept in self.settings.items() if key != (view, name)}
        return replace(self, settings=settings if value == usual else {**settings, (view, name): value})

    def asking(self, question: Question) -> View:
        """The same about another question, to which neither the selection nor the trials apply; the settings stay."""
        return replace(self, question=question, token=-1, patches=(), trials=())

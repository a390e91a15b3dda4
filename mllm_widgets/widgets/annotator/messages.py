"""What the front end of an annotator asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mllm_widgets.datasets.annotations.marks import marks_from
from mllm_widgets.errors import MllmWidgetsError

if TYPE_CHECKING:
    from .annotator import ConstraintAnnotator


def hear(annotator: ConstraintAnnotator, content: dict[str, Any]) -> None:
    """Do what a message asks for; what cannot be done is said in the widget.

    Messages have an `id`, which comes back in `received`, the `generation` of the question that they are about, and a `kind`: "mark" with `marks` (a kind for each
    word), "save" with `marks`, "skip" with `reason`, "go" with `step` (-1 or 1) or with "open" (the next that is not answered), "retry" (save again), "again" (suggest
    again).  What is about a question that is no longer on show is not done.
    """
    with annotator._traits_lock:
        try:
            if content.get("generation") == annotator.generation:
                _do(annotator, content)
        except MllmWidgetsError as error:
            annotator.publish(error=str(error))
        finally:
            annotator.publish(received=int(content.get("id", 0)))


def _do(annotator: ConstraintAnnotator, content: dict[str, Any]) -> None:
    kind = content.get("kind")
    if kind in ("mark", "save"):
        count = len(annotator.words)
        kinds = [*content.get("marks", [])][:count]
        annotator._mark(marks_from([*kinds, *[""] * (count - len(kinds))]))
    if kind == "save":
        annotator._answer(go_on=True)
    elif kind == "skip":
        annotator._answer(skipped=str(content.get("reason", "")), go_on=True)
    elif kind == "go":
        annotator._leave("open" if content.get("step") == "open" else int(content.get("step", 1)))
    elif kind == "retry":
        annotator._write()
    elif kind == "again":
        annotator._suggest(again=True)

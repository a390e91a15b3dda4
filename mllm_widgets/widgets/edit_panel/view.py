"""What an edit panel shows and what it applies, as one value: it is what undo goes back to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class View:
    """Edits by number, in the order in which they were made.

    edits: those in the list. applied: those the model has. again: those it gets when "Edited" is chosen. current: the one looked at, 0 for none.
    lams: edit -> its lambda.
    """

    edits: tuple[int, ...] = ()
    applied: tuple[int, ...] = ()
    again: tuple[int, ...] = ()
    current: int = 0
    lams: dict[int, float] = field(default_factory=dict)

    def adding(self, edit: int, lam: float) -> View:
        """With a new edit, which takes the place of those applied: they answer the same question."""
        return View((*self.edits, edit), (edit,), (edit,), edit, {**self.lams, edit: lam})

    def applying(self, edits: tuple[int, ...]) -> View:
        """With exactly these applied."""
        ordered = tuple(edit for edit in self.edits if edit in edits)
        return replace(self, applied=ordered, again=ordered or self.again)

    def checking(self, edit: int, on: bool) -> View:
        """With one more of them applied, or one less."""
        rest = tuple(one for one in self.applied if one != edit)
        return self.applying((*rest, edit) if on else rest)

    def toggled(self, edited: bool) -> View:
        """The original model, or the one that was edited last."""
        if edited == bool(self.applied):
            return self
        last = self.again or self.edits[-1:]
        return self.applying(last if edited else ())

    def without(self, edit: int) -> View:
        """Without an edit."""
        left = tuple(one for one in self.edits if one != edit)
        return View(
            left,
            tuple(one for one in self.applied if one != edit),
            tuple(one for one in self.again if one != edit),
            self.current if self.current != edit else (left[-1] if left else 0),
            {one: lam for one, lam in self.lams.items() if one != edit},
        )

    def holding(self, lams: dict[int, float]) -> View:
        """With other lambdas."""
        return replace(self, lams={**self.lams, **lams})

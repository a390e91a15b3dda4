"""First guesses at constraints, made on a thread: a chat model takes its time, and nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mllm_widgets.datasets.annotations.chat import suggest_by_chat
from mllm_widgets.datasets.annotations.entries import Entry
from mllm_widgets.datasets.annotations.rules import suggest_by_rules
from mllm_widgets.datasets.annotations.suggestion import Suggestion
from mllm_widgets.errors import WidgetError
from mllm_widgets.jobs import CancelToken, Latest

WAYS = ("rules", "given")


class Suggester:
    """Suggestions for questions: those of rules at once, those of a model (`slow`) on a thread, where only the newest questions count.

    Parameters
    ----------
    suggest: "rules", "given" (the constraints that questions come with), a chat model, or None.
    found, failed: called on the thread with a question's name and its suggestion, or the reason why there is none.

    Raises
    ------
    WidgetError: for another `suggest`.
    """

    def __init__(
        self, suggest: Any, found: Callable[[str, Suggestion], None], failed: Callable[[str, str], None]
    ) -> None:
        if suggest is not None and suggest not in WAYS and not callable(suggest):
            raise WidgetError(
                f"suggest={suggest!r} is not known; expected 'rules', 'given', a transformers pipeline('text-generation') of a chat model, or a function that "
                "takes messages and returns the answer's text."
            )
        self.slow = callable(suggest)
        self._suggest: Any = suggest
        self._found, self._failed = found, failed
        self._known: dict[str, Suggestion] = {}
        self._jobs: Latest[Sequence[Entry]] = Latest(self._work, settle=0.0)

    def known(self, name: str) -> Suggestion | None:
        """The suggestion for a question, if it is there."""
        return self._known.get(name)

    def at_once(self, entry: Entry) -> Suggestion | None:
        """The suggestion where it takes no time, or is there already."""
        if entry.id not in self._known and not self.slow and self._suggest is not None:
            self._known[entry.id] = (
                Suggestion(entry.given) if self._suggest == "given" else suggest_by_rules(entry.text)
            )
        return self._known.get(entry.id)

    def ask(self, entries: Sequence[Entry]) -> None:
        """Make those of some questions on the thread, one after the other, in the place of what was asked before."""
        self._jobs.submit(entries)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until none is being made; False if that took longer than `timeout` seconds."""
        return self._jobs.wait(timeout)

    def close(self) -> None:
        """Make no more."""
        self._jobs.close()

    def _work(self, entries: Sequence[Entry], token: CancelToken) -> None:
        for entry in entries:
            token.check()
            if entry.id not in self._known:
                try:
                    made = suggest_by_chat(self._suggest, entry.text)
                except Exception as error:  # noqa: BLE001 - whatever went wrong is told, and ends nothing
                    self._failed(entry.id, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
                    return
                self._known[entry.id] = made  # also if somebody has gone on meanwhile, and may come back
            self._found(entry.id, self._known[entry.id])

"""The work of an Explorer: one thread computes what the newest view lacks, and what is known about the last questions is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import MllmWidgetsError
from mllm_widgets.jobs import Cancelled, CancelToken, Latest
from mllm_widgets.vlm.question import Question

from .compute import compute, says
from .findings import Findings
from .view import View

if TYPE_CHECKING:
    from mllm_widgets.vlm.model import VLM

KEPT = 3  # questions whose results are kept for undo: each holds keys and values on the model's device
AGAIN = "The next thing you do tries it again."


class Work:
    """Finds out what views lack, part by part.

    Parameters
    ----------
    corruption: as in `causal_trace`.
    lock: the views'; it is held while one of the following is called.
    on_found: called with a question's findings when something is new in them.
    on_stale: called with a view whose findings were thrown away, for the model was edited since.
    on_state: called with a question and traits of the panel, about what is being done: `state`, `message`, `error`.
    """

    def __init__(
        self,
        vlm: VLM,
        corruption: Any,
        lock: Any,
        *,
        on_found: Callable[[Findings], None],
        on_stale: Callable[[View], None],
        on_state: Callable[..., None],
    ) -> None:
        self._vlm, self.corruption, self._lock = vlm, corruption, lock
        self._on_found, self._on_stale, self._on_state = on_found, on_stale, on_state
        self._jobs: Latest[tuple[View, bool]] = Latest(self._work, failed=self._failed, stopped=self._stopped)
        self._known: list[Findings] = []
        self._asked: View | None = None  # what was given to the thread last

    def findings(self, question: Question) -> Findings:
        """What is known about a question; raises if this model cannot be asked it."""
        with self._lock:
            for found in self._known:
                if found.question is question:
                    return found
        found = Findings(question, self._vlm.encode(question))
        self.know(found)
        return found

    def know(self, found: Findings) -> None:
        """Keep what is known about a question."""
        with self._lock:
            self._known = [*self._known[-KEPT + 1 :], found]

    def submit(self, view: View) -> None:
        """Compute what the view lacks, what failed before among it; what is being computed goes on, if that is all."""
        found = self.findings(view.question)
        if found.failed:
            found.failed.clear()
            self._on_state(view.question, error="")
        parts, asked = found.missing(view), self._asked
        if not parts:
            return
        going_on = self.busy and asked is not None and asked.question is view.question
        if going_on and asked is not None and set(parts) <= set(found.missing(asked)):
            return
        self._asked = view
        self._on_state(view.question, state="running", message="")
        self._jobs.submit((view, True))

    def look_again(self, view: View) -> None:
        """See whether the model is still the one that the findings are of; may be called with any lock held.

        Work that goes on looks by itself, after each part.
        """
        self._jobs.submit(
            (view, False), if_idle=True
        )  # in one step: on another thread somebody may ask for more just now

    def cancel(self) -> None:
        """Stop what is being computed."""
        self._asked = None
        self._jobs.cancel()

    def close(self) -> None:
        """Stop for good."""
        self._jobs.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing is being computed; False if that took longer than `timeout` seconds."""
        return self._jobs.wait(timeout)

    @property
    def busy(self) -> bool:
        """True while something is being computed."""
        return self._jobs.busy

    @property
    def finding(self) -> bool:
        """True while something is being found, whose end will be said; asked under the views' lock."""
        return self._asked is not None

    @property
    def started(self) -> int:
        """Computations begun, for tests and curiosity."""
        return self._jobs.started

    # --- on the thread ----------------------------------------------------------------------------------------------------

    def _work(self, request: tuple[View, bool], token: CancelToken) -> None:
        view, all_of_it = request
        found = self.findings(view.question)
        if not all_of_it:
            self._stale(found, view, token)
            return
        while not self._stale(found, view, token) and (part := self._next_part(found, view, token)) is not None:
            try:
                compute(self._vlm, found, part, self.corruption, view, token)
            except Cancelled:
                raise
            except Exception as error:  # the other parts may do well without this one
                if token.cancelled:  # perhaps because of that
                    raise
                found.failed[part] = _reason(error)
            with self._lock:
                token.check()
                self._on_found(found)

    def _stale(self, found: Findings, view: View, token: CancelToken) -> bool:
        """Was the model edited since?  Then nothing that was found of it counts."""
        state = self._vlm.state
        if found.state is None:
            found.state = state
        if found.state == state:
            return False
        with self._lock:
            token.check()
            self._known = [one for one in self._known if one is not found]
            self._on_stale(view)
        return True

    def _next_part(self, found: Findings, view: View, token: CancelToken) -> Any:
        """What to compute next; None, and said so, if that was all."""
        with self._lock:
            token.check()
            parts = found.missing(view)
            if parts:
                self._on_state(view.question, state="running", message=says(parts[0]))
                return parts[0]
            self._asked = None
            if found.failed:
                self._on_state(view.question, state="error", message="", error=_told(found.failed))
            else:
                self._on_state(view.question, state="idle", message="")
            return None

    def _failed(self, request: tuple[View, bool], error: Exception) -> None:
        with self._lock:
            self._asked = None
            self._on_state(
                request[0].question,
                state="error",
                message="",
                error=f"This could not be computed: {_reason(error)}. {AGAIN}",
            )

    def _stopped(self, request: tuple[View, bool]) -> None:
        with self._lock:
            self._on_state(request[0].question, state="stopped", message="cancelled")


def _reason(error: Exception) -> str:
    """One line, with no full stop; a string, because an exception keeps the tensors of its frames."""
    first = (str(error).strip() or "it gives no reason").splitlines()[0].rstrip(".")
    return first if isinstance(error, MllmWidgetsError) else f"{type(error).__name__}: {first}"


def _told(failed: dict[Any, str]) -> str:
    """What failed, in words: parts that failed for one reason together."""
    sentences = []
    for reason in dict.fromkeys(failed.values()):
        parts = dict.fromkeys(says(part) for part, why in failed.items() if why == reason)
        sentences.append(f"This could not be computed ({', '.join(parts)}): {reason}.")
    return " ".join([*sentences, AGAIN])

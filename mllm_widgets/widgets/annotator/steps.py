"""From one question to the next: what is shown, what is answered, and when it is written."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import mllm_widgets
from mllm_widgets.datasets.annotations.entries import Entry
from mllm_widgets.datasets.annotations.keeping import Keeper
from mllm_widgets.datasets.annotations.marks import Marks, marks_from
from mllm_widgets.datasets.annotations.suggestion import Suggestion
from mllm_widgets.datasets.annotations.table import Annotation, kept
from mllm_widgets.errors import QuestionError, SaveError, WidgetError
from mllm_widgets.provenance import Provenance, dated
from mllm_widgets.widgets.patch_view import picture_bytes

from .suggesting import Suggester
from .traits import AnnotatorTraits

if TYPE_CHECKING:
    from PIL import Image

RETRY = 3.0  # seconds until what could not be saved is tried again
NOTHING = "no word is marked; mark the words that point at the picture, or say why the question cannot be marked."
NO_REASON = "there is no reason; say in words why the question cannot be marked."


class Steps(AnnotatorTraits):
    """The traits of an annotator, kept as its answers and its suggestions are; called with the lock of its traits held."""

    _entries: Sequence[Entry]
    _keeper: Keeper
    _suggester: Suggester
    _image: Image.Image | None  # of the question on show
    _timer: threading.Timer | None
    _closed: bool

    @property
    def _entry(self) -> Entry:
        return self._entries[self.at]

    def _show(self, place: int) -> None:
        entry = self._entries[place]
        trouble, self._image = "", None
        try:
            self._image = entry.image()
        except QuestionError as error:
            trouble = str(error)
        answer = self._keeper.get(entry.id)
        marks = Marks() if answer is None else answer.marks
        blank = [""] * len(entry.words)
        self.publish(
            generation=self.generation + 1,
            at=place,
            done=len(self._keeper),
            name=entry.id,
            question=entry.text,
            words=entry.words,
            image=b"" if self._image is None else picture_bytes(self._image),
            trouble=trouble,
            marks=marks.listed(len(blank)),
            answered=_state(answer),
            reason=marks.skipped,
            suggested=blank,
            suggesting="off",
            hint="",
            error=self.error if self._keeper.unsaved else "",
            provenance=dated(Provenance({"question": entry.text}, versions={"mllm_widgets": mllm_widgets.__version__})),
        )
        self._suggest()

    def _mark(self, marks: Marks, *, tell: bool = False) -> None:
        """Take what is marked on the screen; `tell` the front end where it has not marked that itself."""
        answer = self._keeper.get(self.name)
        same = answer is not None and (marks.visual, marks.text) == (answer.marks.visual, answer.marks.text)
        state = "" if answer is None else _state(answer) if same else "changed"
        self.publish(
            marks=marks.listed(len(self.words)),
            answered=state,
            error=self.error if self._keeper.unsaved else "",
            generation=self.generation + tell,
        )

    def _answer(self, *, skipped: str | None = None, go_on: bool) -> None:
        """Keep what is marked, or why it cannot be; going on waits until it is saved."""
        entry, known = self._entry, self._keeper.get(self.name)
        if skipped is not None:
            if not skipped.strip():
                raise WidgetError(NO_REASON if any(self.marks) else NOTHING)
            marks = Marks(skipped=kept(skipped.strip()))
        elif not any(self.marks):
            raise WidgetError(NOTHING)
        else:
            marks = marks_from(self.marks)
        if known is None or known.marks != marks:
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            found = self._suggester.known(entry.id)
            suggestion = (
                "" if found is None or not found.marks.any else "accepted" if found.marks == marks else "changed"
            )
            self._keeper.put(
                Annotation(
                    self.at,
                    entry.id,
                    entry.text,
                    marks,
                    entry.picture_name,
                    suggestion,
                    kept(self._keeper.annotator),
                    now,
                )
            )
        # what is shown of it comes after it was written: "2 of 40 done" means that two are in the file
        if (not self._keeper.unsaved or self._write()) and go_on:
            self._show(self._open_after(self.at, stay=min(self.at + 1, self.total - 1)))
        else:
            kinds = marks.listed(len(self.words))
            state = _state(self._keeper.get(self.name))
            self.publish(answered=state, reason=marks.skipped, marks=kinds, done=len(self._keeper))

    def _keep_changes(self) -> None:
        """Keep what was marked and not saved, before another question is shown."""
        answer = self._keeper.get(self.name)
        drawn = marks_from(self.marks)
        if drawn.any and (answer is None or (drawn.visual, drawn.text) != (answer.marks.visual, answer.marks.text)):
            self._answer(go_on=False)

    def _leave(self, step: int | str) -> None:
        """Go on without Enter."""
        self._keep_changes()
        place = self._open_after(self.at, stay=self.at) if step == "open" else self.at + int(step)
        if 0 <= place < self.total and place != self.at:
            self._show(place)

    def _open_after(self, place: int, *, stay: int) -> int:
        """The next question that is not answered, from there on and then from the beginning; `stay` where there is none."""
        count = len(self._entries)
        following = ((place + 1 + step) % count for step in range(count))
        return next((at for at in following if self._entries[at].id not in self._keeper), stay)

    def _write(self) -> bool:
        """Save; where that fails say so, and try again soon."""
        try:
            self._keeper.save()
        except SaveError as error:
            self.publish(saved="not saved", error=str(error))
            self._try_again_soon()
            return False
        self.publish(saved="saved", error="")
        return True

    def _try_again_soon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(RETRY, self._try_again)
        self._timer.daemon = True
        self._timer.start()

    def _try_again(self) -> None:
        with self._traits_lock:
            if self._keeper.unsaved and not self._closed:
                self._write()

    def _raise_unsaved(self) -> None:
        if self._keeper.unsaved:
            raise SaveError(self.error)

    # --- suggestions ----------------------------------------------------------------------------------------------------------

    def _suggest(self, *, again: bool = False) -> None:
        """Suggest for the question on show; a model is not asked about one that is answered, unless somebody wants it to be."""
        entry = self._entry
        found = self._suggester.at_once(entry)
        if found is not None:
            self._found(self.name, found)
        if self._suggester.slow and (again or self.name not in self._keeper):
            ahead = self._entries[self._open_after(self.at, stay=self.at)]
            wanted = [one for one in dict.fromkeys((entry, ahead)) if self._suggester.known(one.id) is None]
            if entry in wanted:
                self.publish(suggesting="running", hint="")
            if wanted:
                self._suggester.ask(wanted)

    def _found(self, name: str, found: Suggestion) -> None:
        with self._traits_lock:
            if name == self.name and not self._closed:
                self.publish(
                    suggested=found.marks.listed(len(self.words)), suggesting="done", hint="; ".join(found.notes)
                )

    def _failed(self, name: str, why: str) -> None:
        with self._traits_lock:
            if name == self.name and not self._closed:
                self.publish(suggesting="error", hint=f"No suggestion: {why}")


def _state(answer: Annotation | None) -> str:
    return "" if answer is None else "skipped" if answer.marks.skipped else "marked"

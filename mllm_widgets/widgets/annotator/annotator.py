"""`mw.ConstraintAnnotator`: questions one after the other, their words to be marked, and every answer kept at once."""

from __future__ import annotations

import datetime
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mllm_widgets
from mllm_widgets.datasets.annotations.entries import Entry, as_entries
from mllm_widgets.datasets.annotations.keeping import Keeper
from mllm_widgets.datasets.annotations.marks import Marks, as_question, marks_from, phrases, words_like
from mllm_widgets.datasets.annotations.suggestion import Suggestion
from mllm_widgets.datasets.annotations.table import Annotation, as_table, kept
from mllm_widgets.errors import QuestionError, SaveError, WidgetError
from mllm_widgets.provenance import Provenance, dated
from mllm_widgets.vlm.question import Question
from mllm_widgets.widgets.patch_view import picture_bytes

from .messages import hear
from .suggesting import Suggester
from .traits import AnnotatorTraits

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from mllm_widgets.render import Drawing

RETRY = 3.0  # seconds until what could not be saved is tried again
NOTHING = "no word is marked; mark the words that point at the picture, or say why the question cannot be marked."


class ConstraintAnnotator(AnnotatorTraits):
    """Mark the words of questions that point at the picture (visual constraint), and those that narrow the answer (text constraints).

    Each answer is in the file before the next question is shown, and the same call goes on where it was.  A mark that could not be saved stays, and saving is tried
    again until it succeeds.

    Parameters
    ----------
    questions: a list of `mw.Question` or of pairs (picture, text), a dict of either by name, what `mw.datasets.load_vqa_constraints` returns, or a DataFrame with a
        column "question" (and "id", "image", "constraint", "answer", where they are there).
    path: the CSV in which answers are kept; `mw.datasets.load_annotations` reads it, and called okvqa.csv it is one that `load_vqa_constraints` reads.
    annotator: who marks; a file holds the answers of one.
    suggest: "rules" for first guesses by rules (in English), "given" for the constraints that questions come with, or a chat model: a transformers
        pipeline("text-generation"), or any function that takes messages ({"role", "content"}) and returns the answer's text. None makes none.
    auto_snapshot: draw the picture that a saved notebook shows anew after each change, at most once a second.

    Raises
    ------
    DatasetError: for questions that are none, and a file of other questions, of another annotator, or with other columns; it is left as it is.
    SaveError: where no file can be written. WidgetError: for another `suggest`, or an unknown argument.

    Examples
    --------
    >>> import tempfile
    >>> import mllm_widgets as mw
    >>> folder = tempfile.mkdtemp()
    >>> annotator = mw.ConstraintAnnotator(mw.datasets.demo(3), f"{folder}/constraints.csv", suggest="rules")
    >>> annotator.accept()
    >>> annotator.save()  # as Enter does
    >>> annotator.done, annotator.at
    (1, 1)
    >>> annotator.questions()["0"].constraint is not None
    True
    >>> annotator.close()

    Notes
    -----
    Traits: see `traits`.  What the front end asks for comes as messages: see `messages`.
    """

    def __init__(
        self,
        questions: Any,
        path: str | Path = "constraints.csv",
        *,
        annotator: str = "",
        suggest: Any = None,
        auto_snapshot: bool = False,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise WidgetError(
                f"ConstraintAnnotator does not take {', '.join(sorted(unknown))}; its arguments are in help(mw.ConstraintAnnotator)."
            )
        if not isinstance(annotator, str):
            raise WidgetError(f"annotator={annotator!r} is no name; expected a text such as 'anna'.")
        self._timer: threading.Timer | None = None
        self._entries = as_entries(questions)
        self._places = {entry.id: place for place, entry in enumerate(self._entries)}
        self._suggester = Suggester(suggest, self._found, self._failed)
        self._keeper = Keeper(path, self._entries, annotator)
        self._image: Image.Image | None = None
        super().__init__(
            total=len(self._entries),
            done=len(self._keeper),
            file=self._keeper.path.name,
            saved="saved" if len(self._keeper) else "",
            auto_snapshot=auto_snapshot,
        )
        self._closed = False
        self.on_msg(lambda _widget, content, _buffers: hear(self, content))
        self._show(self._open_after(-1, stay=0))

    # --- what a user asks for ---------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Where answers are kept."""
        return self._keeper.path

    @property
    def annotator(self) -> str:
        """Who marks."""
        return self._keeper.annotator

    @property
    def table(self) -> pd.DataFrame:
        """All answers, one row a question, by its name; also those that are not saved yet."""
        with self._traits_lock:
            return as_table(self._keeper.answers())

    def questions(self) -> dict[str, Question]:
        """The marked questions by name, with their pictures, as `causal_trace` and the others take them; those that were skipped are left out.

        Raises
        ------
        QuestionError: for a picture that cannot be read.
        """
        with self._traits_lock:
            answers = [one for one in self._keeper.answers() if not one.marks.skipped]
        entries = [self._entries[one.place] for one in answers]
        return {
            one.id: as_question(entry.picture, one.text, one.marks, entry.answer)[0]
            for one, entry in zip(answers, entries, strict=True)
        }

    def marked(self) -> dict[str, tuple[str, ...]]:
        """Text constraints by name, where there are any: what `mw.datasets.multi_constraint(data, marked=...)` takes."""
        with self._traits_lock:
            return {
                one.id: tuple(phrases(one.text, one.marks.text)) for one in self._keeper.answers() if one.marks.text
            }

    def show(self, question: int | str) -> None:
        """Show a question: its place, from 0, or its name.  What is marked in the one on show is saved before.

        Raises
        ------
        WidgetError: for a question that is not there.
        """
        place = self._places.get(question, -1) if isinstance(question, str) else question
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(self._entries):
            raise WidgetError(
                f"question={question!r} is not there; expected a place from 0 to {len(self._entries) - 1}, or a name such as {self._entries[0].id!r}."
            )
        with self._traits_lock:
            self._keep_changes()
            self._show(place)

    def mark(self, visual: str | Sequence[str] = (), text: str | Sequence[str] = ()) -> None:
        """Mark words of the question on show, in the place of those that were marked; `save` keeps that.

        Parameters
        ----------
        visual, text: words of the question, one run or several.

        Raises
        ------
        WidgetError: for words that do not stand in the question.
        """
        with self._traits_lock:
            narrowing = self._words(text, "text")
            pointing = self._words(visual, "visual")
            self._mark(Marks(pointing, tuple(index for index in narrowing if index not in pointing)), tell=True)

    def accept(self) -> None:
        """Mark what is suggested.

        Raises
        ------
        WidgetError: if nothing is.
        """
        with self._traits_lock:
            if not any(self.suggested):
                raise WidgetError("nothing is suggested for this question.")
            self._mark(marks_from(self.suggested), tell=True)

    def save(self) -> None:
        """Keep what is marked, and go on to the next question that is not answered.

        Raises
        ------
        WidgetError: if nothing is marked. SaveError: if it could not be written; it is kept in memory, and tried again.
        """
        with self._traits_lock:
            self._answer(go_on=True)
            self._raise_unsaved()

    def skip(self, reason: str) -> None:
        """Keep that the question on show cannot be marked, and go on.

        Raises
        ------
        WidgetError: without a reason. SaveError: as for `save`.
        """
        with self._traits_lock:
            self._answer(skipped=reason, go_on=True)
            self._raise_unsaved()

    def reload(self) -> None:
        """Take over what another program has written to the file; answers of this one that are not saved yet stay, and are saved.

        Raises
        ------
        DatasetError: as on opening. SaveError: as for `save`.
        """
        with self._traits_lock:
            self._keeper.reload()
            if self._keeper.unsaved:
                self._write()
            self._show(self.at)
            self._raise_unsaved()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until no suggestion is being made; False if that took longer than `timeout` seconds."""
        return self._suggester.wait(timeout)

    def drawing(self) -> Drawing:
        """What is on show, as a drawing."""
        from mllm_widgets.render.annotation import AnnotationFigure, draw_annotation

        with self._traits_lock:
            shown = AnnotationFigure(
                question=self.question,
                words=self.words,
                marks=self.marks,
                suggested=self.suggested,
                at=self.at,
                done=self.done,
                total=self.total,
                state=self._said(),
                notes=tuple(filter(None, (self.trouble, self.error))),
            )
            return draw_annotation(shown, self._image)

    def close(self) -> None:
        """Save what is not saved yet, and remove the widget; warns if that cannot be, `table` still has it."""
        if hasattr(self, "_closed") and not self._closed:  # Python closes what never came to be, too
            self._closed = True
            self._suggester.close()
            with self._traits_lock:
                if self._timer is not None:
                    self._timer.cancel()
                if self._keeper.unsaved:
                    try:
                        self._keeper.save()
                    except SaveError as error:
                        warnings.warn(
                            f"{error} {len(self._keeper.unsaved)} answers are in annotator.table only.", stacklevel=2
                        )
        super().close()

    def __repr__(self) -> str:
        return f"ConstraintAnnotator({self.done} of {self.total} questions done, {str(self._keeper.path)!r}, {self.question!r})"

    # --- from one state to the next ---------------------------------------------------------------------------------------

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

    def _answer(self, *, skipped: str = "", go_on: bool) -> None:
        """Keep what is marked, or why it cannot be; going on waits until it is saved."""
        entry, known = self._entry, self._keeper.get(self.name)
        if skipped or not any(self.marks):
            if not skipped.strip():
                raise WidgetError(NOTHING)
            marks = Marks(skipped=kept(skipped.strip()))
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
                    self.at, entry.id, entry.text, marks, entry.picture_name, suggestion, kept(self.annotator), now
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

    # --- words ---------------------------------------------------------------------------------------------------------------

    def _words(self, given: str | Sequence[str], argument: str) -> tuple[int, ...]:
        """Indices of words that are given as texts."""
        found: set[int] = set()
        for phrase in (given,) if isinstance(given, str) else given:
            words = words_like(self.question, phrase, between=0) if isinstance(phrase, str) else ()
            if not words:
                raise WidgetError(f"{argument}={phrase!r} does not stand in the question {self.question!r}.")
            found |= set(words)
        return tuple(sorted(found))

    def _said(self) -> str:
        """What was answered, for a picture of it."""
        if self.answered == "skipped":
            return f"Cannot be marked: {self.reason}"
        kept_in = f" in {self.file}" if self.saved == "saved" else ""
        marked = "Marked, not saved yet" if any(self.marks) else "Not marked yet"
        return {"": marked, "marked": f"Kept{kept_in}", "changed": "Changed, not saved yet"}[self.answered]


def _state(answer: Annotation | None) -> str:
    return "" if answer is None else "skipped" if answer.marks.skipped else "marked"

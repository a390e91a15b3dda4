"""`mw.ConstraintAnnotator`: questions one after the other, their words to be marked, and every answer kept at once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_widgets.datasets.annotations.entries import as_entries
from mllm_widgets.datasets.annotations.keeping import Keeper
from mllm_widgets.datasets.annotations.marks import Marks, as_question, marks_from, phrases, words_like
from mllm_widgets.datasets.annotations.table import as_table
from mllm_widgets.errors import SaveError, WidgetError
from mllm_widgets.vlm.question import Question

from .messages import hear
from .steps import Steps
from .suggesting import Suggester

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from mllm_widgets.render import Drawing


class ConstraintAnnotator(Steps):
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
        if not isinstance(reason, str):
            raise WidgetError(f"reason={reason!r} is no text; expected such as 'No words point at the picture'.")
        with self._traits_lock:
            self._answer(skipped=reason, go_on=True)
            self._raise_unsaved()

    def reload(self) -> None:
        """Take over what another program has written to the file; what was marked here and is not saved yet stays, and is saved.

        Raises
        ------
        DatasetError: as on opening. SaveError: as for `save`.
        """
        with self._traits_lock:
            self._keep_changes()
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
                self._keep_changes()
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

    # --- words ---------------------------------------------------------------------------------------------------------------

    def _words(self, given: str | Sequence[str], argument: str) -> tuple[int, ...]:
        """Indices of words that are given as texts."""
        found: set[int] = set()
        if not isinstance(given, Iterable):
            raise WidgetError(f"{argument}={given!r} is no text; expected words of the question, or a list of such.")
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
        marked = "Marked, not saved yet" if any(self.marks) else "Not marked yet"
        saved = f"Saved in {self.file}" if self.saved == "saved" else "Not saved yet"
        return {"": marked, "marked": saved, "changed": "Changed, not saved yet"}[self.answered]

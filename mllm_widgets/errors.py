"""What the package raises when an argument cannot be used.

Every message is a sentence that names the argument, what it got, what was expected and the likely cause.  Each class also
derives from the built-in error a caller would expect, so `except ValueError` works.
"""

from __future__ import annotations


class MllmWidgetsError(ValueError):
    """Base class of every error raised for a user's input."""


class QuestionError(MllmWidgetsError):
    """The question or its picture cannot be used."""


class ConstraintError(MllmWidgetsError):
    """The constraint cannot be found in the question."""


class ModelError(MllmWidgetsError):
    """The model cannot be loaded, or is not one this package can trace."""


class TraceError(MllmWidgetsError):
    """A trace was asked for that cannot be run."""


class WidgetError(MllmWidgetsError):
    """A widget was built from something it cannot show."""


class LargeStateWarning(UserWarning):
    """A widget is so large that a notebook saved with it is slow to open."""


class FlowError(MllmWidgetsError):
    """What tokens take from each other, or a knockout or a lens, was asked for and cannot be computed."""


class SaveError(MllmWidgetsError):
    """A result cannot be written to a file, or read from one."""


class EditError(MllmWidgetsError):
    """An edit was asked for that cannot be made, applied, kept or measured."""


class NotebookError(MllmWidgetsError):
    """A notebook cannot be read, exported or checked."""


class DatasetError(MllmWidgetsError):
    """A data set, or a run over one, cannot be read or used."""


class DamagedPartWarning(UserWarning):
    """A part of a run cannot be read any more and was set aside; its questions are done again."""

"""What all results have in common: they say what they were made with, and leave as files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mllm_widgets.provenance import Provenance

if TYPE_CHECKING:
    import os


@dataclass(frozen=True)
class Result(ABC):
    """A result of a computation.

    provenance: what it was made with, see `mllm_widgets.provenance`; empty for one that was put together by hand.
    """

    provenance: Provenance = field(default_factory=Provenance, kw_only=True, repr=False, compare=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, to be read with `mw.load_result(path)`: everything but the model, exactly.

        Parameters
        ----------
        path: ends in ".json" (JSON, arrays in base64), or ".nc" (NetCDF, which xarray and many other programs open; it needs
            `pip install 'mllm_widgets[netcdf]'`).  A file that is there is replaced.

        Raises
        ------
        SaveError: for another ending, or a file that cannot be written.

        Examples
        --------
        >>> import mllm_widgets as mw
        >>> trace = mw.causal_trace(mw.load(), mw.datasets.demo_question("Eiffel Tower"))
        >>> trace.save("eiffel.json")
        >>> again = mw.load_result("eiffel.json")
        >>> bool((again.restored == trace.restored).all()), again.provenance["model"]
        (True, 'demo')
        """
        from .files import save

        save(self, path)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table (`to_dataframe`) to a file ending in ".csv": lines "# key: value" that say what it was made with, then one line a row.

        `pandas.read_csv(path, comment="#")` reads it; texts are in quotes, so that one with a "#" is not cut.

        Raises
        ------
        SaveError: for another ending, or a file that cannot be written.
        """
        from .table import to_csv

        to_csv(self, path)

    @abstractmethod
    def to_dataframe(self) -> Any:
        """As a table."""

"""What a sweep has found so far, read from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import DatasetError

from .parts import KEYS, read_parts
from .store import folder_of, read_config

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """A sweep's results (`mw.sweep`, `mw.load_run`); reads its folder when asked, so it also tells of a sweep that is going on.

    config: what it is: models, measures with their settings, names of the questions, and a session for each call, with its versions and date.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder_of(folder, "folder")
        self.config: dict[str, Any] = read_config(self.folder)

    @property
    def measures(self) -> dict[str, dict[str, Any]]:
        """The settings of each measure, by its key."""
        return {one["key"]: one for one in self.config["measures"]}

    def questions(self) -> pd.DataFrame:
        """One row for each question, model and measure that was done: id, model, measure, status ("done" or "failed"), reason, text, answer, probability, score,
        seconds, and the facts of its measure.  In the order of the questions as they were given, whatever the order in which they were done.
        """
        return self._read("questions")

    def cells(self, columns: list[str] | None = None) -> pd.DataFrame:
        """The numbers by layer: id, model, measure, and the columns of the measures; of some `columns` alone where that is enough."""
        table = self._read("cells", None if columns is None else [*dict.fromkeys([*KEYS, *columns])])
        return table if columns is None else table.loc[:, columns]

    def status(self) -> dict[str, int]:
        """How many are done, failed and left, of questions times models times measures."""
        states = self.questions()["status"]
        whole = len(self.config["ids"]) * len(self.config["models"]) * len(self.config["measures"])
        counts = {state: int((states == state).sum()) for state in ("done", "failed")}
        return {**counts, "left": whole - len(states)}

    def _read(self, kind: str, columns: list[str] | None = None) -> pd.DataFrame:
        import pandas as pd

        table = read_parts(self.folder, kind, columns)
        if table is None:
            raise DatasetError(f"the run in {str(self.folder)!r} has no results yet.")
        frame = table.to_pandas()
        # a failed question that was tried again stands in two parts: where it was done, else the later one (clocks may go back, or differ between machines)
        if kind == "questions":
            frame = frame.sort_values("status", key=lambda status: status == "done", kind="stable")
            frame = frame.drop_duplicates(list(KEYS), keep="last").reset_index(drop=True)
        order = {name: place for place, name in enumerate(self.config["ids"])}
        keys = pd.DataFrame({"model": frame["model"], "measure": frame["measure"], "place": frame["id"].map(order)})
        return frame.iloc[
            keys.reset_index(drop=True).sort_values(["model", "measure", "place"], kind="stable").index
        ].reset_index(drop=True)

    def __repr__(self) -> str:
        try:
            counts = ", ".join(f"{count} {state}" for state, count in self.status().items())
        except DatasetError:
            counts = "nothing done yet"
        return f"Run({str(self.folder)!r}, {counts})"


def load_run(folder: str | Path) -> Run:
    """The results of a sweep, also of one that is still going on.

    Raises
    ------
    DatasetError: for a folder that holds no run.
    """
    return Run(folder)

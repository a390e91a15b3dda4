"""Running the cells of a map, pass by pass, and writing down what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mllm_widgets.errors import TraceError
from mllm_widgets.results import CellBatch, Group

from .engine import Cells, group_cells, restored_scores
from .passes import in_passes
from .remote import JOB_CELLS, RemoteSetup, restored_scores_remote
from .setup import TraceSetup


def check_state(setup: TraceSetup) -> None:
    """Raises TraceError if the model was edited since the setup was prepared; the caller holds it."""
    if setup.vlm.state != setup.state:
        raise TraceError(
            f"{setup.vlm.name!r} was edited, or an edit of it was taken back, after this trace was prepared, so a restored run would mix two models; "
            "trace again."
        )


@dataclass
class Filling:
    """The passes of one map: their arguments, and how many cells of how many are done."""

    setup: TraceSetup
    window: int
    modules: tuple[str, ...]
    sever: str | None
    batch_size: int
    on_cells: Callable[[CellBatch], None] | None
    cancel: Any
    done: int = 0
    total: int = 0

    def count(self, groups: Sequence[Group]) -> int:
        """Cells of groups that are run."""
        return sum(bool(self._reached(group)) for group in groups) * len(self.setup.vlm.layers) * len(self.modules)

    def fill_groups(self, groups: Sequence[Group]) -> np.ndarray:
        """Scores (modules, layers, groups); of what stands before the first corrupted token that of the corrupted run, exactly."""
        layers = len(self.setup.vlm.layers)
        values = np.full((len(self.modules), layers, len(groups)), self.setup.corrupted, dtype=np.float32)
        reached = [self._reached(group) for group in groups]
        run = [number for number, positions in enumerate(reached) if positions]
        if run:
            cells, group = group_cells([reached[number] for number in run], len(self.modules), layers)
            self.fill(values, cells, np.array(run)[group], groups=True)
        return values

    def _reached(self, group: Group) -> tuple[int, ...]:
        """A group's positions that may differ between runs."""
        return tuple(p for p in group.positions if p >= self.setup.first)

    def fill(self, values: np.ndarray, cells: Cells, column: np.ndarray, groups: bool = False) -> None:
        """Run `cells`, and write what they give into `values` (modules, layers, columns), at each cell's `column` (n,)."""
        at = 0
        elsewhere = isinstance(self.setup, RemoteSetup)
        passes = (
            _jobs(cells, self.compute) if elsewhere else in_passes(self.setup, cells, self.batch_size, self.compute)
        )
        for batch, scores in passes:
            if not np.isfinite(scores).all():
                raise TraceError(
                    f"{(~np.isfinite(scores)).sum()} of {len(scores)} restored scores are not finite; the model overflows in "
                    f"{self.setup.vlm.model.dtype}. Load it with dtype='float32' or 'bfloat16'."
                )
            columns = column[at : at + len(batch)]
            values[batch.module, batch.layer, columns] = scores
            at += len(batch)
            self.done += len(batch)
            if self.on_cells is not None:
                self.on_cells(CellBatch(batch.module, batch.layer, columns, scores, self.done, self.total, groups))

    def compute(self, batch: Cells) -> np.ndarray:
        """Scores (n,) of one pass, means over the corruption's draws."""
        values = np.zeros(len(batch))
        draws = self.setup.draws
        for draw in draws:
            if self.cancel is not None:
                self.cancel.check()
            if isinstance(draw, RemoteSetup):
                check_state(draw)
                scores = restored_scores_remote(
                    draw, self.modules, batch, self.window, self.batch_size, sever=self.sever
                )
                values += scores / len(draws)
                continue
            # the lock is given back between passes, so that a cell waiting for the model is served
            with self.setup.vlm.running():
                check_state(self.setup)
                values += restored_scores(draw, self.modules, batch, self.window, sever=self.sever) / len(draws)
        return values.astype(np.float32)


def _jobs(cells: Cells, compute: Callable[[Cells], np.ndarray]) -> Iterator[tuple[Cells, np.ndarray]]:
    """Cells and their values, job by job, in order."""
    for at in range(0, len(cells), JOB_CELLS):
        batch = cells[slice(at, at + JOB_CELLS)]
        yield batch, compute(batch)

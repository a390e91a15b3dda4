"""Spreading a sweep over processes and machines with Ray: each worker holds the model, questions are tasks, and this process alone writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import DatasetError
from mllm_widgets.provenance import public_name

if TYPE_CHECKING:
    from .items import Item
    from .measures import Measure

AHEAD = 2  # tasks that each worker has before it


@dataclass(frozen=True)
class RayWorkers:
    """Workers of a Ray cluster, or of this machine where none is running.

    Parameters
    ----------
    count: how many; each loads the model by its name.
    gpus, cpus: of each.
    address: of a running cluster ("auto" finds it); None starts Ray on this machine if it is not running yet.
    retries: times that a question is given to another worker when one dies.

    Raises
    ------
    DatasetError: for a count below 1.

    Notes
    -----
    Every worker opens the pictures itself, so rows of VQA-Constraints need their folder on each machine, under the same path.
    A model that no single machine holds is one worker's: give it `gpus` and `options={"device_map": "auto"}`.
    """

    count: int
    gpus: float = 0
    cpus: float = 1
    address: str | None = None
    retries: int = 3

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise DatasetError(f"count={self.count!r} is no number of workers; expected 1 or more.")

    def units(
        self, todo: list[tuple[Any, Measure, Item]], *, ask: bool, options: dict[str, Any], cancel: Any
    ) -> Iterator[dict[str, Any]]:
        """Do all of it, in whatever order; called by `sweep`."""
        ray = _ray()
        if not ray.is_initialized():
            ray.init(address=self.address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        for model in dict.fromkeys(model for model, _, _ in todo):
            if not isinstance(model, str):
                raise DatasetError(
                    f"vlm is a model in this process's memory; workers load their own: pass its name ({model.name!r}) and options=."
                )
            own = [(measure, item) for other, measure, item in todo if other == model]
            yield from self._of_one(ray, model, own, ask, options, cancel)

    def _of_one(
        self, ray: Any, model: str, todo: list[tuple[Measure, Item]], ask: bool, options: dict[str, Any], cancel: Any
    ) -> Iterator[dict[str, Any]]:
        remote = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=-1, max_task_retries=self.retries)(
            Worker
        )
        workers = [remote.remote(model, options, ask) for _ in range(min(self.count, max(1, len(todo))))]
        left = iter(todo)
        running: dict[Any, tuple[Any, Measure, Item]] = {}

        def give(worker: Any) -> None:
            task = next(left, None)
            if task is not None:
                running[worker.do.remote(*task)] = (worker, *task)

        try:
            for _ in range(AHEAD):
                for worker in workers:
                    give(worker)
            while running:
                if cancel is not None:
                    cancel.check()
                ready, _ = ray.wait(list(running), timeout=1.0)
                for reference in ready:
                    worker, measure, item = running.pop(reference)
                    try:
                        unit = ray.get(reference)
                    except ray.exceptions.RayActorError as error:
                        unit = _lost(model, measure, item, str(error))
                    give(worker)
                    yield unit
        finally:
            for worker in workers:
                ray.kill(worker)


class Worker:
    """One process with the model."""

    def __init__(self, model: str, options: dict[str, Any], ask: bool) -> None:
        from mllm_widgets.vlm.loading import load

        from .sweep import Asker

        self._model = model
        self._vlm = load(model, **options)
        self._asker = Asker() if ask else None

    def do(self, measure: Measure, item: Item) -> dict[str, Any]:
        """Measure one question."""
        from .sweep import one_unit

        return one_unit(self._vlm, public_name(self._model), measure, item, self._asker)


def _lost(model: str, measure: Measure, item: Item, reason: str) -> dict[str, Any]:
    return {
        "id": item.id, "model": public_name(model), "measure": measure.key, "digest": item.digest, "text": item.source.text, "status": "failed",
        "reason": f"its worker died each time: {reason.splitlines()[0] if reason else 'no reason given'}"[:500], "seconds": float("nan"),
    }  # fmt: skip


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise DatasetError("workers=RayWorkers(...) needs Ray: pip install 'mllm_widgets[ray]'.") from None
    return ray

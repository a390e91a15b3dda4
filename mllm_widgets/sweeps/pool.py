"""Spreading a sweep over processes and machines with Ray: each worker holds the model, questions are tasks, and this process alone writes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import DatasetError, ModelError
from mllm_widgets.provenance import model_facts, public_name

if TYPE_CHECKING:
    from .items import Item
    from .measures import Measure

AHEAD = 2  # tasks that each worker has before it
PATIENCE = 120.0  # seconds without a worker that is ready, after which that is said


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
    DatasetError: for a count below 1, or a share of a machine that is no number.

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
        for name in ("gpus", "cpus", "retries"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise DatasetError(f"{name}={value!r} is no number of {name}; expected 0 or more.")

    def units(
        self,
        todo: list[tuple[Any, Measure, Item]],
        *,
        ask: bool,
        options: dict[str, Any],
        cancel: Any,
        loaded: Callable[[str, dict[str, Any]], None],
    ) -> Iterator[dict[str, Any]]:
        """Do all of it, in whatever order; called by `sweep`."""
        models = list(dict.fromkeys(model for model, _, _ in todo))
        for model in models:
            if not isinstance(model, str):
                raise DatasetError(
                    f"vlm is a model in this process's memory; workers load their own: pass its name ({model.name!r}) and options=."
                )
        ray = _ray()
        if not ray.is_initialized():
            try:
                ray.init(address=self.address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
            except Exception as error:
                ray.shutdown()
                where = "on this machine; is it too busy?" if self.address is None else f"at address={self.address!r}."
                raise DatasetError(f"Ray cannot be reached {where} ({_first_line(error)})") from error
        self._check_room(ray)
        for model in models:
            own = [(measure, item) for other, measure, item in todo if other == model]
            yield from self._of_one(ray, model, own, ask, options, cancel, loaded)

    def _of_one(
        self,
        ray: Any,
        model: str,
        todo: list[tuple[Measure, Item]],
        ask: bool,
        options: dict[str, Any],
        cancel: Any,
        loaded: Callable[[str, dict[str, Any]], None],
    ) -> Iterator[dict[str, Any]]:
        remote = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=-1, max_task_retries=self.retries)(
            Worker
        )
        workers = [remote.remote(model, options, ask) for _ in range(min(self.count, max(1, len(todo))))]
        # a worker that finds no room waits, and is given nothing meanwhile
        coming = {worker.ready.remote(): worker for worker in workers}
        left = iter(todo)
        running: dict[Any, tuple[Any, Measure, Item]] = {}
        asked, told = time.monotonic(), False

        def give(worker: Any) -> None:
            task = next(left, None)
            if task is not None:
                running[worker.do.remote(*task)] = (worker, *task)

        try:
            while running or len(coming) == len(workers):
                if cancel is not None:
                    cancel.check()
                ready, _ = ray.wait([*running, *coming], num_returns=1, timeout=1.0)
                for reference in ready:
                    if reference in coming:
                        worker = coming.pop(reference)
                        try:
                            facts = self._result(ray, reference, model)
                        except ray.exceptions.RayActorError as error:
                            raise ModelError(
                                f"a worker died each time it loaded vlm={public_name(model)!r}; has its machine enough memory? ({_first_line(error)})"
                            ) from None
                        loaded(public_name(model), facts)
                        for _ in range(AHEAD):
                            give(worker)
                        continue
                    worker, measure, item = running.pop(reference)
                    try:
                        unit = self._result(ray, reference, model)
                    except ray.exceptions.RayActorError as error:
                        unit = _lost(model, measure, item, _first_line(error))
                    give(worker)
                    yield unit
                if len(coming) == len(workers) and not told and time.monotonic() - asked > PATIENCE:
                    told = True
                    warnings.warn(
                        f"no worker is ready after {PATIENCE:g} s: they are still loading the model, or find no room; {self._asked(ray)}.",
                        stacklevel=2,
                    )
        finally:
            for worker in workers:
                ray.kill(worker)

    @staticmethod
    def _result(ray: Any, reference: Any, model: str) -> Any:
        """What a worker gives; a model that it cannot load ends the sweep, since every question would fail with it."""
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None) or error
            raise ModelError(f"a worker cannot load vlm={public_name(model)!r}: {_first_line(cause)}") from None
        except ray.exceptions.RayActorError as error:
            if not getattr(error, "actor_init_failed", False):
                raise
            raise ModelError(
                f"a worker cannot start; is this package installed on each machine? ({_first_line(error)})"
            ) from None

    def _check_room(self, ray: Any) -> None:
        """Raises DatasetError where no machine of the cluster could ever hold a worker."""
        for node in ray.nodes():
            there = node.get("Resources", {})
            if node.get("Alive") and there.get("CPU", 0) >= self.cpus and there.get("GPU", 0) >= self.gpus:
                return
        raise DatasetError(f"workers={self!r} find no room: {self._asked(ray)}.")

    def _asked(self, ray: Any) -> str:
        there = ray.cluster_resources()
        return (
            f"each asks for {self.cpus:g} CPUs and {self.gpus:g} GPUs of one machine, and the cluster has {there.get('CPU', 0):g} CPUs and "
            f"{there.get('GPU', 0):g} GPUs in all"
        )


class Worker:
    """One process with the model, which is loaded when it is first needed: also after the process died and was started again."""

    def __init__(self, model: str, options: dict[str, Any], ask: bool) -> None:
        from .sweep import Asker

        self._model, self._options = model, options
        self._vlm: Any = None
        self._asker = Asker() if ask else None

    def ready(self) -> dict[str, Any]:
        """Load the model, and say what it is."""
        from mllm_widgets.vlm.loading import load

        if self._vlm is None:
            self._vlm = load(self._model, **self._options)
        return model_facts(self._vlm)

    def do(self, measure: Measure, item: Item) -> dict[str, Any]:
        """Measure one question."""
        from .sweep import one_unit

        self.ready()
        return one_unit(self._vlm, public_name(self._model), measure, item, self._asker)


def _lost(model: str, measure: Measure, item: Item, reason: str) -> dict[str, Any]:
    return {
        "id": item.id, "model": public_name(model), "measure": measure.key, "digest": item.digest, "text": item.source.text, "status": "failed",
        "reason": f"its worker died each time: {reason}"[:500], "seconds": float("nan"),
    }  # fmt: skip


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise DatasetError("workers=RayWorkers(...) needs Ray: pip install 'mllm_widgets[ray]'.") from None
    return ray

"""One measure, or several, over many questions and models, kept as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import DatasetError
from mllm_widgets.provenance import edits_of, model_facts, picture, public_name, versions

from .items import Item, as_items, data_of
from .kinds import as_measures
from .measures import Measure
from .parts import KEYS, read_parts
from .progress import Progress
from .run import Run
from .store import Store, folder_of

if TYPE_CHECKING:
    from mllm_widgets.vlm.model import VLM

EVERY = 20.0  # seconds between two parts: what a power cut costs at most
MOST = 256  # units in a part


def sweep(
    vlm: VLM | str | list[VLM | str],
    questions: Any,
    measure: Any = "trace",
    *,
    out: str | Path,
    ask: bool = True,
    every: float = EVERY,
    retry_failed: bool = False,
    progress: bool = True,
    options: dict[str, Any] | None = None,
    workers: Any = None,
    cancel: Any = None,
) -> Run:
    """Measure many questions, and keep what was found in Parquet parts; the same call goes on after any stop.

    Ctrl-C, a killed process or a power cut costs the questions of the last `every` seconds, which are computed again; no row is lost or there twice.  A question that
    fails is recorded with its reason and does not end the run.

    Parameters
    ----------
    vlm: what `mw.load()` returned, a name that it takes, or several of these; models given by name are loaded one after the other.
    questions: a list of `mw.Question`, a dict of them by name, or what `mw.datasets.load_vqa_constraints` returned (its usable rows).
        More questions may be given when a run goes on.
    measure: "trace", "contributions", "edit" or "answer", a measure with settings such as `mw.sweeps.TraceMeasure(window=3)`, or several of these.
    out: the run's folder, made if it is not there.
    ask: also ask each question, once a model, for the model's answer, its probability and how right it is.
    every: seconds between two parts.
    retry_failed: try again what failed before.
    progress: a bar with the time left, in a notebook or a terminal; in a file of output a line now and then.
    options: given to `mw.load` with each name.
    workers: a `mw.sweeps.RayWorkers`, to spread the questions over processes and machines.
    cancel: an object whose `check()` raises when the work is no longer wanted.

    Returns
    -------
    Run: `.questions()` and `.cells()` are tables.

    Raises
    ------
    DatasetError: for questions that are none, an output folder of another run or in use, a question that changed under its name, or a full disk.
    ModelError: for a model that cannot be loaded.

    Warns
    -----
    DamagedPartWarning: where a part that was written before cannot be read any more; it is set aside, and its questions are done again.

    Examples
    --------
    >>> import tempfile
    >>> import mllm_widgets as mw
    >>> run = mw.sweep(mw.load(), mw.datasets.demo(3), out=tempfile.mkdtemp(), progress=False)
    >>> run.status()
    {'done': 3, 'failed': 0, 'left': 0}
    """
    import pyarrow

    items, measures = as_items(questions), as_measures(measure)
    models = vlm if isinstance(vlm, (list, tuple)) else [vlm]
    names = [_name(one) for one in models]
    if len(set(names)) < len(names) or not names:
        raise DatasetError(f"vlm has the models {names}; expected at least one, and each once.")
    _check_options(every, workers, options)
    config: dict[str, Any] = {
        "models": [_model_of(one) for one in models],
        "measures": [{**one.settings, "key": one.key} for one in measures],
        "ask": ask,
        "ids": [item.id for item in items],
        "session": {
            "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": {**versions(), "pyarrow": pyarrow.__version__},
            **({"data": data} if (data := data_of(questions)) else {}),
            **({"options": {name: str(value) for name, value in options.items()}} if options else {}),
        },
    }
    store = Store(folder_of(out, "out"), config, columns_of(measures))
    try:
        done = _done(store.folder, items, retry_failed)
        todo = [
            (model, one, item)
            for model, name in zip(models, names, strict=True)
            for item in items
            for one in measures
            if (item.id, name, one.key) not in done
        ]
        store.begin()
        whole = len(models) * len(items) * len(measures)
        unit = "questions" if whole == len(items) else "measurements"
        with Progress(whole, whole - len(todo), progress, unit) as bar:

            def loaded(name: str, facts: dict[str, Any]) -> None:
                store.note_model(name, facts)
                bar.unpause()

            units = workers.units if workers is not None else _units
            _keep(store, units(todo, ask=ask, options=options or {}, cancel=cancel, loaded=loaded), every, bar)
    finally:
        store.close()
    return Run(store.folder)


def _keep(store: Store, found: Iterator[dict[str, Any]], every: float, bar: Progress) -> None:
    """Write units as they come; also those at hand when something ends the sweep."""
    waiting: list[dict[str, Any]] = []
    written = time.monotonic()
    try:
        for unit in found:
            waiting.append(unit)
            bar.one(unit["status"] == "failed")
            if time.monotonic() - written >= every or len(waiting) >= MOST:
                part, waiting = waiting, []
                store.write(part)
                written = time.monotonic()
    finally:
        store.write(waiting)


def _units(
    todo: list[tuple[Any, Measure, Item]],
    *,
    ask: bool,
    options: dict[str, Any],
    cancel: Any,
    loaded: Callable[[str, dict[str, Any]], None],
) -> Iterator[dict[str, Any]]:
    """Do one after the other, in this process."""
    from mllm_widgets.vlm.loading import load

    held: tuple[Any, Any] = (None, None)
    asker = Asker()
    for model, measure, item in todo:
        if cancel is not None:
            cancel.check()
        if held[0] is not model:
            held = (None, None)  # let the last one go before the next comes
            held = (model, load(model, **options) if isinstance(model, str) else model)
            loaded(_name(model), model_facts(held[1]))
            asker = Asker()
        yield one_unit(held[1], _name(model), measure, item, asker if ask else None, cancel)


class Asker:
    """Asks each question once, however many measures it is in."""

    def __init__(self) -> None:
        self._last: tuple[str, dict[str, Any]] = ("", {})

    def ask(self, vlm: VLM, item: Item, question: Any) -> dict[str, Any]:
        """What the model answers: answer, probability, score."""
        from mllm_widgets.vlm.asking import ask

        if self._last[0] != item.id:
            answer = ask(vlm, question)
            told = {"answer": answer.text, "probability": answer.probability, "score": item.score(answer.text)}
            self._last = (item.id, told)
        return self._last[1]


def one_unit(
    vlm: VLM, name: str, measure: Measure, item: Item, asker: Asker | None, cancel: Any = None
) -> dict[str, Any]:
    """One question measured: a row of the questions' table, and its cells."""
    from mllm_widgets.jobs import Cancelled

    started = time.perf_counter()
    unit: dict[str, Any] = {
        "id": item.id,
        "model": name,
        "measure": measure.key,
        "digest": item.digest,
        "text": item.source.text,
    }
    try:
        question = item.question()
        shown = picture(question.image)
        unit["picture"] = shown and shown["sha256"][:16]
        if asker is not None:
            unit.update(asker.ask(vlm, item, question))
        found = measure.run(vlm, item, question, cancel)
        unit.update(found.facts, cells=found.cells, status="done", reason="")
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001  one question of thousands; what it was is kept
        lines = str(error).strip().splitlines()
        unit.update(status="failed", reason=f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:500])
    unit["seconds"] = time.perf_counter() - started
    return unit


def columns_of(measures: list[Measure]) -> tuple[dict[str, str], dict[str, str]]:
    """Columns and their types of facts and of cells, of all measures together."""
    facts = {name: kind for one in measures for name, kind in one.FACTS.items()}
    cells = {name: kind for one in measures for name, kind in one.CELLS.items()}
    return facts, cells


def _done(folder: Path, items: list[Item], retry_failed: bool) -> set[tuple[str, str, str]]:
    """(question, model, measure) that need not be computed."""
    table = read_parts(folder, "questions", [*KEYS, "status", "digest", "text"])
    if table is None:
        return set()
    digests = {item.id: item for item in items}
    done = set()
    for row in table.to_pylist():
        item = digests.get(row["id"])
        if item is not None and item.digest != row["digest"]:
            raise DatasetError(
                f"question {item.id!r} is not the one that this run has under its name: it was {row['text']!r}, and is {item.source.text!r} now (or has another "
                "picture or constraint). Give questions names that stay, as a dict, or choose another folder."
            )
        if row["status"] == "done" or not retry_failed:
            done.add(tuple(row[key] for key in KEYS))
    return done


def _check_options(every: Any, workers: Any, options: Any) -> None:
    from .pool import RayWorkers

    if isinstance(every, bool) or not isinstance(every, (int, float)) or not every >= 0:
        raise DatasetError(f"every={every!r} is no number of seconds; expected 0 or more.")
    if options is not None and not isinstance(options, dict):
        raise DatasetError(
            f"options={options!r} is no dict; expected what mw.load takes, such as {{'dtype': 'bfloat16'}}."
        )
    if workers is not None and not isinstance(workers, RayWorkers):
        raise DatasetError(
            f"workers={workers!r} is not known; expected mw.sweeps.RayWorkers(2), or None for this process alone."
        )


def _name(model: Any) -> str:
    from mllm_widgets.vlm.model import VLM

    if isinstance(model, str):
        return public_name(model)
    if not isinstance(model, VLM):
        raise DatasetError(
            f"vlm is a {type(model).__name__}; expected what mw.load() returns, or a name that it takes."
        )
    return public_name(model.name)


def _model_of(model: Any) -> dict[str, Any]:
    """What tells one model from another."""
    name = _name(model)
    if isinstance(model, str):
        return {"name": name, "edits": []}
    return {"name": name, "edits": list(edits_of(model))}

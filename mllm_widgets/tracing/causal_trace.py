"""The public tracing functions: check what was asked, run it, label the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from mllm_widgets.errors import TraceError
from mllm_widgets.results import CellBatch, Trace
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.question import Question

from .control import check_control
from .corruption import Corruption, TokenSwap, as_corruption
from .engine import Cells, order_cells, restored_probabilities
from .passes import in_passes
from .setup import MODULES, SITES, CleanRun, TraceSetup, prepare

DEFAULT_CORRUPTIONS = ("Taj Mahal", "Eiffel Tower")
BATCH_ROWS = 96


def prepare_trace(
    vlm: VLM,
    question: Question,
    *,
    corruption: str | Corruption | None = None,
    answer: str | None = None,
    control: str | None = None,
) -> TraceSetup:
    """Run the clean and the corrupted prompt once, for any number of maps (a slider's moves share it).

    Parameters
    ----------
    corruption: words that take the constraint's place, or a `TokenSwap`, `RepeatedToken` or `EmbeddingNoise`; None takes "Taj Mahal", or
        "Eiffel Tower" if that leaves the answer as it is.
    answer: whose first token to score; None takes the model's own answer, the arg-max of the clean run.
    control: "text-only" leaves the picture out of both runs; None keeps it.

    Raises
    ------
    TraceError, ConstraintError: if the question cannot be corrupted.
    """
    if not isinstance(vlm, VLM):
        raise TraceError(
            f"vlm is a {type(vlm).__name__}; expected what mw.load() returns. A Hugging Face model goes through mw.load(model, processor)."
        )
    if not isinstance(question, Question):
        raise TraceError(f"question is a {type(question).__name__}; expected mw.Question(image, text, constraint=...).")
    check_control(control)
    if corruption is not None:
        return prepare(vlm, question, as_corruption(corruption), answer, control=control)
    runs: dict[int, CleanRun] = {}
    first = prepare(vlm, question, TokenSwap(DEFAULT_CORRUPTIONS[0]), answer, runs, control)
    if first.clean - first.corrupted >= 0.1:
        return first
    second = prepare(vlm, question, TokenSwap(DEFAULT_CORRUPTIONS[1]), answer, runs, control)
    return second if second.corrupted < first.corrupted else first


def causal_trace(
    vlm: VLM,
    question: Question,
    *,
    corruption: str | Corruption | None = None,
    window: int = 1,
    modules: Sequence[str] = MODULES,
    answer: str | None = None,
    control: str | None = None,
    batch_size: int = BATCH_ROWS,
    on_cells: Callable[[CellBatch], None] | None = None,
    cancel: Any = None,
) -> Trace:
    """Trace where the answer to a question is stored (MultimodalCausalTrace, Basu et al. 2024, section 3).

    Clean run, corrupted run (the constraint's token ids replaced, or another `corruption`; the picture clean), and for every text token and
    layer a restored run: the corrupted one with a sub-block's output at that token, over a window of layers, taken from the clean run.

    Parameters
    ----------
    corruption: words that take the constraint's place, fitted to its tokens; or a `TokenSwap`, `RepeatedToken` or `EmbeddingNoise`, which
        may also corrupt text constraints or other tokens; see `prepare_trace` for the default.
    window: how many neighbouring layers are restored together, centred and clipped; `window=5` is l-2 .. l+2.
    modules: what to restore, of "mlp", "self_attn" (a sub-block's output) and "residual" (the layer's output, everything computed at
        that token so far); each is restored by itself.
    answer: whose first token to score; the model's own answer by default.
    control: "text-only" traces the same words with no picture, to see what the swap does by itself. The answer is then the model's own
        without the picture; pass `answer` to follow the one with it.
    batch_size: restored runs in one forward pass, at most; fewer are taken where more would not be faster, or would not fit in memory.
    on_cells: called with a `CellBatch` after each pass; the first of several is small.
    cancel: an object whose `check()` raises when the work is no longer wanted; asked between passes.

    Returns
    -------
    Trace: `restored`, `indirect_effect` and `recovery_rate` as arrays (module, layer, token).

    Raises
    ------
    TraceError, ConstraintError, QuestionError: for arguments that cannot be traced.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> trace = mw.causal_trace(mw.load(), mw.datasets.demo_question("Eiffel Tower"), corruption="Taj Mahal")
    >>> trace.restored.dims
    ('module', 'layer', 'token')
    """
    if isinstance(vlm, VLM):
        _check(window, modules, len(vlm.layers))
    setup = prepare_trace(vlm, question, corruption=corruption, answer=answer, control=control)
    return run_trace(setup, window=window, modules=modules, batch_size=batch_size, on_cells=on_cells, cancel=cancel)


def run_trace(
    setup: TraceSetup,
    *,
    window: int = 1,
    modules: Sequence[str] = MODULES,
    batch_size: int = BATCH_ROWS,
    on_cells: Callable[[CellBatch], None] | None = None,
    cancel: Any = None,
) -> Trace:
    """One map from prepared runs; arguments as in `causal_trace`."""
    layers = len(setup.vlm.layers)
    window, modules = _check(window, modules, layers)
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise TraceError(f"batch_size={batch_size!r} is not a count of runs; expected a whole number, 1 or more.")
    axis = setup.text_positions
    index = {position: i for i, position in enumerate(axis)}
    restored = np.full((len(modules), layers, len(axis)), setup.corrupted, dtype=np.float32)
    cells = order_cells(setup, len(modules))

    def compute(batch: Cells) -> np.ndarray:
        values = np.zeros(len(batch))
        for draw in setup.draws:
            if cancel is not None:
                cancel.check()
            # the lock is given back between passes, so that a cell waiting for the model is served
            with setup.vlm.running():
                values += restored_probabilities(draw, modules, batch, window) / len(setup.draws)
        return values.astype(np.float32)

    done = 0
    for batch, values in in_passes(setup, cells, batch_size, compute):
        if not np.isfinite(values).all():
            raise TraceError(
                f"{(~np.isfinite(values)).sum()} of {len(values)} restored probabilities are not finite; the model overflows in "
                f"{setup.vlm.model.dtype}. Load it with dtype='float32' or 'bfloat16'."
            )
        done += len(batch)
        token = np.array([index[int(p)] for p in batch.position])
        restored[batch.module, batch.layer, token] = values
        if on_cells is not None:
            on_cells(CellBatch(batch.module, batch.layer, token, values, done, len(cells)))
    return Trace(
        restored=xr.DataArray(
            restored,
            dims=("module", "layer", "token"),
            coords={"module": list(modules), "layer": np.arange(layers), "token": np.array(axis)},
            name="restored",
        ),
        clean=setup.clean,
        corrupted=setup.corrupted,
        answer=setup.answer,
        answer_token=setup.vlm.tokenizer.decode([setup.answer_id]),
        window=window,
        warnings=setup.warnings,
        rows=setup.rows,
        constraint=setup.encoded.constraint,
        input_ids=setup.encoded.input_ids,
        corrupted_input_ids=setup.corrupted_input_ids,
        corruption=setup.corruption,
        fitted=setup.fitted,
        question=setup.question.text,
        model=setup.vlm.name,
        corrupted_positions=setup.changed,
        control=setup.control,
        _setup=setup,
    )


def _check(window: Any, modules: Any, layers: int) -> tuple[int, tuple[str, ...]]:
    if isinstance(window, bool) or not isinstance(window, (int, np.integer)):
        raise TraceError(
            f"window={window!r} is not a whole number; it counts the layers restored together, from 1 to {layers}."
        )
    if not 1 <= window <= layers:
        raise TraceError(
            f"window={window} is outside 1 to {layers}; it counts the layers restored together, and this model has {layers}."
        )
    modules = (modules,) if isinstance(modules, str) else tuple(modules)
    unknown = [m for m in modules if m not in SITES]
    if unknown or not modules or len(set(modules)) < len(modules):
        raise TraceError(
            f"modules={modules!r} must name each of {tuple(sorted(SITES))} at most once and at least one; unknown: {unknown or 'none'}."
        )
    return int(window), modules

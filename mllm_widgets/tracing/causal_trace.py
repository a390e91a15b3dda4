"""The public tracing functions: check what was asked, run it, label the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from mllm_widgets.errors import TraceError
from mllm_widgets.provenance import dated
from mllm_widgets.results import CellBatch, Trace
from mllm_widgets.vlm.asking import same_answer
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.question import Question

from .asked import WEAK
from .control import check_control
from .corruption import Corruption, TokenSwap, as_corruption, phrases_for
from .engine import order_cells, run_rows
from .filling import Filling, check_state
from .groups import COARSE_TO_FINE, as_groups, fine, known_geometry, usual_groups
from .remote import RemoteSetup, prepare_remote
from .runs import SITES, CleanRun
from .score import check_score
from .setup import MODULES, TraceSetup, prepare

BATCH_ROWS = 96
SEVERED = ("mlp", "self_attn")


def prepare_trace(
    vlm: VLM,
    question: Question,
    *,
    corruption: str | Corruption | None = None,
    answer: str | None = None,
    control: str | None = None,
    target: str | None = None,
    score: str | None = None,
    contrast: str | None = None,
) -> TraceSetup:
    """Run the clean and the corrupted prompt once, for any number of maps (a slider's moves share it).

    Parameters
    ----------
    corruption: words that take the constraint's place, or a `TokenSwap`, `RepeatedToken`, `EmbeddingNoise`, `OtherImage` or `PixelNoise`;
        None takes a phrase of the constraint's kind ("Taj Mahal" for what is no person, animal, film ...), or a second one if that leaves
        the answer as it is.
    answer: whose first token to score; None takes the model's own answer, the arg-max of the clean run.
    control: "text-only" leaves the picture out of both runs; None keeps it.
    target: an answer of which every token is scored, one after the other, in the place of `answer`.
    score: "probability" (the default for `answer`), "log-probability" (base e; the default for `target`) or "logit-difference".
    contrast: whose first token a logit difference is taken to; None takes the corrupted run's likeliest that is not the answer.

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
    asked: dict[str, Any] = {"answer": answer, "control": control, "target": target, "contrast": contrast}
    asked["score"] = check_score(score, answer, target, contrast)
    run = prepare if vlm.remote is None else prepare_remote
    if corruption is not None:
        return run(vlm, question, as_corruption(corruption), **asked)
    runs: dict[int, CleanRun] = {}
    shared: dict[str, Any] = {"clean_runs": runs} if vlm.remote is None else {}
    # a question in words may be about the very thing that usually takes a constraint's place
    phrases = [one for one in phrases_for(question.constraint or "") if not same_answer(one, question.constraint)]
    first = run(vlm, question, TokenSwap(phrases[0]), **shared, **asked)
    if first.effect >= WEAK or len(phrases) == 1:
        return first
    second = run(vlm, question, TokenSwap(phrases[1]), **shared, **asked)
    return second if second.effect > first.effect else first


def causal_trace(
    vlm: VLM,
    question: Question,
    *,
    corruption: str | Corruption | None = None,
    window: int = 1,
    modules: Sequence[str] = MODULES,
    answer: str | None = None,
    control: str | None = None,
    target: str | None = None,
    score: str | None = None,
    contrast: str | None = None,
    groups: Any = None,
    sever: str | None = None,
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
        may also corrupt text constraints or other tokens; or an `OtherImage` or `PixelNoise`, which leave the words and corrupt the picture;
        see `prepare_trace` for the default.
    window: how many neighbouring layers are restored together, centred and clipped; `window=5` is l-2 .. l+2.
    modules: what to restore, of "mlp", "self_attn" (a sub-block's output) and "residual" (the layer's output, everything computed at
        that token so far); each is restored by itself.
    answer: whose first token to score; the model's own answer by default.
    control: "text-only" traces the same words with no picture, to see what the swap does by itself. The answer is then the model's own
        without the picture; pass `answer` to follow the one with it.
    target, score, contrast: what the runs are scored by; see `prepare_trace`. `restored`, `clean` and `corrupted` are then such scores.
    groups: tokens to restore together, besides the text tokens one by one: "visual" (all visual tokens), "blocks" (of 4 x 4 patches),
        "patches", "constraint", "text_constraints", a `mw.tracing.Region` of the picture, a list of sequence positions, or several of
        these in a list. "coarse-to-fine" is all visual tokens, then blocks, then the single patches of blocks that give back a tenth of the
        total effect. None is "coarse-to-fine" where the picture is corrupted, and nothing elsewhere.
    sever: "mlp" or "self_attn": at the restored tokens, those sub-blocks' outputs above the window stay the corrupted run's, so that an
        effect which passes through them is gone (ROME's severed causal graph).
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
    setup = prepare_trace(
        vlm,
        question,
        corruption=corruption,
        answer=answer,
        control=control,
        target=target,
        score=score,
        contrast=contrast,
    )
    return run_trace(
        setup,
        window=window,
        modules=modules,
        groups=groups,
        sever=sever,
        batch_size=batch_size,
        on_cells=on_cells,
        cancel=cancel,
    )


def run_trace(
    setup: TraceSetup,
    *,
    window: int = 1,
    modules: Sequence[str] = MODULES,
    groups: Any = (),
    sever: str | None = None,
    batch_size: int = BATCH_ROWS,
    on_cells: Callable[[CellBatch], None] | None = None,
    cancel: Any = None,
) -> Trace:
    """One map from prepared runs; arguments as in `causal_trace`."""
    layers = len(setup.vlm.layers)
    window, modules = _check(window, modules, layers)
    if sever is not None and sever not in SEVERED:
        raise TraceError(
            f"sever={sever!r} cannot be severed; expected one of {', '.join(map(repr, SEVERED))}, or None."
        )
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise TraceError(f"batch_size={batch_size!r} is not a count of runs; expected a whole number, 1 or more.")
    groups = usual_groups(setup) if groups is None else groups
    by_stages = isinstance(groups, str) and groups == COARSE_TO_FINE
    found = as_groups(setup, ["visual", "blocks"] if by_stages else groups)
    axis = setup.text_positions
    index = {position: i for i, position in enumerate(axis)}
    run = Filling(setup, window, modules, sever, batch_size, on_cells, cancel)

    cells = order_cells(setup, len(modules))
    run.total = len(cells) + run.count(found)
    restored = np.full((len(modules), layers, len(axis)), setup.corrupted, dtype=np.float32)
    run.fill(restored, cells, np.array([index[int(p)] for p in cells.position]))
    together = run.fill_groups(found)
    if by_stages:
        blocks = slice(1, None)
        more = fine(setup, found[blocks], np.abs(together[:, :, blocks] - setup.corrupted).max(axis=(0, 1)))
        run.total += run.count(more)
        together = np.concatenate([together, run.fill_groups(more)], axis=2)
        found += more
    visual = any(setup.encoded.visual[list(group.positions)].any() for group in found)
    coords = {"module": list(modules), "layer": np.arange(layers)}
    return Trace(
        restored=xr.DataArray(
            restored,
            dims=("module", "layer", "token"),
            coords={**coords, "token": np.array(axis)},
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
        score=setup.score.kind,
        scored=tuple(setup.vlm.tokenizer.decode([token]) for token in setup.score.ids),
        target=setup.target,
        contrast=None if setup.score.contrast is None else setup.vlm.tokenizer.decode([setup.score.contrast]),
        sever=sever,
        groups=tuple(found),
        group_restored=xr.DataArray(
            together,
            dims=("module", "layer", "group"),
            coords={**coords, "group": [group.name for group in found]},
            name="restored",
        )
        if found
        else None,
        geometry=known_geometry(setup) if visual else None,
        provenance=dated(
            setup.provenance,
            window=window,
            modules=modules,
            sever=sever,
            groups=sorted({group.kind for group in found}) or None,
        ),
        _setup=setup,
    )


def trace_groups(
    setup: TraceSetup,
    groups: Any,
    *,
    window: int = 1,
    modules: Sequence[str] = MODULES,
    batch_size: int = BATCH_ROWS,
    cancel: Any = None,
) -> xr.DataArray:
    """Scores (module, layer, group) of runs with whole groups of tokens restored, without a map of single tokens; arguments as in `causal_trace`."""
    window, modules = _check(window, modules, len(setup.vlm.layers))
    found = as_groups(setup, groups)
    values = Filling(setup, window, modules, None, batch_size, None, cancel).fill_groups(found)
    coords = {"module": list(modules), "layer": np.arange(values.shape[1]), "group": [group.name for group in found]}
    return xr.DataArray(values, dims=("module", "layer", "group"), coords=coords, name="restored")


def trace_inputs(setup: TraceSetup, groups: Any, *, cancel: Any = None) -> xr.DataArray:
    """Scores (group,) of corrupted runs into which whole groups of tokens enter clean: their input embeddings restored, and with them all that is computed from them alone.

    What has left a token before the end of layer 0 no sub-block's output brings back: this does.  `groups` as in `causal_trace`.

    Raises
    ------
    TraceError: for groups that are not there, or a model that was edited since the setup was prepared.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> question, other = (mw.datasets.demo_question(name) for name in ("Eiffel Tower", "Taj Mahal"))
    >>> setup = mw.tracing.prepare_trace(mw.load(), question, corruption=mw.tracing.OtherImage(other.image))
    >>> bool(mw.tracing.trace_inputs(setup, ["visual"])[0] > 0.9 > setup.corrupted)
    True
    """
    if isinstance(setup, RemoteSetup):
        raise TraceError(
            f"trace_inputs restores input embeddings, and those of {setup.vlm.name!r} are not here; expected a model loaded without remote=. "
            "mw.causal_trace(..., modules='residual') restores what layer 0 makes of them."
        )
    found = as_groups(setup, groups)
    values = np.full(len(found), setup.corrupted, dtype=np.float32)
    for number, group in enumerate(found):
        at = [p - setup.start for p in group.positions if p >= setup.first]
        if not at:
            continue
        if cancel is not None:
            cancel.check()
        scores = []
        with setup.vlm.running():
            check_state(setup)
            for draw in setup.draws:
                embeds = draw.corrupted_embeds.clone()
                embeds[:, at] = draw.clean_embeds[:, at]
                scores.append(run_rows(draw, 1, (), embeds))
        values[number] = np.mean(scores)
    coords = {"group": [group.name for group in found]}
    return xr.DataArray(values, dims=("group",), coords=coords, name="restored")


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

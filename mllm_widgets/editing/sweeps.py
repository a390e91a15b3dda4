"""The same edit at many lambdas, and in many layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from mllm_widgets.errors import EditError
from mllm_widgets.provenance import made_with
from mllm_widgets.tracing.memory import in_parts
from mllm_widgets.tracing.runs import clean_run
from mllm_widgets.tracing.score import answered
from mllm_widgets.tracing.suffix import run_batch
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.side_terms import RidgeTerm

from .edit import Edit, Edits, as_edits, check_lam
from .evaluate import facts_of
from .logits import last_logits
from .rank_one import check_layer, check_question, multedit, target_tokens
from .swept import LambdaSweep, LayerSweep
from .value import Step

LAMS = 33
ROWS = 33  # rows of one forward pass
TOP = 5  # tokens kept of a distribution


def lambda_sweep(
    edit: Edit | Edits,
    questions: Question | Sequence[Question] | None = None,
    lams: Sequence[float] | None = None,
    *,
    target: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> LambdaSweep:
    """What the model would say at many lambdas: each question is one batch, a row for each lambda.

    No value is searched and nothing is solved but n x n systems; the model is the unedited one again afterwards, or what it was.

    Parameters
    ----------
    edit: one, or several whose lambdas move together.
    questions: whatever should be watched; the edited question by default.
    lams: ascending, >= 0; by default 33, spaced evenly on a logarithmic scale from |k|^2 / 10^5, where the edit is whole, to |k|^2 * 10^3, where nothing is left.
    target: whose probability is followed; by default the edit's own.
    progress: called after each question with (done, all). cancel: an object whose `check()` raises when the work is no longer wanted.

    Returns
    -------
    LambdaSweep

    Raises
    ------
    EditError: for an edit without lambda, for lams that are none, or for what is no question.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
    >>> sweep = mw.lambda_sweep(mw.multedit(vlm, question, "Rome", layer=2))
    >>> sweep.target.sizes["lam"], bool(sweep.target[0, 0] > 0.9 > 0.1 > sweep.target[0, -1])
    (33, True)
    """
    edits = as_edits(edit)
    vlm, terms = edits.vlm, edits.terms
    ridge = [term for term in terms if isinstance(term, RidgeTerm)]
    if not ridge:
        raise EditError(f"an edit by {edits.edits[0].method} has no lambda to sweep; expected one by mw.multedit.")
    squares = [float(term.key.double().square().sum()) for term in ridge]
    asked = [edits.edits[0].question] if questions is None else questions
    asked = [asked] if isinstance(asked, Question) else list(asked)
    for question in asked:
        if not isinstance(question, Question):
            raise EditError(f"questions holds a {type(question).__name__}; expected mw.Question objects.")
    values = _lams(lams, squares)
    words = edits.edits[0].target if target is None else target
    found: list[dict[str, np.ndarray]] = []
    for done, question in enumerate(asked):
        if cancel is not None:
            cancel.check()
        found.append(_sweep(vlm, edits, question, target_tokens(vlm, vlm.encode(question), words, "all"), values))
        if progress is not None:
            progress(done + 1, len(asked))

    def array(name: str, *more: str) -> xr.DataArray:
        coords, dims = {"question": np.arange(len(asked)), "lam": values}, ("question", "lam", *more)
        return xr.DataArray(np.stack([one[name] for one in found]), dims=dims, coords=coords, name=name)

    return LambdaSweep(
        target=array("target"),
        kept=array("kept"),
        agrees=array("agrees"),
        kl=array("kl"),
        says=array("says"),
        top=array("top", "rank"),
        top_p=array("top_p", "rank"),
        before=np.array([float(one["before"]) for one in found]),
        answers=tuple(str(one["answer"]) for one in found),
        lams=values,
        strength=min(squares) / (values + min(squares)),
        questions=tuple(question.text for question in asked),
        edit=words,
        provenance=made_with(
            vlm,
            asked[0] if len(asked) == 1 else None,
            edits=[str(facts_of(member)) for member in edits],
            questions=[question.text for question in asked],
            target=words,
            lams=[values[0], values[-1], len(values)],
        ),
    )


def _sweep(vlm: VLM, edits: Edits, question: Question, ids: list[int], lams: np.ndarray) -> dict[str, Any]:
    """One question at all lambdas."""
    encoded = answered(vlm, vlm.encode(question), ids)
    with vlm.running():
        with vlm.side_terms.only(()):
            embeds, continuation, _, plain = clean_run(vlm, encoded, 0, len(ids))

        def rows(some: slice) -> torch.Tensor:
            part = lams[some]
            with vlm.side_terms.only(edits.terms, part):
                # all of them in one pass: a row's lambda goes by its place in the batch
                return run_batch(vlm, continuation, embeds.expand(len(part), -1, -1))

        logits = torch.cat(in_parts(len(lams), ROWS, rows)).float()
    log, was = logits.log_softmax(-1), plain.float().log_softmax(-1)
    said = torch.tensor(ids, device=log.device)
    first, own = log[:, 0], int(was[0].argmax())
    best = first.argmax(-1).cpu()
    top = first.exp().topk(min(TOP, first.shape[-1]))
    return {
        "target": log.gather(-1, said.expand(len(lams), -1)[..., None]).sum((1, 2)).exp().cpu().numpy(),
        "before": was.gather(-1, said[:, None]).sum().exp().item(),
        "kept": first[:, own].exp().cpu().numpy(),
        "agrees": (best == own).numpy(),
        "kl": (was[0].exp() * (was[0] - first)).sum(-1).cpu().numpy(),
        "says": np.array([vlm.tokenizer.decode([int(token)]) for token in best], dtype=object),
        "top": top.indices.cpu().numpy(),
        "top_p": top.values.cpu().numpy(),
        "answer": vlm.tokenizer.decode([own]),
    }


def _lams(lams: Any, squares: list[float]) -> np.ndarray:
    """The lambdas asked for, or those around the keys' squared norms."""
    if lams is None:
        return np.geomspace(min(squares) * 1e-5, max(squares) * 1e3, LAMS)
    values = np.array([check_lam(float(lam) if isinstance(lam, np.floating) else lam) for lam in lams], dtype=float)
    if not len(values) or (np.diff(values) <= 0).any():
        raise EditError(
            f"lams={values.tolist()!r} are not ascending; expected different numbers >= 0, the smallest first."
        )
    return values


def layer_sweep(
    vlm: VLM,
    question: Question,
    target: str,
    layers: Sequence[int] | None = None,
    lam: float = 0.01,
    *,
    progress: Callable[[Step], None] | None = None,
    on_edit: Callable[[Edit, float], None] | None = None,
    cancel: Any = None,
    **options: Any,
) -> LayerSweep:
    """The edit that `multedit` would make in each of some layers, and what each achieves (the paper's figure 14).

    Parameters
    ----------
    layers: 0-based; all by default.
    on_edit: called with each edit and its efficacy as they come.
    progress, cancel, options: as in `multedit`.

    Returns
    -------
    LayerSweep: `edits`, `reached`, `efficacy` (layer,), `best`.

    Raises
    ------
    EditError: as `multedit` does.
    """
    check_question(vlm, question)
    chosen = list(range(len(vlm.layers))) if layers is None else [check_layer(vlm, layer)[0] for layer in layers]
    if not chosen:
        raise EditError("layers=[] names no layer; expected 0-based numbers, or None for all.")
    made: dict[int, Edit] = {}
    efficacy: list[float] = []
    present = vlm.side_terms.active
    before = 0.0
    for layer in dict.fromkeys(chosen):
        edit = multedit(vlm, question, target, layer, lam, progress=progress, cancel=cancel, **options)
        encoded = vlm.encode(question)
        if not made:
            before = said_probability(vlm, encoded, edit.target_ids)
        with vlm.side_terms.only((*present, *edit.terms)):
            efficacy.append(said_probability(vlm, encoded, edit.target_ids))
        made[layer] = edit
        if on_edit is not None:
            on_edit(edit, efficacy[-1])
    coords = {"layer": list(made)}
    return LayerSweep(
        edits=made,
        reached=xr.DataArray([e.reached for e in made.values()], dims=("layer",), coords=coords, name="reached"),
        efficacy=xr.DataArray(efficacy, dims=("layer",), coords=coords, name="efficacy"),
        before=before,
        provenance=made_with(
            vlm,
            question,
            target=target,
            lam=lam,
            layers=list(made),
            options={name: value for name, value in options.items() if isinstance(value, (str, int, float, bool))}
            or None,
        ),
    )


def said_probability(vlm: VLM, encoded: Any, ids: Sequence[int]) -> float:
    """P(ids | prompt), all tokens, of the model as it is now."""
    log = last_logits(vlm, encoded, ids).float().log_softmax(-1)
    return float(log[range(len(ids)), list(ids)].sum().exp())

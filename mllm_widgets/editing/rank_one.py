"""MultEdit: make a model answer otherwise, by a rank-one change of one MLP (Basu et al. 2024, section 5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mllm_widgets.errors import EditError, TraceError
from mllm_widgets.results import Answer
from mllm_widgets.tracing import causal_trace
from mllm_widgets.tracing.asked import WEAK
from mllm_widgets.tracing.score import answer_tokens
from mllm_widgets.vlm.asking import first_token_answer
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.side_terms import RidgeTerm, factors

from .edit import Edit, Edits, as_edits, check_lam
from .logits import last_logits
from .value import Found, Options, Step, find_value

SUFFICIENT = 0.5  # P(target) that the value itself must give, or no weight can
WEAK_EDIT = 0.5  # the share of the residual below which lambda swallows the edit


def multedit(
    vlm: VLM,
    question: Question,
    target: str,
    layer: int | None = None,
    lam: float = 0.01,
    *,
    tokens: str = "all",
    steps: int = 80,
    lr: float = 0.1,
    clamp: float | None = None,
    weight_decay: float = 0.0,
    kl: float = 0.0,
    stop: float = 0.99,
    edits: Edit | Edits | Sequence[Edit] = (),
    progress: Callable[[Step], None] | None = None,
    cancel: Any = None,
) -> Any:
    """Find the edit that makes the model answer `target`; it is not applied yet.

    The key k is what the MLP's output projection W is given at the last token of the visual constraint; the value z* is what it should give there for the
    model to say the target (`editing.value`).  The edited weight is min_W |W k - z*|^2 + lam |W - W'|^2, which is W' + (z* - W' k) k^T / (lam + |k|^2).

    Parameters
    ----------
    question: with a constraint; its own picture.
    target: the words the model should say.
    layer: whose MLP to edit, 0-based; None takes the layer whose MLP brings back most of the answer in a causal trace of the last constraint token.
    lam: how strongly the weight is held, >= 0; what matters is its size beside |k|^2 (`edit.strength`).
    tokens: "all" of the target's tokens are made likely, one after the other, or only the "first", as in the released code.
    steps, lr, clamp, weight_decay, kl, stop: how the value is found: at most so many steps of Adam, each of at most `lr` times |z0| (z0: what W gives now);
        |z - z0| at most `clamp` times |z0| (None: no clamp; ROME: 4); `weight_decay` times |z - z0|^2 / |z0|^2 and `kl` times the change of what it says after
        "<constraint> is a" (KL, nats) are added to the loss -log P(target); it ends when P(target) is `stop`.
    edits: edits that apply while this one is searched, beside what is applied to the model already.
    progress: called with a `Step` after each. cancel: an object whose `check()` raises when the work is no longer wanted, asked before each.

    Returns
    -------
    Edit; with `edits`, Edits: they and the new one. `edit.apply()`, or `with edit:`, makes the model have it.

    Raises
    ------
    EditError: for a question without constraint, an empty target, one the model says already or its tokenizer drops, a layer that is not there, or options
        that are no numbers of their kind.  The model is as it was, whatever happens.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
    >>> edit = mw.multedit(vlm, question, "Rome", layer=2)
    >>> with edit: mw.ask(vlm, question).text
    'Rome'
    >>> mw.ask(vlm, question).text
    'Paris'
    """
    check_question(vlm, question)
    lam = check_lam(lam)
    options = check_options(steps=steps, lr=lr, clamp=clamp, weight_decay=weight_decay, kl=kl, stop=stop)
    others = as_edits(edits) if edits else None
    if others is not None:
        if others.vlm.model is not vlm.model:
            raise EditError("edits= belong to another model than vlm; expected edits of this one.")
        present = vlm.side_terms.active
        others.apply()
        try:
            made = multedit(
                vlm, question, target, layer, lam, tokens=tokens, steps=steps, lr=lr, clamp=clamp, weight_decay=weight_decay, kl=kl, stop=stop,
                progress=progress, cancel=cancel,
            )  # fmt: skip
        finally:
            vlm.side_terms.take([term for term in others.terms if term not in present])
        return others + made
    encoded = vlm.encode(question)
    ids = target_tokens(vlm, encoded, target, tokens)
    own = check_news(vlm, encoded, target, ids)
    layer, reason, doubts = check_layer(vlm, layer) if layer is not None else causal_layer(vlm, question)
    found = find_value(vlm, question, encoded, layer, ids, options, progress, cancel)
    residual = found.value - found.before
    with vlm.lock:  # what the weight itself gives, without the edits of this layer: the value is held against it
        residual = residual + sum_of_terms(vlm, layer, found)
    edit = Edit(
        vlm=vlm,
        question=question,
        target=target.strip(),
        target_ids=tuple(ids),
        layer=layer,
        position=encoded.constraint[-1],
        term=RidgeTerm(layer, found.key, residual, lam),
        answer=own,
        losses=found.losses,
        probabilities=found.probabilities,
        reached=found.reached,
        key=found.key,
        before=found.before,
        value=found.value,
        reason=reason,
    )
    edit.warnings = (*doubts, *_warnings(edit))
    return edit


def sum_of_terms(vlm: VLM, layer: int, found: Found) -> Any:
    """(d,) what the ridge terms applied to a layer add at a key already; to be part of the residual, since all are solved together."""
    terms = [term for term in vlm.side_terms.active if term.layer == layer and isinstance(term, RidgeTerm)]
    pairs = factors(terms) if terms else []
    total = found.key.new_zeros(found.before.shape)
    for left, right in pairs:
        total = total + left @ (found.key if right is None else right @ found.key)
    return total


def causal_layer(vlm: VLM, question: Question) -> tuple[int, str, tuple[str, ...]]:
    """(layer, why, doubts): where the MLP at the last constraint token brings back most of the answer (window 1)."""
    trace = causal_trace(vlm, question, modules=("mlp",))
    effects = trace.indirect_effect.sel(module="mlp", token=vlm.encode(question).constraint[-1]).values
    layer = int(np.nanargmax(effects))
    total = trace.clean - trace.corrupted
    reason = (
        f"layer {layer}: restoring its MLP at the last constraint token brings back {effects[layer]:.3f} of the {total:.3f} that the answer's probability "
        f"loses when the constraint is replaced (corruption {trace.corruption!r}), more than any other layer's"
    )
    doubts = tuple(trace.warnings)
    if effects[layer] < WEAK:
        doubt = f"no layer's MLP at the last constraint token brings the answer back (at most {effects[layer]:.3f} of {total:.3f})"
        doubts = (*doubts, f"{doubt}, so the layer is a guess; see mw.layer_sweep")
    return layer, reason, doubts


def check_layer(vlm: VLM, layer: Any) -> tuple[int, str, tuple[str, ...]]:
    """Raises EditError for a layer that is not there."""
    count = len(vlm.layers)
    if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)) or not 0 <= layer < count:
        raise EditError(
            f"layer={layer!r} is no layer of {vlm.name!r}; expected 0 to {count - 1}, or None for the causal one."
        )
    return int(layer), f"layer {layer}: as asked", ()


def check_model(vlm: Any) -> None:
    """Raises EditError for what is no model."""
    if not isinstance(vlm, VLM):
        raise EditError(
            f"vlm is a {type(vlm).__name__}; expected what mw.load() returns. A Hugging Face model goes through mw.load(model, processor)."
        )


def check_question(vlm: Any, question: Any) -> None:
    """Raises EditError for what cannot be edited."""
    check_model(vlm)
    if not isinstance(question, Question):
        raise EditError(f"question is a {type(question).__name__}; expected mw.Question(image, text, constraint=...).")
    if question.constraint is None:
        raise EditError(
            "the question has no constraint, and the edit is made at its last token; expected mw.Question(image, text, constraint='this building')."
        )


def target_tokens(vlm: VLM, encoded: Encoding, target: Any, tokens: Any) -> list[int]:
    """The target's tokens that are made likely.

    Raises EditError for a target that is empty, no text, or of characters that the tokenizer does not know.
    """
    if tokens not in ("all", "first"):
        raise EditError(
            f"tokens={tokens!r} says not which of the target's tokens to make likely; expected 'all' or 'first'."
        )
    try:
        ids = answer_tokens(vlm, encoded, "target", target)
    except TraceError as error:
        raise EditError(str(error)) from error
    unknown = getattr(vlm.tokenizer, "unk_token_id", None)
    if unknown is not None and unknown in ids:
        raise EditError(
            f"target={target!r} has words that the tokenizer of {vlm.name!r} does not know (it writes {vlm.tokenizer.unk_token!r} for them), so the model "
            "cannot say them; choose other words."
        )
    return ids if tokens == "all" else ids[:1]


def check_news(vlm: VLM, encoded: Encoding, target: str, ids: list[int]) -> Answer:
    """The model's answer now.  Raises EditError if that is the target already."""
    logits = last_logits(vlm, encoded, ids)
    own = first_token_answer(vlm, logits[0])
    if logits.argmax(-1).tolist() == ids:
        probability = float(logits.float().log_softmax(-1)[range(len(ids)), ids].sum().exp())
        raise EditError(
            f"target={target!r} is what the model answers already (P = {probability:.3f}), so there is nothing to edit; expected another answer."
        )
    return own


def check_options(**given: Any) -> Options:
    """Raises EditError for options that are no numbers of their kind."""
    steps = given["steps"]
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise EditError(f"steps={steps!r} is no count of steps; expected a whole number, 1 or more.")
    for name, zero, most in (
        ("lr", False, math.inf),
        ("clamp", False, math.inf),
        ("weight_decay", True, math.inf),
        ("kl", True, math.inf),
        ("stop", False, 1.0),
    ):
        if given[name] is None and name == "clamp":
            continue
        value = _number(given[name])
        if value is None or value < 0 or (value == 0 and not zero) or value > most:
            bound = "0 or more" if zero else "more than 0"
            raise EditError(
                f"{name}={given[name]!r} cannot be used; expected a number, {bound}{'' if most == math.inf else f', at most {most:g}'}."
            )
    return Options(**given)


def _number(value: Any) -> float | None:
    """A finite number, or None for what is none."""
    known = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def _warnings(edit: Edit) -> tuple[str, ...]:
    """Why an edit may not do what is hoped."""
    found = []
    if edit.reached < SUFFICIENT:
        found.append(
            f"even with the value itself in place the model says {edit.target!r} only with P = {edit.reached:.3f} after {len(edit.losses) - 1} steps, so the MLP "
            f"of layer {edit.layer} at this token is not sufficient and no edit of its weight can work; try another layer (mw.layer_sweep) or more steps"
        )
    if isinstance(edit.term, RidgeTerm) and edit.strength < WEAK_EDIT:
        found.append(
            f"lam={edit.lam:g} is large beside |k|^2 = {float(edit.term.key.square().sum()):.3g}: the weight gives only {edit.strength:.0%} of the change at its key"
        )
    return tuple(found)

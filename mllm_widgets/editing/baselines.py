"""Other ways to edit, for comparison: fine-tuning of one layer, ROME, and LoRA.

Each gives an `Edit`, held beside the model like MultEdit's: what is trained is the change of the MLP's output projection, added to its output while the
weight itself stays as it is (`vlm.side_terms`).  Gradients of the change are those of the weight, and Adam without weight decay does not look at where it
started, so that is fine-tuning to the letter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mllm_widgets.errors import EditError
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.side_terms import FixedTerm

from .covariance import KeyCovariance, projection_run, solved
from .descent import Step, descend
from .edit import Edit
from .logits import last_logits
from .rank_one import (
    SUFFICIENT,
    causal_layer,
    check_layer,
    check_news,
    check_options,
    check_question,
    multedit,
    target_tokens,
)
from .value import Options


def fine_tune(
    vlm: VLM,
    question: Question,
    target: str,
    layer: int | None = None,
    *,
    tokens: str = "all",
    steps: int = 25,
    lr: float = 5e-4,
    box: float | None = None,
    stop: float = 0.99,
    progress: Callable[[Step], None] | None = None,
    cancel: Any = None,
) -> Edit:
    """Fine-tune the output projection of one layer's MLP on the question and its target alone, as in ROME's comparison (Meng et al. 2022).

    Parameters
    ----------
    question, target, layer, tokens, progress, cancel: as in `multedit`; edits that are applied now stay so while it is trained.
    steps, lr, stop: at most so many steps of Adam on -log P(target), until P(target) is `stop` (0.99: ROME's loss < 0.01). The defaults are ROME's for GPT2-XL; a small
        model, with larger weights, needs a larger lr (the demo model 2e-3).
    box: the most that any entry of the weight may move, |W - W'| <= box: constrained fine-tuning (Zhu et al. 2020; ROME's repository: 5e-4 for GPT2-XL, 5e-5
        for GPT-J), by clamping after each step.  None lets it move.

    Returns
    -------
    Edit by "fine-tuning", or by "constrained fine-tuning"; its change is dense, (d, d_ff) in float32.

    Raises
    ------
    EditError: as `multedit` does, or for a box that is no number above 0.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
    >>> edit = mw.editing.fine_tune(vlm, question, "Rome", layer=2, box=0.001)
    >>> edit.method, bool(edit.change()[edit.site].abs().max() <= 0.001)
    ('constrained fine-tuning', True)
    """
    start = _Start.of(vlm, question, target, layer, tokens, steps=steps, lr=lr, stop=stop)
    if box is not None and (isinstance(box, bool) or not isinstance(box, (int, float)) or not 0 < box < math.inf):
        raise EditError(f"box={box!r} is no bound for the entries of a weight; expected a number above 0, or None.")
    change = start.zeros(*start.shape)

    def clamp() -> None:
        if box is not None:
            change.clamp_(-box, box)

    method = "fine-tuning" if box is None else "constrained fine-tuning"
    return start.trained(method, [change], clamp, progress, cancel)


def lora(
    vlm: VLM,
    question: Question,
    target: str,
    layer: int | None = None,
    *,
    rank: int = 8,
    tokens: str = "all",
    steps: int = 25,
    lr: float = 5e-3,
    stop: float = 0.99,
    seed: int = 0,
    progress: Callable[[Step], None] | None = None,
    cancel: Any = None,
) -> Edit:
    """Train a low-rank change B A of one layer's MLP output projection on the question and its target alone (LoRA, Hu et al. 2022).

    Parameters
    ----------
    question, target, layer, tokens, steps, lr, stop, progress, cancel: as in `fine_tune`.
    rank: columns of B (d, rank) and rows of A (rank, d_ff). B starts from zeros, A evenly distributed within 1 / sqrt(d_ff) as PEFT does, from `seed`; the scale alpha / rank is 1.

    Returns
    -------
    Edit by "lora".

    Raises
    ------
    EditError: as `fine_tune` does, or for a rank that the projection does not have.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> edit = mw.editing.lora(mw.load(), mw.datasets.demo_question("Eiffel Tower"), "Rome", layer=2, rank=2, steps=3)
    >>> left, right = edit.factors()[edit.site]
    >>> left.shape[1], right.shape[0]
    (2, 2)
    """
    start = _Start.of(vlm, question, target, layer, tokens, steps=steps, lr=lr, stop=stop)
    outputs, inputs = start.shape
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= min(start.shape):
        raise EditError(
            f"rank={rank!r} is no rank of a change of {outputs} x {inputs}; expected a whole number, 1 to {min(start.shape)}."
        )
    left, right = start.zeros(outputs, rank), start.zeros(rank, inputs)
    with torch.no_grad():
        random = torch.rand(rank, inputs, generator=torch.Generator().manual_seed(seed))
        right += ((2 * random - 1) / inputs**0.5).to(right.device)
    return start.trained("lora", [left, right], None, progress, cancel)


def rome(
    vlm: VLM,
    question: Question,
    target: str,
    layer: int | None = None,
    *,
    covariance: KeyCovariance | Tensor,
    tokens: str = "all",
    steps: int = 80,
    lr: float = 0.1,
    clamp: float | None = None,
    weight_decay: float = 0.0,
    kl: float = 0.0,
    stop: float = 0.99,
    progress: Callable[[Step], None] | None = None,
    cancel: Any = None,
) -> Edit:
    """ROME (Meng et al. 2022): W' + (z* - W'k) (C^-1 k)^T / (k^T C^-1 k), the change that keeps the outputs for keys of second moment C best.

    Key and value are `multedit`'s, so that the two differ in the update alone: k is the key of the question itself, where ROME takes the mean over random prefixes.  ROME's own
    search has clamp=4, weight_decay=0.5 and kl=0.0625.  With C = I this is MultEdit with lam = 0.

    Parameters
    ----------
    covariance: `key_covariance(vlm, questions, layer)` of the same layer, or a positive definite matrix (d_ff, d_ff).
    question, target, layer, tokens, steps, lr, clamp, weight_decay, kl, stop, progress, cancel: as in `multedit`; without a layer, that of a `KeyCovariance` is taken.

    Returns
    -------
    Edit by "rome".

    Raises
    ------
    EditError: as `multedit` does, or for a covariance of another layer, model or size, or one that cannot be inverted.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
    >>> covariance = mw.editing.key_covariance(vlm, mw.datasets.demo(4), layer=2)
    >>> with mw.editing.rome(vlm, question, "Rome", covariance=covariance): mw.ask(vlm, question).text
    'Rome'
    """
    check_question(vlm, question)
    if layer is None and isinstance(covariance, KeyCovariance):
        layer = covariance.layer
    number, reason, doubts = check_layer(vlm, layer) if layer is not None else causal_layer(vlm, question)
    # before the search: it may be of another layer
    inverse = solved(vlm, number, projection_run(vlm, vlm.encode(question), number)[0].shape[-1], covariance)
    made = multedit(
        vlm, question, target, number, lam=0.0, tokens=tokens, steps=steps, lr=lr, clamp=clamp, weight_decay=weight_decay, kl=kl, stop=stop,
        progress=progress, cancel=cancel,
    )  # fmt: skip
    assert made.key is not None
    assert made.value is not None
    assert made.before is not None
    key = made.key.double()
    along = inverse(key)
    # beside what is applied now, not solved together with it: so the step is from what the projection gives now
    term = FixedTerm(number, (made.value - made.before)[:, None], (along / (key @ along))[None].float())
    return replace(made, term=term, method="rome", reason=reason, warnings=(*doubts, *made.warnings))


@dataclass(frozen=True, eq=False)
class _Start:
    """What training needs: a question that is read and checked, its target's tokens, and where to train; `edit` has all but what is trained."""

    edit: Edit
    encoded: Encoding
    options: Options
    shape: tuple[int, int]  # (d, d_ff)
    device: torch.device

    @classmethod
    def of(cls, vlm: VLM, question: Question, target: str, layer: int | None, tokens: str, **options: Any) -> _Start:
        """Raises EditError for what cannot be trained."""
        check_question(vlm, question)
        checked = check_options(clamp=None, weight_decay=0.0, kl=0.0, **options)
        encoded = vlm.encode(question)
        ids = target_tokens(vlm, encoded, target, tokens)
        own = check_news(vlm, encoded, target, ids)
        number, reason, doubts = check_layer(vlm, layer) if layer is not None else causal_layer(vlm, question)
        # read from a run: what a weight is like depends on how it is kept (transposed, quantised, on another device)
        keys, given = projection_run(vlm, encoded, number)
        shape = (given.shape[-1], keys.shape[-1])
        edit = Edit(
            vlm=vlm,
            question=question,
            target=target.strip(),
            target_ids=tuple(ids),
            layer=number,
            position=encoded.constraint[-1],
            term=FixedTerm(number, torch.zeros(shape[0], 0), torch.zeros(0, shape[1])),
            answer=own,
            losses=(),
            probabilities=(),
            reached=0.0,
            reason=reason,
            warnings=doubts,
        )
        return cls(edit, encoded, checked, shape, keys.device)

    def zeros(self, *shape: int) -> Tensor:
        """A part of the change that is trained, where the projection is."""
        return torch.zeros(shape, device=self.device, requires_grad=True)

    def trained(
        self,
        method: str,
        parts: Sequence[Tensor],
        held: Callable[[], None] | None,
        progress: Callable[[Step], None] | None,
        cancel: Any,
    ) -> Edit:
        """The edit whose change is the product of the parts, or the one part there is."""
        edit, options, terms = self.edit, self.options, self.edit.vlm.side_terms
        said = list(edit.target_ids)

        def loss() -> tuple[Tensor, Tensor]:
            # a term that is new in each step: hooks keep copies of what they add
            with terms.only((*terms.active, _term(edit.layer, parts))):
                log = last_logits(edit.vlm, self.encoded, said, gradients=True).float().log_softmax(-1)
            nats = -log[range(len(said)), said].sum()
            return nats, nats

        losses, probabilities = descend(
            edit.vlm, parts, options.lr, loss, steps=options.steps, stop=options.stop, asked_lr=options.lr, held=held, progress=progress, cancel=cancel
        )  # fmt: skip
        doubts = edit.warnings
        if probabilities[-1] < SUFFICIENT:
            doubt = (
                f"after {len(losses) - 1} steps of {method} in layer {edit.layer} the model says {edit.target!r} only with P = {probabilities[-1]:.3f}; try "
                "another layer, more steps or a larger lr"
            )
            doubts = (*doubts, doubt)
        return replace(
            edit,
            term=_term(edit.layer, [part.detach().cpu() for part in parts]),
            method=method,
            losses=losses,
            probabilities=probabilities,
            reached=probabilities[-1],
            warnings=doubts,
        )


def _term(layer: int, parts: Sequence[Tensor]) -> FixedTerm:
    """A change that is one part, or the product of two."""
    return FixedTerm(layer, parts[0], parts[1] if len(parts) > 1 else None)

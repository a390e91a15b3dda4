"""Asking a model the same question before and after an edit.

Each question is run under `side_terms.only`: without any edit, then with exactly the edit that is measured.  The model is held for one question at
a time, and nobody else sees either state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mllm_widgets.errors import EditError, MllmWidgetsError
from mllm_widgets.vlm.asking import greedy, same_answer
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.side_terms import Term

from .logits import last_logits
from .rank_one import target_tokens
from .report import Probe

STRICT = 10  # how many of the most probable tokens must stay, and in their order, for EasyEdit's strict locality


@dataclass(frozen=True, eq=False)
class Asked:
    """A question to be probed.

    group: "edited", "paraphrases", ...: why it is asked.
    argument: how the caller named it, for errors.
    expected: the answer that is scored, or None. tokens: how many of its tokens; None for all.
    edit: which edit of several it is about.
    compared: is the whole answer compared with the unedited model's?
    """

    group: str
    argument: str
    question: Question
    expected: str | None = None
    tokens: int | None = None
    edit: int | None = None
    compared: bool = False


class Unedited:
    """What a model says without edits, kept from call to call so that it is run once for each question.

    Pass it as `unedited=` to measure several edits on the same `Question` objects.  What is baked into the weights counts as the model's own.
    """

    def __init__(self, vlm: VLM):
        self.vlm = vlm
        self._baked = vlm.side_terms.in_weights
        self._kept: dict[tuple[Any, ...], Any] = {}

    def __repr__(self) -> str:
        return f"Unedited({self.vlm.name!r}, {sum(key[0] == 'encoding' for key in self._kept)} questions)"

    def _once(self, key: tuple[Any, ...], compute: Any) -> Any:
        if self.vlm.side_terms.in_weights != self._baked:
            self._kept, self._baked = {}, self.vlm.side_terms.in_weights
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]

    def forget(self, but: Iterable[Question] = ()) -> None:
        """Forget all questions but these, which many edits are measured on."""
        kept = {id(question) for question in but}
        self._kept = {key: found for key, found in self._kept.items() if id(key[1]) in kept}

    def encoding(self, asked: Asked) -> Encoding:
        """The question as the model reads it.  Raises EditError, naming the argument, for one it cannot read."""
        try:
            return self._once(("encoding", asked.question), lambda: self.vlm.encode(asked.question))
        except MllmWidgetsError as error:
            raise EditError(f"{asked.argument} cannot be asked: {error}") from error

    def answer(self, asked: Asked, most: int) -> tuple[list[int], str]:
        """Tokens and words of the greedy answer."""
        encoded = self.encoding(asked)

        def said() -> tuple[list[int], str]:
            with self.vlm.side_terms.only(()):
                return greedy(self.vlm, encoded, most)[:2]

        return self._once(("answer", asked.question, most), said)

    def logs(self, asked: Asked, ids: Sequence[int]) -> Tensor:
        """(tokens, vocabulary), log-probabilities before each of `ids`, float32 on the CPU."""
        encoded = self.encoding(asked)

        def read() -> Tensor:
            with self.vlm.side_terms.only(()):
                return log_probabilities(self.vlm, encoded, ids)

        return self._once(("logs", asked.question, tuple(ids)), read)


def log_probabilities(vlm: VLM, encoded: Encoding, ids: Sequence[int]) -> Tensor:
    """(tokens, vocabulary), before each token of an answer, the tokens before it said; float32 on the CPU."""
    return last_logits(vlm, encoded, ids).float().log_softmax(-1).cpu()


def expected_tokens(unedited: Unedited, asked: Asked) -> list[int]:
    """The tokens that are scored.  Raises EditError, naming the argument, for an answer that the model cannot say."""
    try:
        return target_tokens(unedited.vlm, unedited.encoding(asked), asked.expected, "all")[: asked.tokens]
    except EditError as error:
        raise EditError(f"{asked.argument}: {error}") from error


def probe(unedited: Unedited, terms: Sequence[Term], asked: Asked, most: int) -> Probe:
    """Ask one question of the model without edits, and with `terms` alone."""
    vlm, encoded = unedited.vlm, unedited.encoding(asked)
    ids = expected_tokens(unedited, asked) if asked.expected is not None else None
    own, before = unedited.answer(asked, most)
    scored_before = unedited.logs(asked, ids) if ids is not None else None
    own_before = unedited.logs(asked, own) if asked.compared else None
    with vlm.side_terms.only(terms):
        scored = log_probabilities(vlm, encoded, ids) if ids is not None else None
        compared = log_probabilities(vlm, encoded, own) if own_before is not None else None
        same = (
            compared is not None and own_before is not None and torch.equal(compared.argmax(-1), own_before.argmax(-1))
        )
        after = before if same else greedy(vlm, encoded, most)[1]
    if any(part is not None and part.isnan().any() for part in (scored, compared)):
        raise EditError(
            f"{asked.argument}: the edited model's logits are no numbers, so there is nothing to measure; the change of the weight may be too large, or "
            f"{vlm.model.dtype} may overflow (load the model with dtype='float32')."
        )
    figures: dict[str, float] = {}
    if ids is not None and scored is not None and scored_before is not None:
        for name, logs in (("", scored), ("_before", scored_before)):
            hits = [int(best) == token for best, token in zip(logs.argmax(-1), ids, strict=True)]
            figures[f"probability{name}"] = math.exp(float(logs[range(len(ids)), ids].sum()))
            figures[f"success{name}"] = float(all(hits))
            figures[f"tokens{name}"] = sum(hits) / len(hits)
    if compared is not None and own_before is not None:
        figures |= agreement(own_before, compared)
    if asked.question.answer is not None:
        figures["correct"] = float(same_answer(after, asked.question.answer))
        figures["correct_before"] = float(same_answer(before, asked.question.answer))
    return Probe(asked.group, asked.edit, asked.question.text, asked.expected, before, after, **figures)


def agreement(before: Tensor, after: Tensor) -> dict[str, float]:
    """How far two models agree, from their log-probabilities (tokens, vocabulary) along the first one's greedy answer.

    Examples
    --------
    >>> one, other = torch.tensor([[0.6, 0.4]]).log(), torch.tensor([[0.4, 0.6]]).log()
    >>> agreement(one, one)["kl"], agreement(one, other)["agreement"]
    (0.0, 0.0)
    """
    same = before.argmax(-1) == after.argmax(-1)
    most = min(STRICT, after.shape[-1])
    lists = [logs.topk(most, dim=-1).indices for logs in (before, after)]
    first, now = before[0].double(), after[0].double()
    share = first.exp()
    # what one model gives no chance at all adds nothing: 0 log 0
    kl = torch.where(share > 0, share * (first - now), 0.0).sum()
    return {
        "agreement": float(same.all()),
        "first": float(same[0]),
        "top1": float(same.double().mean()),
        "top10": float((lists[0] == lists[1]).all(-1).double().mean()),
        "kl": max(0.0, float(kl)),
    }

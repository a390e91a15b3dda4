"""What a trace asks of a model, before anything runs, and what its first runs say.

The same wherever the runs are made: in this process (setup.py) or where the model is served (remote.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mllm_widgets.errors import TraceError
from mllm_widgets.provenance import made_with
from mllm_widgets.vlm.asking import first_token_answer
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

from .control import NO_PICTURE, without_picture
from .corruption import Corruption, Plan
from .score import Score, answer_tokens, answered

WEAK = 0.1  # a total effect below this, in probability


@dataclass(frozen=True, eq=False)
class Asked:
    """One question, one corruption of it, and what is scored.

    prompt: the question as the model reads it; without its picture under a control.
    encoded: the prompt with all but the last token of the answer after it.
    ids: the answer's tokens; None for the model's own answer, which its clean run says.
    """

    question: Question
    corruption: Corruption
    plan: Plan
    prompt: Encoding
    encoded: Encoding
    ids: list[int] | None
    answer: str | None
    target: str | None
    control: str | None

    @property
    def scored(self) -> int:
        """How many of the last positions' logits score a run."""
        return 1 if self.ids is None else len(self.ids)

    @property
    def said(self) -> np.ndarray:
        """The answer's tokens that stand after the prompt."""
        return self.encoded.input_ids[len(self.prompt.tokens) :]

    @property
    def corrupted_input_ids(self) -> np.ndarray:
        """Token ids (positions,) of the corrupted prompt, with the answer's after it."""
        return np.concatenate([self.plan.input_ids, self.said])


def asked_of(
    vlm: VLM, question: Question, corruption: Corruption, answer: str | None, target: str | None, control: str | None
) -> Asked:
    """Encode a question and plan its corruption.

    Raises
    ------
    TraceError: where the corruption reaches a picture that is not traced, or cannot be made.
    """
    prompt = vlm.encode(question)
    if control is not None:
        prompt = without_picture(vlm, prompt)
    plan = corruption.plan(vlm, question, prompt)
    at = plan.positions[0]
    if prompt.visual[at:].any() and not prompt.visual[list(plan.positions)].any():
        raise TraceError(
            f"the picture stands after the first corrupted token (position {at}) in this prompt, so the corruption reaches its visual "
            "tokens, which are not traced; put {image} first in the template, or corrupt tokens after it."
        )
    ids = None
    if target is not None:
        ids = answer_tokens(vlm, prompt, "target", target)
    elif answer is not None:
        ids = answer_tokens(vlm, prompt, "answer", answer)[:1]
    encoded = prompt if ids is None else answered(vlm, prompt, ids)
    return Asked(question, corruption, plan, prompt, encoded, ids, answer, target, control)


def measured(
    vlm: VLM, asked: Asked, logits: torch.Tensor, after: torch.Tensor, score: str, contrast: str | None
) -> dict[str, Any]:
    """The fields of a `TraceSetup` that the first runs give.

    Parameters
    ----------
    logits: (scored, vocabulary) of the clean run, after: (draws, scored, vocabulary) of the corrupted ones.

    Raises
    ------
    TraceError: where the corrupted run's score is no number, or the contrast is the answer itself.
    """
    plan, corruption = asked.plan, asked.corruption
    model_answer = first_token_answer(vlm, logits[0])
    ids = [model_answer.token_id] if asked.ids is None else asked.ids
    first = after[:, 0].float().softmax(-1).mean(0)
    against = None
    if score == "logit-difference":
        against = _contrast(vlm, asked.prompt, contrast, ids[0], first)
    measure = Score(score, tuple(ids), against)
    clean, corrupted = float(measure(logits[None])), float(measure(after).mean())
    if not np.isfinite(corrupted):
        raise TraceError(
            f"corruption={plan.name!r} makes the corrupted run's score {corrupted}: the model overflows in {vlm.model.dtype}. Load it with "
            "dtype='float32' or 'bfloat16', or corrupt less."
        )
    made = made_with(
        vlm,
        asked.question,
        corruption=plan.name,
        fitted=plan.fitted or None,
        draws=getattr(corruption, "draws", None),
        seed=getattr(corruption, "seed", None),
        control=asked.control,
        score=score,
        answer=asked.answer,
        target=asked.target,
        contrast=None if against is None else vlm.tokenizer.decode([against]),
    )
    # warnings are about probabilities, whatever the score
    was, became = (float(measure.log_probability(rows).exp().mean()) for rows in (logits[None], after))
    best = int(first.argmax())
    found = _warnings(was, became, model_answer.token_id == ids[0], best == ids[0], plan)
    return {
        "vlm": vlm,
        "question": asked.question,
        "encoded": asked.encoded,
        "corrupted_input_ids": asked.corrupted_input_ids,
        "corruption": plan.name,
        "fitted": plan.fitted,
        "changed": plan.positions,
        "answer": model_answer,
        "score": measure,
        "clean": clean,
        "corrupted": corrupted,
        "corrupted_best": vlm.tokenizer.decode([best]),
        "warnings": found + ((NO_PICTURE,) if asked.control else ()),
        "effect": was - became,
        "control": asked.control,
        "target": None if asked.target is None else asked.target.strip(),
        "provenance": made,
    }


def _contrast(vlm: VLM, prompt: Encoding, contrast: str | None, answer: int, corrupted: torch.Tensor) -> int:
    """The token a logit difference is taken to: the first one of `contrast`, or the corrupted run's likeliest that is not the answer."""
    if contrast is None:
        likeliest = corrupted.topk(2).indices.tolist()
        return likeliest[0] if likeliest[0] != answer else likeliest[1]
    token = answer_tokens(vlm, prompt, "contrast", contrast)[0]
    if token == answer:
        raise TraceError(
            f"contrast={contrast!r} begins with the same token as the answer, {vlm.tokenizer.decode([token])!r}, so their difference is always 0; "
            "choose another."
        )
    return token


def _warnings(clean: float, corrupted: float, own: bool, unchanged: bool, plan: Plan) -> tuple[str, ...]:
    """Why this trace may mean nothing."""
    found = []
    if unchanged:
        found.append(
            f"the corruption {plan.name!r} leaves the answer unchanged, so there is little to restore; {plan.advice}"
        )
    elif clean - corrupted < WEAK:
        found.append(
            f"the total effect is only {clean - corrupted:.3f} (clean {clean:.3f}, corrupted {corrupted:.3f}); small effects are noise"
        )
    if own and clean < 0.5:
        found.append(f"the model is not sure of its own answer (P = {clean:.3f}), so the map may explain a guess")
    if not own:
        found.append(f"the answer traced is not the model's own first choice (P = {clean:.3f})")
    return tuple(found)

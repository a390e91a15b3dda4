"""Does what the constraint writes into the last token tell right answers from wrong ones?

Basu et al. 2024 score a question by the norm of the contribution of the constraint's last token to the prompt's last token, mean of two middle
layers, and find AUROC 0.63 where the model's own confidence has 0.76; after Yuksekgonul et al. 2024 ("Attention Satisfies").  Both figures come from some
80 questions, and the layers were chosen on the questions they were judged by: so here every figure has an interval, and confidence stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mllm_widgets.errors import FlowError
from mllm_widgets.intervals import LEVEL
from mllm_widgets.provenance import made_with
from mllm_widgets.vlm.asking import ask, same_answer
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.question import Question

from .arguments import check_layers, check_model, crosses
from .compute import attention_contributions
from .result import Auroc, CorrectnessSignal

FEW = 20  # of a kind, below which an interval says little


def constraint_to_last(vlm: VLM, question: Question, layers: Sequence[int] | int | None = None) -> float:
    """What the constraint's last token writes into the prompt's last token: ||a_ij||, mean over layers.

    Parameters
    ----------
    layers: 0-based; by default the two in the middle (15 and 16 of 32, the paper's).

    Raises
    ------
    FlowError: for a question without a constraint, or layers that are not there or have no tokens as sources.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> constraint_to_last(mw.load(), mw.datasets.demo_question("Eiffel Tower"), layers=[4, 5]) > 0
    True
    """
    check_model(vlm, question)
    if question.constraint is None:
        raise FlowError(
            "the score needs a question with a constraint: mw.Question(image, text, constraint='this building')."
        )
    chosen = _layers(vlm, layers)
    flow = attention_contributions(vlm, question, "last", layers=chosen)
    return float(flow.norms.sel(token=flow.constraint[-1]).mean())


def correctness_signal(
    vlm: VLM,
    questions: Sequence[Question],
    correct: Sequence[bool] | None = None,
    *,
    layers: Sequence[int] | int | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> CorrectnessSignal:
    """Score many questions by `constraint_to_last`, beside the model's confidence in its answer.

    Parameters
    ----------
    questions: each with a constraint, and its true `answer` unless `correct` is given.
    correct: whether the model answers each of them rightly; by default, whether its answer is the question's, capitals aside.
    layers: as in `constraint_to_last`. Chosen on these very questions, they make the score look better than it is.
    draws, seed: of the bootstrap.

    Raises
    ------
    FlowError: if all answers are right or all are wrong, so that there is nothing to tell apart.
    """
    questions = list(questions)
    if not questions:
        raise FlowError("questions is empty; expected some with right and some with wrong answers.")
    for question in questions:
        check_model(vlm, question)
        if correct is None and question.answer is None:
            raise FlowError(
                f"the question {question.text!r} has no true answer; pass mw.Question(..., answer='Paris'), or correct= with True or False for each."
            )
    if correct is not None and len(correct) != len(questions):
        raise FlowError(f"correct has {len(correct)} entries for {len(questions)} questions; expected one for each.")
    chosen = _layers(vlm, layers)
    rows = []
    for place, question in enumerate(questions):
        given = ask(vlm, question)
        right = bool(correct[place]) if correct is not None else same_answer(given.text, question.answer)
        rows.append(
            {
                "question": question.text,
                "answer": given.text,
                "correct": right,
                "score": constraint_to_last(vlm, question, chosen),
                "confidence": given.probability,
            }
        )
    import pandas as pd

    table = pd.DataFrame(rows)
    truth = table["correct"].to_numpy(dtype=bool)
    score, confidence = (auroc(table[name].to_numpy(), truth, draws, seed) for name in ("score", "confidence"))
    few = min(score.right, score.wrong)
    warnings = ()
    if few < FEW:
        kind = "right" if score.right == few else "wrong"
        warnings = (
            f"only {few} of the {len(table)} answers are {kind}, so the figures are rough (see their intervals)",
        )
    made = made_with(vlm, questions=len(questions), layers=chosen, draws=draws, seed=seed)
    return CorrectnessSignal(table, score, confidence, tuple(chosen), vlm.name, warnings, provenance=made)


def auroc(scores: Any, correct: Any, draws: int = 2000, seed: int = 0) -> Auroc:
    """Area under the ROC curve, with a percentile interval from a bootstrap within right and within wrong answers.

    Parameters
    ----------
    scores: (n,), higher for what should be right. correct: bool (n,).

    Examples
    --------
    >>> str(auroc([0.9, 0.8, 0.3, 0.1], [True, True, False, False]))
    '1.00 (1.00 to 1.00)'
    """
    scores, correct = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
    if scores.shape != correct.shape or scores.ndim != 1:
        raise FlowError(
            f"scores {scores.shape} and correct {correct.shape} do not belong together; expected one of each for every question."
        )
    if not np.isfinite(scores).all():
        raise FlowError(
            f"{(~np.isfinite(scores)).sum()} of {len(scores)} scores are not finite; leave those questions out."
        )
    right, wrong = scores[correct], scores[~correct]
    if not len(right) or not len(wrong):
        raise FlowError(
            f"{len(right)} answers are right and {len(wrong)} are wrong; there must be some of both, or there is nothing to tell apart."
        )
    # how often a right one scores above a wrong one, ties counted half
    above = (right[:, None] > wrong[None]) + 0.5 * (right[:, None] == wrong[None])
    random = np.random.default_rng(seed)
    sampled = [
        above[random.integers(len(right), size=len(right))][:, random.integers(len(wrong), size=len(wrong))].mean()
        for _ in range(draws)
    ]
    low, high = np.quantile(sampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Auroc(float(above.mean()), float(low), float(high), len(right), len(wrong))


def _layers(vlm: VLM, layers: Any) -> list[int]:
    count = len(vlm.layers)
    chosen = check_layers(layers, count) if layers is not None else sorted({max(0, count // 2 - 1), count // 2})
    own = [layer for layer in chosen if not crosses(vlm, layer)]
    if not own or (layers is not None and own != chosen):
        raise FlowError(
            f"layers={chosen} are cross-attention layers, or some of them are: their sources are vision states, so the constraint writes nothing there."
        )
    return own

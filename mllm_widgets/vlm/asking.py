"""Asking a model a question."""

from __future__ import annotations

import functools

import torch

from mllm_widgets.errors import ModelError, QuestionError
from mllm_widgets.results import Answer

from .model import VLM
from .question import Question


def ask(vlm: VLM, question: Question, max_new_tokens: int = 8) -> Answer:
    """What the model answers, by greedy decoding.

    Parameters
    ----------
    max_new_tokens: the most tokens an answer may have; it ends earlier at the end-of-sequence token.

    Returns
    -------
    Answer: its text, its first token with probability, and the whole first-token distribution.

    Raises
    ------
    ModelError, QuestionError: for arguments that are no loaded model or no question.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> mw.ask(mw.load(), mw.datasets.demo_question("Eiffel Tower")).text
    'Paris'
    """
    if not isinstance(vlm, VLM):
        raise ModelError(
            f"vlm is a {type(vlm).__name__}; expected what mw.load() returns. A Hugging Face model goes through mw.load(model, processor)."
        )
    if not isinstance(question, Question):
        raise QuestionError(
            f"question is a {type(question).__name__}; expected mw.Question(image, text), or mw.Question(None, text)."
        )
    inputs = vlm.encode(question).inputs
    with vlm.running():
        generated = vlm.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            pad_token_id=vlm.tokenizer.pad_token_id,
        )
    new = generated.sequences[0, inputs["input_ids"].shape[1] :]
    return first_token_answer(vlm, generated.logits[0][0], vlm.tokenizer.decode(new, skip_special_tokens=True).strip())


def first_token_answer(vlm: VLM, logits: torch.Tensor, text: str | None = None) -> Answer:
    """An `Answer` from next-token logits (vocabulary,); `text` defaults to the most probable token's own."""
    probabilities = logits.float().softmax(-1).cpu().numpy()
    best = int(probabilities.argmax())
    token = vlm.tokenizer.decode([best])
    return Answer(
        text=token.strip() if text is None else text,
        token=token,
        token_id=best,
        probability=float(probabilities[best]),
        probabilities=probabilities,
        vocabulary=_vocabulary(vlm.tokenizer, len(probabilities)),
    )


@functools.lru_cache(maxsize=4)
def _vocabulary(tokenizer, size: int) -> tuple[str, ...]:
    return tuple(tokenizer.batch_decode([[i] for i in range(size)]))

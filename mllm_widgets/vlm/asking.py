"""Asking a model a question."""

from __future__ import annotations

import dataclasses
import functools

import torch

from mllm_widgets.errors import ModelError, QuestionError
from mllm_widgets.provenance import made_with
from mllm_widgets.results import Answer

from .model import VLM, Encoding
from .question import Question
from .remote import generated


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
    encoded = vlm.encode(question)
    with vlm.lock:
        _, text, logits = greedy(vlm, encoded, max_new_tokens)
        made = made_with(vlm, question, max_new_tokens=max_new_tokens)
    return dataclasses.replace(first_token_answer(vlm, logits, text), provenance=made)


def greedy(vlm: VLM, encoded: Encoding, max_new_tokens: int) -> tuple[list[int], str, torch.Tensor]:
    """(tokens, with the one that ends the answer if it came; the answer's words; logits (vocabulary,) of the first token)."""
    if vlm.remote is not None:
        new, first = generated(vlm, encoded, max_new_tokens)
        return new.tolist(), vlm.tokenizer.decode(new, skip_special_tokens=True).strip(), first
    with vlm.running():
        made = vlm.model.generate(
            **encoded.inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            pad_token_id=vlm.tokenizer.pad_token_id,
        )
    new = made.sequences[0, encoded.inputs["input_ids"].shape[1] :].tolist()
    return new, vlm.tokenizer.decode(new, skip_special_tokens=True).strip(), made.logits[0][0]


def same_answer(given: str, wanted: str | None) -> bool:
    """Is an answer the true one, capitals, spaces and a last full stop aside?

    Examples
    --------
    >>> same_answer("New  york.", "New York")
    True
    """
    one, other = (" ".join((text or "").split()).rstrip(".").casefold() for text in (given, wanted))
    return one == other


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
        vocabulary=vocabulary(vlm.tokenizer, len(probabilities)),
    )


@functools.lru_cache(maxsize=4)
def vocabulary(tokenizer, size: int) -> tuple[str, ...]:
    """The text of each of the first `size` tokens."""
    return tuple(tokenizer.batch_decode([[i] for i in range(size)]))

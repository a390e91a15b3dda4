"""Constraints by a chat model: what it is asked, and what of its answer stands in the question.

Basu et al. had GPT-4 mark VQA-Constraints with examples in its context, and people check it; their prompt was not published, this one is our own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from mllm_widgets.errors import DatasetError

from .marks import words_like
from .suggestion import Suggestion, suggestion

MOST_NEW = 96  # tokens of an answer, for a pipeline
SAID = 80  # characters of a wrong answer that are quoted
Messages = list[dict[str, str]]

SYSTEM = (
    "You mark words in a question about a picture. The visual constraint is the shortest run of words that points at something in the picture, such as "
    '"this building". Text constraints are words that narrow the answer and can be understood without the picture: a year, a name, a place, a language, a title. '
    "Copy the words exactly as they stand in the question. Answer with one line of JSON, "
    '{"visual": [...], "text": [...]}, with an empty list where there are none, and with nothing else.'
)
EXAMPLES: tuple[tuple[str, dict[str, list[str]]], ...] = (
    ("Which river does this bridge cross?", {"visual": ["this bridge"], "text": []}),
    ("Name a song that this singer recorded in 1987?", {"visual": ["this singer"], "text": ["1987"]}),
    ("What is the best known kind of this bread in Portugal?", {"visual": ["this bread"], "text": ["Portugal"]}),
    ("What is the fruit on the plate called in Italian?", {"visual": ["the fruit on the plate"], "text": ["Italian"]}),
    ("This lighthouse stands in the country of", {"visual": ["This lighthouse"], "text": []}),
    ("Is the weather good for sailing?", {"visual": ["the weather"], "text": []}),
    ('Who played the father of this actor in "Winter Harbour"?', {"visual": ["this actor"], "text": ["Winter Harbour"]}),
)  # fmt: skip


def prompt(text: str) -> Messages:
    """What a chat model is asked about a question: instructions, examples with their answers, and the question.

    Examples
    --------
    >>> messages = prompt("Which city is this?")
    >>> messages[0]["role"], messages[-1]
    ('system', {'role': 'user', 'content': 'Which city is this?'})
    """
    messages = [{"role": "system", "content": SYSTEM}]
    for question, answer in EXAMPLES:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": json.dumps(answer, ensure_ascii=False)})
    return [*messages, {"role": "user", "content": text}]


def suggest_by_chat(model: Callable[..., Any], text: str) -> Suggestion:
    """The constraints of a question as a chat model sees them; what it names that does not stand in the question is left out, and a note says so.

    Parameters
    ----------
    model: a transformers pipeline("text-generation") of a chat model, or any function that takes messages ({"role", "content"}) and returns the answer's text.

    Raises
    ------
    DatasetError: for a model or a question that is none, and an answer that is no text. Whatever the model raises goes on.
    """
    if not callable(model):
        raise DatasetError(
            f"model={model!r} cannot be asked; expected a transformers pipeline('text-generation'), or a function that takes messages and returns the answer's text."
        )
    if not isinstance(text, str):
        raise DatasetError(f"text={text!r} is no question; expected a text such as 'Which city is this?'.")
    asked = prompt(text)
    pipeline = hasattr(model, "tokenizer") and hasattr(model, "task")
    said = model(asked, max_new_tokens=MOST_NEW, do_sample=False, return_full_text=False) if pipeline else model(asked)
    return read_answer(text, answer_text(said))


def answer_text(said: Any) -> str:
    """The text of what a model returned: a text, a message, or what a pipeline gives.

    Raises
    ------
    DatasetError: for what is none of these.
    """
    value = said
    while not isinstance(value, str):
        if isinstance(value, (list, tuple)) and value:
            value = value[-1]  # of several messages the last is the answer
        elif isinstance(value, dict) and ("generated_text" in value or "content" in value):
            value = value["generated_text"] if "generated_text" in value else value["content"]
        else:
            raise DatasetError(
                f"suggest returned a {type(said).__name__}; expected the answer's text, or what a transformers pipeline returns."
            )
    return value


def read_answer(text: str, said: str) -> Suggestion:
    """The suggestion in a model's answer.

    Examples
    --------
    >>> read_answer("Which city is this building in?", 'Sure: {"visual": ["this building"], "text": ["2006"]}')
    Suggestion(marks=Marks(visual=(3, 4), text=(), skipped=''), notes=('“2006” does not stand in the question: left out',))
    """
    said = said.rpartition("</think>")[2]
    answer = next((found for found in _objects(said) if "visual" in found or "text" in found), None)
    if answer is None:
        short = said.strip()
        return suggestion(
            (), (), (f"the model did not answer with JSON: “{_cut(short)}”" if short else "the model answered nothing",)
        )
    marked: dict[str, list[int]] = {"visual": [], "text": []}
    notes = []
    for kind, found in marked.items():
        value = answer.get(kind) or []
        for phrase in [value] if isinstance(value, str) else value if isinstance(value, list) else [value]:
            words = words_like(text, phrase) if isinstance(phrase, str) else ()
            if not words:
                notes.append(f"“{_cut(phrase)}” does not stand in the question: left out")
            found += words
    return suggestion(marked["visual"], marked["text"], notes)


def _objects(said: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, whatever stands around them."""
    decoder, at = json.JSONDecoder(), said.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(said, at)
        except (ValueError, RecursionError):
            value, end = None, at + 1
        if isinstance(value, dict):
            yield value
        at = said.find("{", end)


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SAID else f"{text[:SAID]}…"

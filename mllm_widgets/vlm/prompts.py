"""From a question's words to the text the model reads."""

from __future__ import annotations

import re
from typing import Any

from mllm_widgets.errors import ModelError

# The paper's released code puts the picture first and adds a question mark to every question, even one that has its own.
PAPER = "{image}\nUSER: {question}? Answer in a few words.\nASSISTANT:"
TEMPLATES = {"paper": PAPER}
# A private-use character stands for the question while its place is looked for; no template or question has it.
_PLACE = "\ue0f1"


def render(processor: Any, question: str, template: str | None = None, *, picture: bool = True) -> str:
    r"""The prompt for one question and its picture, before the image token is expanded.

    Parameters
    ----------
    template: None takes the processor's chat template, or the paper's where it has none; "paper" names the paper's; any other string is a
        template of its own with `{question}` and, for a picture, `{image}`.
    picture: is there one?  Without it, `{image}` is left out of the prompt, and its line too where it has one of its own.

    Raises
    ------
    ModelError: for a template that lacks a field, or has one twice.

    Examples
    --------
    >>> render(None, "Where is the Eiffel Tower", "paper", picture=False)
    'USER: Where is the Eiffel Tower? Answer in a few words.\nASSISTANT:'
    """
    if template is None and getattr(processor, "chat_template", None):
        message = {"role": "user", "content": _content(processor, question, picture)}
        return processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    wording = TEMPLATES.get(template or "paper", template or PAPER)
    if wording.count("{question}") != 1 or not picture <= wording.count("{image}") <= 1:
        raise ModelError(
            f"template={template!r} is neither a named template ({', '.join(TEMPLATES)}) nor a text with {{image}} and "
            "{question} in it, each once; only questions without a picture can do without {image}."
        )
    if not picture:
        wording = re.sub(r"^\{image\}\n|\{image\}", "", wording, flags=re.MULTILINE)
    else:
        wording = wording.replace("{image}", processor.image_token)
    return wording.replace("{question}", question)  # not format: a question may contain braces


def _content(processor: Any, question: str, picture: bool) -> Any:
    """What a chat message says: to a tokenizer words alone, to a processor a list of parts."""
    if not hasattr(processor, "tokenizer"):
        return question
    return [{"type": "image"}] * picture + [{"type": "text", "text": question}]


def place(processor: Any, prompt: str, template: str | None = None, *, picture: bool = True) -> tuple[int, int]:
    """The characters (start, end) of `prompt` that a template made from the question.

    Found by rendering the template around a character of its own, because the question's words may stand in the template too ("What
    is this?" in an example), and because a template may strip or change them.

    Raises
    ------
    ModelError: if the template writes the question twice, or not at all.
    """
    around = render(processor, _PLACE, template, picture=picture).split(_PLACE)
    if len(around) != 2 or not (prompt.startswith(around[0]) and prompt.endswith(around[1])):
        raise ModelError(
            "the prompt template does not write the question once and the rest unchanged, so the constraint's tokens cannot be located; "
            "pass template= with {question}, and {image} for a picture, each once."
        )
    return len(around[0]), len(prompt) - len(around[1])

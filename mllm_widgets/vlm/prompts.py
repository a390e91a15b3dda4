"""From a question's words to the text the model reads."""

from __future__ import annotations

from typing import Any

from mllm_widgets.errors import ModelError

# The paper's released code puts the picture first and adds a question mark to every question, even one that has its own.
PAPER = "{image}\nUSER: {question}? Answer in a few words.\nASSISTANT:"
TEMPLATES = {"paper": PAPER}
# A private-use character stands for the question while its place is looked for; no template or question has it.
_PLACE = "\ue0f1"


def render(processor: Any, question: str, template: str | None = None) -> str:
    """The prompt for one picture and one question, before the image token is expanded.

    `template` None takes the processor's chat template, or the paper's where it has none; "paper" names the paper's; any other
    string is a template of its own with `{image}` and `{question}`.

    Raises ModelError for a template that lacks a field, or has one twice.
    """
    if template is None and getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    wording = TEMPLATES.get(template or "paper", template or PAPER)
    if wording.count("{question}") != 1 or wording.count("{image}") != 1:
        raise ModelError(
            f"template={template!r} is neither a named template ({', '.join(TEMPLATES)}) nor a text with {{image}} and "
            "{question} in it, each once."
        )
    # replace, not format: a question may contain braces
    return wording.replace("{image}", processor.image_token).replace("{question}", question)


def place(processor: Any, prompt: str, template: str | None = None) -> tuple[int, int]:
    """The characters (start, end) of `prompt` that a template made from the question.

    Found by rendering the template around a character of its own, because the question's words may stand in the template too ("What
    is this?" in an example), and because a template may strip or change them.

    Raises
    ------
    ModelError: if the template writes the question twice, or not at all.
    """
    around = render(processor, _PLACE, template).split(_PLACE)
    if len(around) != 2 or not (prompt.startswith(around[0]) and prompt.endswith(around[1])):
        raise ModelError(
            "the prompt template does not write the question once and the rest unchanged, so the constraint's tokens cannot be located; "
            "pass template= with {image} and {question}, each once."
        )
    return len(around[0]), len(prompt) - len(around[1])

"""From a question's words to the text the model reads."""

from __future__ import annotations

from typing import Any

from mllm_widgets.errors import ModelError

# The paper's released code puts the picture first and adds a question mark to every question, even one that has its own.
PAPER = "{image}\nUSER: {question}? Answer in a few words.\nASSISTANT:"
TEMPLATES = {"paper": PAPER}


def render(processor: Any, question: str, template: str | None = None) -> str:
    """The prompt for one picture and one question, before the image token is expanded.

    `template` None takes the processor's chat template, or the paper's where it has none; "paper" names the paper's; any other
    string is a template of its own with `{image}` and `{question}`.

    Raises ModelError for a template that lacks a field.
    """
    if template is None and getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    wording = TEMPLATES.get(template or "paper", template or PAPER)
    if "{question}" not in wording or "{image}" not in wording:
        raise ModelError(
            f"template={template!r} is neither a named template ({', '.join(TEMPLATES)}) nor a text with {{image}} and "
            "{question} in it."
        )
    # replace, not format: a question may contain braces
    return wording.replace("{image}", processor.image_token).replace("{question}", question)

"""The calls that make and apply the edits of a panel, as a script."""

from __future__ import annotations

from typing import Any

from .view import View


def edits_code(view: View, edits: dict[int, Any]) -> str:
    """Lines that make the edits in the list and apply those that are, after those that load the model and ask."""
    lines = ["answer = mw.ask(vlm, question)"]
    names = {number: "edit" if len(view.edits) == 1 else f"edit_{place}" for place, number in enumerate(view.edits, 1)}
    for number, name in names.items():
        edit = edits[number]
        lines.append(f"{name} = mw.multedit(vlm, question, {edit.target!r}, layer={edit.layer}, lam={edit.lam!r})")
    applied = [names[number] for number in view.edits if number in view.applied]
    if applied:
        lines.append(f"with {' + '.join(applied)}:")
        lines.append("    edited = mw.ask(vlm, question)")
        lines.append('print(answer.text, "->", edited.text)')
    return "\n".join(lines) + "\n"

"""What the front end of an edit panel asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import EditError, MllmWidgetsError

if TYPE_CHECKING:
    from .panel import EditPanel


def hear(panel: EditPanel, content: dict[str, Any]) -> None:
    """Do what a message asks for; what cannot be done is said in the panel.

    Messages have an `id`, which comes back in `received`, and a `kind`: "try" and "sweep" with `target` (and `layer`), "cancel", "toggle" with `edited`,
    "check" with `edit` and `on`, "remove" with `edit`, "undo", "redo", "bake" and "unbake" with `edit`, "save" and "peft" with `edit` and `name`.
    """
    panel.publish(error="", saved="", received=int(content.get("id", 0)))
    try:
        _do(panel, content)
    except MllmWidgetsError as error:
        panel.publish(error=str(error))


def _do(panel: EditPanel, content: dict[str, Any]) -> None:
    kind, edit = content.get("kind"), content.get("edit")
    if kind == "try":
        panel.make(content["target"], content.get("layer"))
    elif kind == "sweep":
        panel.sweep_layers(content["target"])
    elif kind == "cancel":
        panel.cancel()
    elif kind == "toggle":
        (panel.apply if content["edited"] else panel.revert)()
    elif kind == "check":
        panel.check(int(edit or 0), bool(content["on"]))
    elif kind == "remove":
        panel.remove(int(edit or 0))
    elif kind in ("undo", "redo"):
        (panel.undo if kind == "undo" else panel.redo)()
    elif kind in ("bake", "unbake", "save", "peft"):
        _take_along(panel, kind, int(edit or 0), str(content.get("name", "")))


def _take_along(panel: EditPanel, kind: str, number: int, name: str) -> None:
    """An edit into a file, a folder or the weights."""
    if kind == "bake":
        told = panel.bake(number)
        panel.publish(saved=" ".join(["It is in the weights of this model now.", *told]))
        return
    if kind == "unbake":
        panel.unbake(number)
        return
    if not name.strip():
        raise EditError("the name is empty; expected a file's or a folder's, such as 'seattle-layer2'.")
    path = Path(name.strip()).expanduser()
    if kind == "save" and path.suffix != ".safetensors":
        path = path.with_name(f"{path.name}.safetensors")
    edit = next((edit for edit, row in zip(panel.edits, panel.rows, strict=True) if row["id"] == number), None)
    if edit is None:
        raise EditError("there is no edit to save; look at one first.")
    if kind == "save":
        edit.save(path)
    else:
        edit.to_peft(path)
    panel.publish(saved=f"Saved: {path.resolve()}")

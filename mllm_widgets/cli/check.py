"""`mllm-widgets check`: what a reader of a notebook will see of its widgets, host by host."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mllm_widgets.render.pieces import LARGE_STATE, links_of, needed

from .hosts import HOSTS, LIVE, NOTHING, ORDER, PICTURE, seen
from .notebook import Display, displays, models, picture_of, read, text_of

LARGE_NOTEBOOK = 10_000_000  # bytes; GitHub names no limit, and readers report that larger ones often do not show
WIDTH = 34  # characters for the name of a host
PLURALS = {LIVE: "live", PICTURE: "pictures", "line of text": "lines of text", NOTHING: "blank"}


def check(path: Path) -> tuple[str, bool]:
    """A report on a notebook, and whether every widget in it is seen everywhere.

    Raises
    ------
    NotebookError: for a file that is missing or no notebook.
    """
    notebook = read(path)
    saved, shown = models(notebook), list(displays(notebook))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    size = path.stat().st_size
    lines = [f"{path}: {_size(size)}, {_count(len(shown), 'widget')} on show, {_state(notebook, saved)}", ""]
    notes = []
    if not any(cell.get("outputs") for cell in code):
        notes.append("no cell has an output: run the notebook, or export it with --execute.")
    if size > LARGE_NOTEBOOK:
        notes.append(f"the file is over {_size(LARGE_NOTEBOOK)}: GitHub often shows nothing of such a notebook.")
    if "widgets" in notebook["metadata"] and not saved:
        notes.append(
            "metadata.widgets holds no state: GitHub may refuse the whole notebook. `export --strip-state` removes it."
        )
    facts = [_facts(notebook, saved, display) for display in shown]
    for display, (name, picture, state) in zip(shown, facts, strict=True):
        size_of = [
            f"picture {_size(picture)}" if picture else "no picture",
            f"state {_size(state)}" if state else "no state",
        ]
        lines.append(f"  cell {display.cell}: {name}")
        lines.append(f"      {', '.join(size_of)}")
        if not picture:
            notes.append(
                f"cell {display.cell}: {name} has no picture. Widgets of mllm_widgets are displayed with one; others, and those in "
                "boxes, are not: display ours by itself, or an image beside it."
            )
        if state > LARGE_STATE:
            notes.append(
                f"cell {display.cell}: the state of {name} is over {_size(LARGE_STATE)}; freeze less, or strip it with `export --strip-state`."
            )
    if shown:
        lines += ["", "  what a reader sees"]
        lines += [f"  {host.name:<{WIDTH}}{_summary(host, shown, facts)}" for host in HOSTS]
    if notes:
        lines += ["", *(f"  ! {note}" for note in notes)]
    return "\n".join(lines), all(picture for _, picture, _ in facts) and any(cell.get("outputs") for cell in code)


def _facts(notebook: dict[str, Any], saved: dict[str, Any], display: Display) -> tuple[str, int, int]:
    """Of one display: what it is, and how large its picture and its state are, in bytes; 0 for none."""
    outputs = notebook["cells"][display.cell - 1]["outputs"]
    picture = 0 if display.picture is None else len(picture_of(outputs[display.picture]))
    name = text_of(outputs[display.output if display.picture is None else display.picture]).strip()
    state = needed(saved.get, links_of(saved), [display.model])
    if not name:
        name = saved.get(display.model, {}).get("model_name", "a widget").removesuffix("Model")
    return name, picture, len(json.dumps(state)) if display.model in state else 0


def _summary(host: Any, shown: list[Display], facts: list[tuple[str, int, int]]) -> str:
    """What is seen on one host, in words: one of them where all are alike, else how many of each and where."""
    where: dict[str, list[int]] = {}
    for display, (_, picture, state) in zip(shown, facts, strict=True):
        where.setdefault(seen(host, state=bool(state), picture=bool(picture)), []).append(display.cell)
    if len(where) == 1:
        (only,) = where
        return f"{only}" if len(shown) == 1 else f"all {PLURALS[only]}"
    parts = []
    for kind in (kind for kind in ORDER if kind in where):
        cells = "" if kind in (LIVE, PICTURE) else f" (cell {', '.join(str(cell) for cell in Counter(where[kind]))})"
        parts.append(f"{len(where[kind])} {PLURALS[kind] if len(where[kind]) > 1 else kind}{cells}")
    return ", ".join(parts)


def _state(notebook: dict[str, Any], saved: dict[str, Any]) -> str:
    return f"{_size(len(json.dumps(notebook['metadata']['widgets'])))} of saved state" if saved else "no saved state"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB" if count >= 1000 else f"{count} bytes"

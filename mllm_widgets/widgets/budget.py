"""How large a widget is in a saved notebook, and what to leave out of one that is too large."""

from __future__ import annotations

import json
import warnings
from typing import Any

import ipywidgets

from mllm_widgets.errors import LargeStateWarning
from mllm_widgets.render.pieces import LARGE_STATE

# traits -> what makes them smaller
LEAVE_OUT = {
    "maps": "freeze fewer windows, as freeze(windows=[1, 3, 5]), or precision='uint8'",
    "stacked": "contributions to fewer tokens",
    "results": "remove edits, or freeze fewer lambdas, as freeze(lams=9)",
    "probes": "watch fewer questions, with probes=",
    "words": "the logit lens of fewer tokens",
    "image": "a smaller picture",
    "values": "fewer layers or tokens",
}
LARGEST = 3  # parts that are named
PLACE = 70  # characters that say where binary data belongs


def state_size(widget: ipywidgets.Widget) -> dict[str, int]:
    """Characters that each trait of a widget takes in a saved notebook: JSON, with binary data in base64."""
    return {name: _characters(value) for name, value in widget.get_state().items()}


def _characters(value: Any) -> int:
    count = 0

    def plain(item: Any) -> Any:
        nonlocal count
        if isinstance(item, (bytes, bytearray, memoryview)):
            count += -(-memoryview(item).nbytes // 3) * 4 + PLACE
            return None
        if isinstance(item, dict):
            return {str(key): plain(inner) for key, inner in item.items()}
        if isinstance(item, (list, tuple)):
            return [plain(inner) for inner in item]
        return item

    # ensure_ascii off: a notebook is stored in UTF-8
    return len(json.dumps(plain(value), ensure_ascii=False, default=str).encode()) + count


def warn_if_large(*widgets: ipywidgets.Widget, name: str = "") -> None:
    """Warns (`LargeStateWarning`) where widgets, which are one to the user, are too large to be saved with a notebook."""
    parts: dict[str, int] = {}
    for widget in widgets:
        for trait, size in state_size(widget).items():
            parts[trait] = parts.get(trait, 0) + size
    total = sum(parts.values())
    if total <= LARGE_STATE:
        return
    largest = sorted(parts, key=lambda trait: -parts[trait])[:LARGEST]
    told = ", ".join(f"{trait} {parts[trait] / 1e6:.2g} MB" for trait in largest)
    advice = next((LEAVE_OUT[trait] for trait in largest if trait in LEAVE_OUT), "show less of it")
    warnings.warn(
        f"this {name or type(widgets[0]).__name__} takes {total / 1e6:.1f} MB of a saved notebook, more than the {LARGE_STATE / 1e6:.0f} MB that open quickly everywhere "
        f"(largest: {told}); to make it smaller: {advice}.",
        LargeStateWarning,
        stacklevel=3,
    )

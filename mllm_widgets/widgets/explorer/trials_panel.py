"""What causes say about patches: one row for each trace or knockout the user asked for, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from mllm_widgets import colormaps, labels
from mllm_widgets.errors import WidgetError
from mllm_widgets.widgets import wire
from mllm_widgets.widgets.base import WholeNumber, Widget, bundle

from .view import Trial

if TYPE_CHECKING:
    from mllm_widgets.render import Drawing

WAITS = {"waiting": "waiting", "running": "computing"}
MODULES = ("residual", "mlp", "self_attn")  # restored by a trace


class TrialsPanel(Widget):
    """Rows of effects over the layers; the Explorer fills them in.

    Messages of the front end are those of `QuestionPanel`.

    Notes
    -----
    `rows`: {id, kind, label, state ("waiting", "running", "done", "error"), note, effects: module -> a number for each layer, all: the effect of blocking in
    all layers at once, or of these patches being clean from the start, or None}.  `patches`, `layer`: the shared selection.  `limit`: the end of the colours' scale.
    """

    _esm = bundle("trials_panel.js")
    _css = bundle("trials_panel.css")

    version = traitlets.Int(wire.VERSION).tag(sync=True)
    layers = traitlets.Int(0).tag(sync=True)
    modules = traitlets.List([]).tag(sync=True)
    module = traitlets.Unicode(MODULES[0]).tag(sync=True)
    rows = traitlets.List([]).tag(sync=True)
    limit = traitlets.Float(1.0).tag(sync=True)
    colors = traitlets.Dict({}).tag(sync=True)
    into = traitlets.Unicode("").tag(sync=True)
    received = traitlets.Int(0).tag(sync=True)
    patches = traitlets.List([]).tag(sync=True)
    layer = WholeNumber(0).tag(sync=True)

    def __init__(self, heard: Callable[[dict[str, Any], list[Any]], None], *, lock: Any, **traits: Any) -> None:
        super().__init__(
            lock=lock,
            modules=[{"key": module, "name": labels.MODULE_NAMES[module]} for module in MODULES],
            colors={theme: colormaps.effect_colors("mlp", theme).tobytes() for theme in colormaps.THEMES},
            **traits,
        )
        self.on_msg(lambda _widget, content, buffers: heard(content, buffers))

    def drawing(self) -> Drawing:
        """The rows that are there, as a drawing."""
        from mllm_widgets.render import draw_trials
        from mllm_widgets.render.trials import Trial as Row

        if not self.rows:
            raise WidgetError("nothing was traced or blocked yet, so there is nothing to draw.")
        rows = [
            Row(
                row["label"],
                row["note"] or WAITS.get(row["state"], ""),
                row["effects"].get(self.module if row["kind"] == "trace" else "change", ()),
                row["all"],
                row["state"] == "error",
            )
            for row in self.rows
        ]
        traced = any(row["kind"] == "trace" for row in self.rows)
        restored = f"{labels.MODULE_NAMES[self.module]} restored" if traced else ""
        return draw_trials(rows, self.layers, layer=self.layer, limit=max(self.limit, 1e-6), restored=restored)


def row_of(number: int, trial: Trial, name: str, result: Any, state: str, note: str = "") -> dict[str, Any]:
    """One row; `result` is a dict of effects (layers,) by module, or None, and perhaps "all"."""
    count = "1 patch" if len(trial.patches) == 1 else f"{len(trial.patches)} patches"
    window = f"window {trial.window}"
    label = f"Restored {count}, {window}" if trial.kind == "trace" else f"Blocked {count} from {name}, {window}"
    effects = {} if result is None else {key: value.tolist() for key, value in result.items() if key != "all"}
    return {
        "id": number,
        "kind": trial.kind,
        "label": label,
        "patches": list(trial.patches),
        "state": state,
        "note": note,
        "effects": effects,
        "all": None if result is None or "all" not in result else float(result["all"]),
    }


def limit_of(rows: list[dict[str, Any]]) -> float:
    """The largest effect of all rows: one scale, so that rows can be compared."""
    values = [v for row in rows for effects in row["effects"].values() for v in effects]
    values += [row["all"] for row in rows if row["all"] is not None]
    return colormaps.effect_limit(np.array(values, dtype=float), 0.0)

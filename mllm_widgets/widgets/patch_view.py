"""How contributions read on the picture: as a `PatchMap`, and as plain values the front end takes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mllm_widgets import colormaps, labels
from mllm_widgets.errors import WidgetError
from mllm_widgets.patch_map import KINDS, PatchMap
from mllm_widgets.provenance import public_name

from . import wire

if TYPE_CHECKING:
    from mllm_widgets.contributions import Contributions

MOST_PIXELS = 1024  # of the longer side of the picture sent: it is saved with the notebook
SINK_REASONS = {
    "attention": "takes attention from most words",
    "activation": "has an activation far beyond its others",
}


def patch_map(flow: Contributions | PatchMap | Any) -> PatchMap:
    """What a patch grid shows of attention contributions; a `PatchMap` as it is.

    Raises
    ------
    WidgetError: for what is neither, a model without visual tokens in its sequence, or one of which nobody knows where they lie.
    """
    if isinstance(flow, PatchMap):
        return flow
    if not all(hasattr(flow, name) for name in ("norms", "geometry", "visual", "image")):
        raise WidgetError(
            f"flow is a {type(flow).__name__}; expected what mw.attention_contributions(vlm, question) returned, or a PatchMap."
        )
    if flow.image is None or not len(flow.visual):
        raise WidgetError(
            f"there are no patches to show: {flow.model!r} has no visual tokens in its sequence"
            + (
                ", its picture is seen by cross-attention (flow.cross)."
                if flow.cross is not None
                else ". Ask about a picture."
            )
        )
    if flow.geometry is None:
        reason = f": {flow.no_geometry}" if flow.no_geometry else "."
        raise WidgetError(
            f"where the visual tokens of {flow.model!r} lie on the picture is not known{reason} The numbers are in flow.norms."
        )
    places = {int(position): index for index, position in enumerate(flow.visual)}
    return PatchMap(
        flow.image,
        flow.geometry,
        flow.norms.sel(token=flow.visual).values,
        flow.layers,
        quantity="contribution",
        target=_target(flow),
        question=flow.question,
        model=flow.model,
        sinks={
            places[sink.position]: SINK_REASONS.get(sink.reason, sink.reason)
            for sink in flow.sinks
            if sink.position in places
        },
        warnings=tuple(flow.warnings),
    )


def describe(shown: PatchMap, colormap: str) -> dict[str, Any]:
    """Everything that no control changes, as traits."""
    places = np.full((shown.geometry.count, 3), np.nan)
    for index, grid in enumerate(shown.geometry.grids):
        rows, columns = np.indices(grid.tokens.shape)
        places[grid.tokens] = np.stack([np.full_like(rows, index), rows, columns], axis=-1)
    return {
        "image": picture_bytes(shown.image),
        "picture_size": list(shown.image.size),
        "question": shown.question,
        "target": shown.target,
        "quantity": shown.quantity,
        "model_name": public_name(shown.model),
        "warnings": list(shown.warnings),
        "layers": list(shown.layers),
        "values": wire.tensor(shown.values),
        "boxes": wire.tensor(shown.geometry.boxes),
        "places": wire.tensor(places),
        "grids": [{"kind": grid.kind, "box": [float(v) for v in grid.box]} for grid in shown.geometry.grids],
        "kinds": [{"key": kind, "name": KINDS[kind]} for kind in shown.kinds],
        "sinks": [{"token": int(token), "reason": reason} for token, reason in sorted(shown.sinks.items())],
        "colors": {theme: colormaps.strength_colors(theme, colormap).tobytes() for theme in colormaps.THEMES},
    }


def picture_bytes(image: Image.Image) -> bytes:
    """The picture in a form every browser shows: PNG while that is small, JPEG otherwise."""
    image = image.convert("RGB")
    image.thumbnail((MOST_PIXELS, MOST_PIXELS))
    buffer = io.BytesIO()
    small = image.width * image.height <= 256 * 256
    image.save(buffer, **({"format": "PNG", "optimize": True} if small else {"format": "JPEG", "quality": 88}))
    return buffer.getvalue()


def _target(flow: Contributions) -> str:
    """What receives, in words: its tokens where they are a run, as a reader sees them."""
    texts = [flow.rows[position].text for position in flow.targets]
    together = "".join(texts).strip() if np.all(np.diff(flow.targets) == 1) else ""
    if flow.target == "last":  # often a colon, which says little by itself
        return f"the last token, “{labels.visible(texts[-1])}”"
    return f"“{together}”" if together else ", ".join(f"“{labels.visible(text)}”" for text in texts)

"""Patch maps of the demo model and of a tiny tiled one, with values a test can foretell, for tests of what draws them."""

from __future__ import annotations

import numpy as np

import mllm_widgets as mw
from mllm_widgets.vlm.geometry import VisualGeometry


def values_over(geometry: VisualGeometry, layers: int, seed: int = 0) -> np.ndarray:
    """(layers, visual tokens): a bump over the middle of the picture that grows and goes with the layers, and a little noise."""
    boxes, rng = geometry.boxes, np.random.default_rng(seed)
    x = (boxes[:, 0] + boxes[:, 2]) / 2 / geometry.size[0]
    y = (boxes[:, 1] + boxes[:, 3]) / 2 / geometry.size[1]
    bump = np.nan_to_num(np.exp(-(((x - 0.5) / 0.2) ** 2) - ((y - 0.55) / 0.28) ** 2))
    over_layers = np.sin(np.linspace(0.3, 2.6, layers))[:, None]
    shape = (layers, geometry.count)
    return bump * over_layers * rng.uniform(0.5, 1, shape) + 0.04 * rng.random(shape)


def patch_map(vlm: mw.VLM, question: mw.Question, layers: int, sinks: tuple[int, ...] = (), **more) -> mw.PatchMap:
    """A map with a bump in the middle, and sinks that outdo it in the last layers."""
    geometry = vlm.geometry(question)
    values = values_over(geometry, layers)
    for sink in sinks:
        values[:, sink] = np.linspace(0.2, 1.2, layers)
    reasons = dict.fromkeys(sinks, "takes attention from most words")
    words = {"quantity": "contribution", "target": "“this building”", "question": question.text, **more}
    return mw.PatchMap(question.image, geometry, values, tuple(range(layers)), sinks=reasons, **words)

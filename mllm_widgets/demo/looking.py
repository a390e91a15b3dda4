"""Where a demo model takes its answer from in the picture: whether what its constraint looks at is the landmark, and whether the answer needs it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import mllm_widgets as mw
from mllm_widgets.datasets.landmarks import draw_and_locate
from mllm_widgets.datasets.questions import demo_question

FIRST = 5  # patches
ON = 0.25  # of a patch's pixels on the landmark make the patch lie on it
SHIFT = 0.12  # of the picture's side, to the left and to the right


def drawn(spec: dict[str, Any], shift: float = 0.0) -> tuple[Any, np.ndarray]:
    """The picture of `demo_question(**spec)` with the landmark alone moved, and the mask of the landmark."""
    return draw_and_locate(spec["landmark"], np.random.default_rng([77, spec["seed"]]), shift=shift)


def covered(flow: mw.Contributions, mask: np.ndarray) -> np.ndarray:
    """(rows, columns), the part of each patch that a mask (height, width) covers."""
    assert flow.geometry is not None  # the demo models have one
    across, down = (itertools.pairwise(edges.round().astype(int)) for edges in flow.geometry.grids[0].edges)
    columns = list(across)
    return np.array([[mask[top:bottom, left:right].mean() for left, right in columns] for top, bottom in down])


def strongest(patches: np.ndarray) -> np.ndarray:
    """Indices of the `FIRST` largest of (rows, columns) values, in reading order of the patches, largest first."""
    return np.argsort(-patches.ravel(), kind="stable")[:FIRST]


def by_layer(vlm: mw.VLM, specs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What patches write into the last constraint token, layer by layer.

    Returns
    -------
    on_landmark: (questions, layers), the part of the five patches that write most that lies on the landmark. covered: (questions,), the part of all
    patches that does. moved: (layers,), by how many columns the five move in the mean when the landmark alone is moved by `moved_by` patches.  peak: (layers,),
    in how many questions patches write most there. blank: (layers,), the correlation with a blank picture's map.
    """
    on, part, moved, room, peaks, blank = [], [], [], [], [], []
    for spec in specs:
        question = demo_question(**spec)
        flow = mw.attention_contributions(vlm, question, control="blank")
        lies = covered(flow, drawn(spec)[1]).ravel() >= ON
        on.append([lies[strongest(flow.patches(layer))].mean() for layer in flow.layers])
        part.append(lies.mean())
        blank.append(flow.control_correlation)
        peaks.append(flow.peak_layer)
        centres, places = [], []
        for shift in (-SHIFT, SHIFT):
            picture, mask = drawn(spec, shift)
            other = mw.attention_contributions(vlm, replace(question, image=picture))
            part_of = covered(other, mask)
            columns = np.arange(part_of.shape[1])
            centres.append([(strongest(other.patches(layer)) % len(columns)).mean() for layer in other.layers])
            places.append((part_of.sum(0) * columns).sum() / part_of.sum())
        moved.append(np.subtract(centres[1], centres[0]))
        room.append(places[1] - places[0])
    return {
        "on_landmark": np.array(on),
        "covered": np.array(part),
        "moved": np.mean(moved, axis=0),
        "moved_by": float(np.mean(room)),
        "peak": np.bincount(peaks, minlength=len(vlm.layers)),
        "blank": np.mean(blank, axis=0),
    }


def blocked(vlm: mw.VLM, specs: Sequence[dict[str, Any]], seed: int) -> dict[str, list[float]]:
    """P(answer) when the constraint may not look, at any layer, at some patches: what -> one number for each question."""
    random = np.random.default_rng(seed)
    kept: dict[str, list[float]] = {}
    for spec in specs:
        question = demo_question(**spec)
        flow = mw.attention_contributions(vlm, question)
        lies = covered(flow, drawn(spec)[1]).ravel() >= ON
        inside, outside = flow.visual[lies], flow.visual[~lies]
        count = min(len(inside), len(outside))
        ways: dict[str, Any] = {
            "the five that write most": flow.top(flow.peak_layer, FIRST, kind="visual")["token"].tolist(),
            "five at random": random.choice(flow.visual, FIRST, replace=False).tolist(),
            "patches on the landmark": random.choice(inside, count, replace=False).tolist(),
            "as many off it": random.choice(outside, count, replace=False).tolist(),
            "the whole picture": "visual",
        }
        for way, source in ways.items():
            cut = mw.attention_knockout(vlm, question, source, "constraint", window=None)
            if way == "five at random":
                kept.setdefault("nothing", []).append(cut.before)
            kept.setdefault(way, []).append(float(cut.probability[0]))
    return kept


def looking(vlm: mw.VLM, specs: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """`by_layer` and `blocked` in a few numbers, for the card."""
    where, cut = by_layer(vlm, specs), blocked(vlm, specs, seed)
    best = int(where["on_landmark"].mean(0).argmax())
    return {
        "pictures": len(specs),
        "layer": best,
        "touches": (where["on_landmark"][:, best] > 0).mean(),
        "on_landmark": where["on_landmark"][:, best].mean(),
        "chance": where["covered"].mean(),
        "moved": where["moved"][best],
        "moved_by": where["moved_by"],
        "blocked": {way: np.mean(values) for way, values in cut.items()},
    }

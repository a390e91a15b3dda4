"""Drawings with fixed contents and no model, for golden pictures and for tests of how drawings are kept; and what to ask of a drawing."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from mllm_widgets.patch_map import PatchMap
from mllm_widgets.render import Drawing, draw_edit, draw_explorer, draw_heatmap, draw_lens, draw_patches, draw_trials
from mllm_widgets.render.annotation import AnnotationFigure, draw_annotation
from mllm_widgets.render.edit import EditFigure, Effect
from mllm_widgets.render.pen import Placed, Text
from mllm_widgets.render.trials import Trial
from mllm_widgets.vlm.geometry import Grid, VisualGeometry
from mllm_widgets.vlm.spans import words_of

LABELS = ["What", "·is", "·the", "·city", "·of", "·this", "·building", "?", "\\n", "·λ-é", "<b>&amp;", ":"]
QUESTION = "What is the city of this building?"


def texts(drawing: Drawing) -> list[str]:
    """All lines of text, in the order in which they are drawn."""
    found = []
    for mark in drawing.marks:
        if isinstance(mark, Placed):
            found += texts(mark.drawing)
        elif isinstance(mark, Text):
            found.append(mark.text)
    return found


def steps(*shape: int) -> np.ndarray:
    """Numbers from 0 to 1 that look random and are the same everywhere."""
    return (np.arange(1, np.prod(shape) + 1) * 0.6180339887498949 % 1).reshape(shape)


def heatmap(titled: bool = True) -> Drawing:
    """A map with every mark in it."""
    effect = 1.6 * steps(len(LABELS), 8) - 0.6
    effect[:5] = np.nan
    effect[7, 3], effect[8, 2], effect[9, 6] = np.nan, 4.0, -4.0
    return draw_heatmap(
        effect,
        LABELS,
        module="mlp",
        limit=1.0,
        title=QUESTION if titled else "",
        subtitle="MLP, 3 layers: l−1 … l+1.  P(Paris): clean 0.999, with “Taj Mahal” 1.44e−7",
        marked=(5, 6),
        note="before the constraint: no effect is possible",
        selected=(6, 2),
    )


def photo(width: int, height: int) -> Image.Image:
    """A picture of soft colours."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    return Image.fromarray(np.round(255 * np.stack([x, y, 1 - (x + y) / 2], axis=-1)).astype(np.uint8))


def patch_map() -> PatchMap:
    """A wide picture in 3 x 6 patches of which the outer ones reach over padding; one sink, one that nobody knows, some very small."""
    grid = Grid(np.arange(18).reshape(3, 6), (0, -10, 120, 50))
    values = steps(5, 18) ** 2
    values[2, 4], values[2, 9], values[2, 11] = np.nan, 0.0005, 0.0
    words: dict[str, Any] = {"quantity": "contribution", "target": "“this building”", "question": QUESTION}
    return PatchMap(
        photo(120, 40), VisualGeometry((grid,), 18, (120, 40)), values, tuple(range(5)), sinks={0: "takes all"}, **words
    )


def patches(titled: bool = True) -> Drawing:
    """Patches on a logarithmic scale, some selected."""
    options = {"selected": [7, 8], "scale": "log", "top_k": 3, "mask_sinks": True, "titled": titled}
    return draw_patches(patch_map(), 2, **options)


def edit() -> Drawing:
    """An edit with all there is to say about it."""
    unrelated = [f"Which country is picture {place} in?" for place in range(3)]
    return draw_edit(
        EditFigure(
            QUESTION,
            (20, 33),
            "2 edits applied together: “Rome”, layer 2, λ 0.01; “Delhi”, layer 1, λ 1.",
            True,
            8,
            effects=[0.01, 0.95, 0.99, 0.2, 0.0, -0.1, 0.0, 0.0],
            causal=2,
            layer=2,
            target="Rome",
            swept={layer: (0.99 - 0.1 * layer, 0.98 - 0.12 * layer) for layer in range(8)},
            losses=[9.5, 6.1, 3.0, 0.9, 0.2, 0.04, 0.01],
            chances=[0.0, 0.01, 0.1, 0.5, 0.8, 0.96, 0.99],
            before=[("·Paris", 0.999), ("·Berlin", 1.9e-4), ("·New", 1.2e-4)],
            after=[("·Rome", 0.987), ("·Paris", 0.00912), ("·Milan", 1.1e-5)],
            lams=[0.01, 0.1, 1.0, 10.0, 100.0],
            at=1,
            lines={
                "efficacy": [0.99, 0.987, 0.8, 0.2, 0.0],
                "generalization": [0.97, 0.9, 0.6, 0.1, 0.0],
                "specificity": [0.67, 1.0, 1.0, 1.0, 1.0],
                "leakage": [0.4, 0.2, 0.1, 0.0, 0.0],
            },
            table=[
                Effect("the edited question", QUESTION, True, ("Paris", 0.999), ("Rome", 0.987), 0.987, "changed"),
                *(
                    Effect("unrelated", text, False, ("India", 0.9), ("India", 0.91), 2.5e-5, "kept")
                    for text in unrelated[:2]
                ),
                Effect("unrelated", unrelated[2], False, ("Egypt", 0.8), ("Rome", 0.5), 0.5, "leaks", good=False),
            ],
            together=[("Delhi", 0.88), ("India", 0.9), ("India", 0.89), ("Egypt", 0.7)],
            all_applied=[("·Delhi", 0.88), ("·Rome", 0.1), ("·Paris", 0.004)],
            warnings=["the value reaches P(Rome) 0.99 only after 6 steps"],
        ),
        photo(60, 60),
    )


def lens() -> Drawing:
    """Three words of each of eight layers."""
    words = [[(word, float(p)) for word, p in zip(("·Paris", "·Lyon", "\\n"), row, strict=True)] for row in steps(8, 3)]
    return draw_lens(words, range(8), name="·building", token=75, layer=2, answer="·Paris")


def trials() -> Drawing:
    """One trace and one knockout."""
    rows = [
        Trial("Restored 4 patches, window 1", "P 0.999, with noise 0.399", [0.59, 0.2, 0.01, 0, 0, 0, 0, -0.02], 0.6),
        Trial("Blocked 4 patches from “this building”, window 3", "computing"),
    ]
    return draw_trials(rows, 8, layer=2, limit=0.6, restored="Residual stream restored")


class Said:
    """An answer, as far as a picture asks."""

    text = "Paris"

    def top(self, k: int) -> list[tuple[str, float]]:
        """The likeliest first tokens."""
        return [(" Paris", 0.999), (" Berlin", 1.9e-4), ("\n", 1.2e-4), ("", 1e-5), (" Rome", 9e-6)][:k]


class Asked:
    """A question, as far as a picture asks."""

    text = QUESTION


def explorer() -> Drawing:
    """All views."""
    columns = [[heatmap(titled=False), lens()], [patches(titled=False), trials()]]
    edited = "This is the edited model: 1 edit applied."
    return draw_explorer(Asked(), Said(), (20, 33), columns, None, ["A view is missing."], edited)  # pyright: ignore


def annotation() -> Drawing:
    """A question of which some words are marked, and others suggested."""
    text = "Which writer called this tower “a skeleton” in Paris in 1887?"
    marks = ["", "", "", "visual", "visual", "", "", "", "", "", "text"]
    suggested = ["", "", "", "visual", "visual", "text", "text", "", "text", "", "text"]
    words = words_of(text)
    shown = AnnotationFigure(text, words, marks, suggested, 1, 12, 40, "Saved in constraints.csv", ["A note."])
    return draw_annotation(shown, photo(300, 200))


PICTURES = {
    "annotation": annotation,
    "trace_heatmap": heatmap,
    "patch_grid": patches,
    "edit_panel": edit,
    "logit_lens": lens,
    "trials": trials,
    "explorer": explorer,
}

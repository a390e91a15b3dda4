"""Values of visual tokens on their picture: what a patch grid shows, and by which rules its live view and its PNG draw it.

js/src/patches/scale.ts has the same rules; tests/data/patches.json is what both must compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .errors import WidgetError

if TYPE_CHECKING:
    from PIL import Image

    from .vlm.geometry import VisualGeometry

DECADES = 2  # a logarithmic scale ends at a hundredth of its largest value
SCALES = ("linear", "log")
# The finest view of a picture first: it is shown unless another is asked for.
KINDS = {"picture": "Picture", "tile": "Tiles", "thumbnail": "Thumbnail"}


@dataclass(frozen=True)
class PatchMap:
    """One number for each layer and visual token, and where the tokens lie on the picture.

    image: the picture as the user gave it.
    geometry: where its visual tokens lie, `vlm.geometry(question)`.
    values: (layers, visual tokens), 0 or more; NaN where there is none.
    layers: (layers,) their numbers in the model, 0-based, ascending.
    quantity: what a value is, in a word or two; target: what receives it.
    sinks: visual tokens that take attention whatever they hold, and why each is thought to.
    warnings: why the values may mean nothing, in sentences.

    Raises
    ------
    WidgetError: for arrays that do not fit each other, negative values, or a geometry without patches.

    Examples
    --------
    >>> import numpy as np
    >>> import mllm_widgets as mw
    >>> vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
    >>> random = PatchMap(question.image, vlm.geometry(question), np.random.rand(8, 64), tuple(range(8)))
    >>> random.kinds, random.tokens("picture").shape
    (('picture',), (64,))
    """

    image: Image.Image = field(repr=False)
    geometry: VisualGeometry = field(repr=False)
    values: np.ndarray = field(repr=False)
    layers: tuple[int, ...]
    quantity: str = "value"
    target: str = ""
    question: str = ""
    model: str = ""
    sinks: Mapping[int, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # in float32, as they travel to the front end, so that both see the same numbers
        object.__setattr__(self, "values", np.asarray(self.values, dtype=np.float32))
        expected = (len(self.layers), self.geometry.count)
        if self.values.shape != expected or not self.layers:
            raise WidgetError(
                f"values has shape {self.values.shape}; expected {expected}: a row for each of {len(self.layers)} layers, at least one, and a column for "
                "each visual token. Values of all tokens, text included, must be cut to the visual ones first."
            )
        if (self.values < 0).any() or np.isinf(self.values).any():
            raise WidgetError(
                f"values runs from {np.nanmin(self.values):.3g} to {np.nanmax(self.values):.3g}; expected finite numbers, 0 or more, for "
                "a patch is drawn the stronger the larger its value is."
            )
        if not self.kinds:
            raise WidgetError("geometry has no grid of patches, so there is nothing to draw on the picture.")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The ways in which the model sees the picture, finest first: of "picture", "tile" and "thumbnail"."""
        return tuple(kind for kind in KINDS if any(g.kind == kind and g.tokens.size for g in self.geometry.grids))

    @property
    def peak_layer(self) -> int:
        """The layer with the largest sum over all patches."""
        return self.layers[int(np.nansum(self.values, axis=1).argmax())]

    def tokens(self, kind: str) -> np.ndarray:
        """(patches,) visual tokens of a kind of grid, ascending."""
        return np.sort(np.concatenate([g.tokens.ravel() for g in self.geometry.grids if g.kind == kind]))

    def highlights(
        self,
        layer: int,
        kind: str,
        *,
        scale: str = "linear",
        threshold: float = 0.0,
        top_k: int = 0,
        mask_sinks: bool = False,
        compare: bool = False,
    ) -> Highlights:
        """How the patches of a kind of grid stand out at a layer.

        Parameters
        ----------
        scale: "linear" from 0, or "log" from a hundredth of the largest value.
        threshold: share of the scale, 0..1, below which a patch is not drawn.
        top_k: how many of the largest are outlined.
        mask_sinks: leave sinks out; the scale then ends at the largest of the others.
        compare: end the scale at the largest value of all layers instead of this one's.
        """
        tokens = self.tokens(kind)
        left_out = np.isin(tokens, list(self.sinks)) if mask_sinks else np.zeros(len(tokens), dtype=bool)
        all_values = np.where(left_out, np.nan, self.values[:, tokens].astype(np.float64))
        values = all_values[self.layers.index(layer)]
        known = np.flatnonzero(np.isfinite(values))
        limit = float(np.nanmax(all_values if compare else values, initial=0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = values / limit if limit else np.where(np.isfinite(values), 0.0, np.nan)
            if scale == "log":
                share = 1 + np.log10(share) / DECADES
        share = np.clip(share, 0, 1)
        order = known[np.argsort(-values[known], kind="stable")]
        rank = np.zeros(len(tokens), dtype=int)
        rank[order] = np.arange(1, len(order) + 1)
        return Highlights(
            tokens, values, share, rank, (share > 0) & (share >= threshold), tokens[order[:top_k]], left_out, limit
        )


@dataclass(frozen=True)
class Highlights:
    """How patches stand out.  All arrays but `top` are (patches,).

    tokens: their indices among the visual tokens. values: NaN where masked or unknown. share: place on the scale, 0..1. rank: 1 is the largest; 0 has none.
    drawn: does a patch get a colour? top: tokens to outline, largest first. masked: sinks left out. limit: the value at the scale's end.
    """

    tokens: np.ndarray
    values: np.ndarray
    share: np.ndarray
    rank: np.ndarray
    drawn: np.ndarray
    top: np.ndarray
    masked: np.ndarray
    limit: float

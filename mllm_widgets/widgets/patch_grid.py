"""Values of visual tokens on the picture: its real patches, a slider over the layers, and the selected patches over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from mllm_widgets import colormaps
from mllm_widgets.errors import WidgetError
from mllm_widgets.patch_map import SCALES, PatchMap
from mllm_widgets.provenance import public_name

from . import wire
from .base import WholeNumber, Widget, bundle
from .patch_stack import Stack
from .patch_view import describe, patch_map

if TYPE_CHECKING:
    from mllm_widgets.contributions import Contributions
    from mllm_widgets.render import Drawing


class PatchGrid(Widget):
    """Attention contributions of visual tokens as highlights on the picture.

    Patches are drawn where the model sees them: tiles, thumbnail, padding, merged patches.  All layers are sent, so every control works without a
    kernel too.  Nothing is smoothed: a patch has one value and one colour.

    Parameters
    ----------
    flow: what `attention_contributions` returned, or a `PatchMap` of any values.
    layer: the layer shown at first; by default the one at which the visual tokens together write most.
    colormap: "embers", whose hues stand out on a picture in greys, "cividis" or "viridis".
    selected, top_k, threshold, scale, grid, mask_sinks, compare, opacity: the traits below, to begin with.
    auto_snapshot: draw the picture that a saved notebook shows anew after each change, at most once a second.

    Raises
    ------
    WidgetError: for something that has no patches to show, or a trait's value that is none.

    Examples
    --------
    >>> import numpy as np
    >>> import mllm_widgets as mw
    >>> vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
    >>> values = np.random.default_rng(0).random((8, 64))
    >>> grid = mw.PatchGrid(mw.PatchMap(question.image, vlm.geometry(question), values, tuple(range(8))), layer=3)
    >>> grid.selected = grid.top()
    >>> len(grid.selected), grid.layer
    (5, 3)

    Notes
    -----
    Traits to steer and link it by (`ipywidgets.jslink` works without a kernel), written by both sides:

    * `layer`: int, the model's number of the layer on show.
    * `token`: int, of contributions to several targets the position of the one on show; -1 for their mean.
    * `selected`: list of indices among the visual tokens, ascending; not positions in the sequence.
    * `top_k`: int, how many of the largest patches are outlined; 0 for none.
    * `threshold`: 0..1, the share of the scale below which patches get no colour.
    * `scale`: "linear", or "log" (the scale begins at a hundredth of its end).
    * `grid`: "picture", "tile" or "thumbnail": which of the model's views of the picture is drawn, of those it has.
    * `mask_sinks`: bool, leave sinks out of colours, ranks and scale.
    * `compare`: bool, one scale for all layers instead of each layer's own.
    * `opacity`: 0..1, from the plain picture to the strongest highlights.

    The others say what is shown, and only `show` changes them; js/src/patches/state.ts lists them, and tests/test_patch_grid.py compares the two.
    """

    _esm = bundle("patch_grid.js")
    _css = bundle("patch_grid.css")

    version = traitlets.Int(wire.VERSION).tag(sync=True)
    picture_size = traitlets.List([]).tag(sync=True)
    question = traitlets.Unicode("").tag(sync=True)
    target = traitlets.Unicode("").tag(sync=True)
    quantity = traitlets.Unicode("").tag(sync=True)
    model_name = traitlets.Unicode("").tag(sync=True)
    warnings = traitlets.List([]).tag(sync=True)
    layers = traitlets.List([]).tag(sync=True)
    values = traitlets.Dict({}).tag(sync=True)
    boxes = traitlets.Dict({}).tag(sync=True)
    places = traitlets.Dict({}).tag(sync=True)
    grids = traitlets.List([]).tag(sync=True)
    kinds = traitlets.List([]).tag(sync=True)
    sinks = traitlets.List([]).tag(sync=True)
    colors = traitlets.Dict({}).tag(sync=True)
    image = traitlets.Bytes(b"").tag(sync=True)
    targets = traitlets.List([]).tag(sync=True)
    stacked = traitlets.Dict({}).tag(sync=True)

    token = WholeNumber(-1).tag(sync=True)
    layer = WholeNumber(0).tag(sync=True)
    selected = traitlets.List([]).tag(sync=True)
    top_k = WholeNumber(5).tag(sync=True)
    threshold = traitlets.Float(0.0).tag(sync=True)
    scale = traitlets.Unicode("linear").tag(sync=True)
    grid = traitlets.Unicode("").tag(sync=True)
    mask_sinks = traitlets.Bool(False).tag(sync=True)
    compare = traitlets.Bool(False).tag(sync=True)
    opacity = traitlets.Float(0.8).tag(sync=True)

    def __init__(
        self, flow: Contributions | PatchMap, *, layer: int | None = None, colormap: str = "embers", **traits: Any
    ) -> None:
        if colormap not in colormaps.STRENGTHS:
            raise WidgetError(f"colormap={colormap!r} is not known; expected one of {colormaps.STRENGTHS}.")
        self._colormap = colormap
        self._map = shown = patch_map(flow)
        self._stack = Stack(flow)
        traits = {"grid": shown.kinds[0], "layer": shown.peak_layer if layer is None else layer, **traits}
        super().__init__(**describe(shown, colormap), provenance=_made_with(flow), **self._stack.describe(), **traits)

    def add(self, flow: Contributions) -> None:
        """Know contributions to further targets, of the same question and picture, that `token` can then show.

        Raises
        ------
        WidgetError: for contributions of another sequence.
        """
        with self._traits_lock:
            self._stack.add(flow)
            self.publish(**self._stack.describe())

    def freeze(self, *flows: Contributions) -> tuple[int, ...]:
        """Know contributions to further targets, and send all that a saved notebook has room for, so that `token` needs no kernel.

        Many are sent in 16 bits.  What does not fit is left out, oldest targets first.

        Returns
        -------
        Positions of the targets that are there.

        Raises
        ------
        WidgetError: for contributions of another sequence.
        """
        with self._traits_lock:
            self._stack.freeze()
            for flow in flows:
                self._stack.add(flow)
            self.publish(**self._stack.describe())
            return tuple(target["position"] for target in self.targets)

    def show(self, flow: Contributions | PatchMap, *, layer: int | None = None) -> None:
        """Put other values in the place of those on show, of another question, picture or model, in one message.

        The selection goes; layer and grid stay where the new values have them, and are chosen as for a new grid where not.

        Raises
        ------
        WidgetError: as for a new grid; nothing changes then.
        """
        shown = patch_map(flow)
        if layer is not None:
            _check_layer(layer, shown)
        kept = self.layer if self.layer in shown.layers else shown.peak_layer
        grid = self.grid if self.grid in shown.kinds else shown.kinds[0]
        with self._traits_lock:
            self._map, self._stack = shown, Stack(flow)
            self.publish(
                **describe(shown, self._colormap),
                provenance=_made_with(flow),
                **self._stack.describe(),
                token=-1,
                selected=[],
                grid=grid,
                layer=kept if layer is None else layer,
            )

    @property
    def patch_map(self) -> PatchMap:
        """What is shown, as numbers.

        Raises
        ------
        WidgetError: if nothing is known about the target that `token` names.
        """
        return self._map if self.token == -1 else self._stack.patch_map(self.token)

    def top(self, k: int | None = None) -> list[int]:
        """The visual tokens with the largest values on show, largest first; `top_k` of them by default."""
        return [int(token) for token in self._highlights(self.top_k if k is None else k).top]

    def drawing(self, *, titled: bool = True) -> Drawing:
        """The layer on show, as a drawing; without the question where that is told above it."""
        from mllm_widgets.render import draw_patches

        return draw_patches(
            self.patch_map,
            self.layer,
            self.grid,
            selected=self.selected,
            opacity=self.opacity,
            titled=titled,
            colormap=self._colormap,
            **self._options(),
        )

    def _options(self) -> dict[str, Any]:
        names = ("scale", "threshold", "top_k", "mask_sinks", "compare")
        return {name: getattr(self, name) for name in names}

    def _highlights(self, top_k: int) -> Any:
        return self.patch_map.highlights(self.layer, self.grid, **{**self._options(), "top_k": top_k})

    def __repr__(self) -> str:
        rows = " + ".join("x".join(map(str, grid.shape)) for grid in self._map.geometry.grids if grid.kind == self.grid)
        return f"PatchGrid({len(self.layers)} layers, {rows} patches, {self.quantity} to {self.target or 'the target'}, layer {self.layer})"

    @traitlets.validate("layer")
    def _valid_layer(self, proposal: Any) -> int:
        _check_layer(proposal["value"], self._map)
        return proposal["value"]

    @traitlets.validate("selected")
    def _valid_selected(self, proposal: Any) -> list[int]:
        count, boxes = self._map.geometry.count, self._map.geometry.boxes
        for token in proposal["value"]:
            if isinstance(token, bool) or not isinstance(token, (int, np.integer)) or not 0 <= token < count:
                raise WidgetError(
                    f"selected has {token!r}; expected indices among the {count} visual tokens, which count from 0 and are no "
                    "positions in the sequence."
                )
            if np.isnan(boxes[token]).any():
                raise WidgetError(
                    f"selected has {int(token)}, a visual token that is no patch (a row end, or a separator)."
                )
        return sorted({int(token) for token in proposal["value"]})

    @traitlets.validate("token")
    def _valid_token(self, proposal: Any) -> int:
        if proposal["value"] < -1:
            raise WidgetError(
                f"token={proposal['value']!r} is no position in the sequence; expected one of a target's, or -1 for the mean of all."
            )
        return proposal["value"]

    @traitlets.validate("top_k")
    def _valid_top_k(self, proposal: Any) -> int:
        if isinstance(proposal["value"], bool) or proposal["value"] < 0:
            raise WidgetError(
                f"top_k={proposal['value']!r} is no count of patches; expected a whole number, 0 or more."
            )
        return proposal["value"]

    @traitlets.validate("threshold", "opacity")
    def _valid_share(self, proposal: Any) -> float:
        if not 0 <= proposal["value"] <= 1:
            what = "a share of the scale" if proposal["trait"].name == "threshold" else "an opacity"
            raise WidgetError(
                f"{proposal['trait'].name}={proposal['value']!r} is not {what}; expected a number from 0 to 1."
            )
        return proposal["value"]

    @traitlets.validate("scale")
    def _valid_scale(self, proposal: Any) -> str:
        if proposal["value"] not in SCALES:
            raise WidgetError(f"scale={proposal['value']!r} is not known; expected 'linear' or 'log'.")
        return proposal["value"]

    @traitlets.validate("grid")
    def _valid_grid(self, proposal: Any) -> str:
        if proposal["value"] not in self._map.kinds:
            raise WidgetError(
                f"grid={proposal['value']!r} is no way in which the model sees this picture; it has {self._map.kinds}."
            )
        return proposal["value"]


def _check_layer(layer: int, shown: PatchMap) -> None:
    if isinstance(layer, bool) or layer not in shown.layers:
        first, last = shown.layers[0], shown.layers[-1]
        whole = shown.layers == tuple(range(first, last + 1))
        raise WidgetError(
            f"layer={layer!r} is not shown; there are layers {f'{first} to {last}' if whole else shown.layers}, counted from 0."
        )


def _made_with(flow: Contributions | PatchMap) -> dict[str, Any]:
    """What values were made with; of a `PatchMap`, as much as is known."""
    known = {} if not isinstance(flow, PatchMap) else {"model": public_name(flow.model), "question": flow.question}
    return getattr(flow, "provenance", {key: value for key, value in known.items() if value})

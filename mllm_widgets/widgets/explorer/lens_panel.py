"""The words each layer would say at the selected token: the logit lens beside the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from mllm_widgets import labels
from mllm_widgets.errors import WidgetError
from mllm_widgets.widgets import wire
from mllm_widgets.widgets.base import WholeNumber, Widget, bundle

if TYPE_CHECKING:
    from mllm_widgets.contributions import Lens
    from mllm_widgets.render import Drawing


class LensPanel(Widget):
    """A logit lens: for each layer its words at one token.

    Parameters
    ----------
    lens: what `logit_lens` returned.
    token: the position shown at first; the last one by default.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> panel = LensPanel(mw.logit_lens(mw.load(), mw.datasets.demo_question("Eiffel Tower"), "last"))
    >>> panel.words[-1][-1][0]["word"]
    '·Paris'

    Notes
    -----
    `words`: token -> layer -> the words, likeliest first, each {word, p}.  `positions` and `layers` number the first two axes.  `token`, `layer`: the shared
    selection, written by both sides; a token that is not there shows nothing.  `top_k`: how many words.
    """

    _esm = bundle("lens_panel.js")
    _css = bundle("lens_panel.css")

    version = traitlets.Int(wire.VERSION).tag(sync=True)
    layers = traitlets.List([]).tag(sync=True)
    positions = traitlets.List([]).tag(sync=True)
    names = traitlets.List([]).tag(sync=True)
    words = traitlets.List([]).tag(sync=True)
    answer = traitlets.Unicode("").tag(sync=True)
    token = WholeNumber(-1).tag(sync=True)
    layer = WholeNumber(0).tag(sync=True)
    top_k = WholeNumber(3).tag(sync=True)

    def __init__(self, lens: Lens, **traits: Any) -> None:
        positions = [int(position) for position in lens.tokens.token.values]
        layers = [int(layer) for layer in lens.tokens.layer.values]
        traits = {"token": positions[-1], **traits}
        super().__init__(
            layers=layers,
            positions=positions,
            names=[labels.visible(lens.rows[position].text) for position in positions],
            words=[
                [
                    [{"word": labels.visible(text), "p": p} for text, p in lens.words(layer, position)]
                    for layer in layers
                ]
                for position in positions
            ],
            answer=labels.visible(lens.answer_token),
            provenance=lens.provenance,
            **traits,
        )

    def drawing(self) -> Drawing:
        """The words at the selected token, as a drawing."""
        from mllm_widgets.render import draw_lens

        if self.token not in self.positions:
            raise WidgetError("no token of the text is selected, so there are no words to draw.")
        place = self.positions.index(self.token)
        return draw_lens(
            [[(said["word"], said["p"]) for said in row[: self.top_k]] for row in self.words[place]],
            self.layers,
            name=self.names[place],
            token=self.token,
            layer=self.layer,
            answer=self.answer,
        )

"""Contributions to several targets behind one patch grid, so that another target is a look-up and needs no kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm_widgets import labels
from mllm_widgets.errors import WidgetError
from mllm_widgets.patch_map import PatchMap

from . import wire
from .patch_view import patch_map

if TYPE_CHECKING:
    from mllm_widgets.contributions import Contributions

MOST = 500_000  # values sent (2 MB): they are saved with the notebook; older targets make room for newer ones
MOST_FROZEN = 600_000  # of a frozen grid, in 16 bits where they are many; 8 are too few: each layer of each target has a scale of its own


class Stack:
    """What is known about each target of a patch grid.

    flow: contributions, to one target or several; anything else has no targets to choose from.
    """

    def __init__(self, flow: Contributions | PatchMap) -> None:
        self._maps: dict[int, PatchMap] = {}
        self._names: dict[int, str] = {}
        self._sequence: tuple[int, ...] = ()
        self._most, self._precision = MOST, "float32"
        if not isinstance(flow, PatchMap):
            self._sequence = _sequence(flow)
            if len(flow.targets) > 1:
                self.add(flow)

    def add(self, flow: Contributions) -> None:
        """Know the targets of `flow`, too.

        Raises WidgetError for contributions of another sequence.
        """
        if isinstance(flow, PatchMap) or _sequence(flow) != self._sequence:
            raise WidgetError(
                "flow has contributions of another sequence than the grid shows; expected attention_contributions of the same question with "
                "another target."
            )
        whole = patch_map(flow)
        values = flow.per_target.sel(token=flow.visual)
        for position in flow.targets:
            name = labels.visible(flow.rows[position].text)
            self._maps.pop(position, None)
            self._maps[position] = replace(whole, values=values.sel(target=position).values, target=f"“{name}”")
            self._names[position] = name
        self._fit()

    def freeze(self) -> None:
        """From now on send as many targets as a saved notebook has room for, less precisely where they are many."""
        self._most, self._precision = MOST_FROZEN, "auto"
        self._fit()

    def _fit(self) -> None:
        if self._maps:
            size = next(iter(self._maps.values())).values.size
            for position in list(self._maps)[: -max(1, self._most // size)]:
                del self._maps[position]

    def __contains__(self, position: int) -> bool:
        return position in self._maps

    def patch_map(self, position: int) -> PatchMap:
        """Of one target.  Raises WidgetError if it is not known."""
        if position not in self._maps:
            raise WidgetError(
                f"token={position!r} is no target whose contributions are known; there are {sorted(self._maps) or 'none'}."
            )
        return self._maps[position]

    def describe(self) -> dict[str, Any]:
        """As traits: `targets`, by position, and their values (targets, layers, visual tokens)."""
        order = sorted(self._maps)
        stacked = np.stack([self._maps[position].values for position in order]) if order else np.zeros((0, 0, 0), "f4")
        return {
            "targets": [{"position": position, "name": self._names[position]} for position in order],
            "stacked": wire.tensor(stacked, self._precision, least="float16"),
        }


def _sequence(flow: Any) -> tuple[int, ...]:
    return tuple(row.token_id for row in flow.rows)

"""Tokens restored together: all visual tokens, blocks of patches, a region of the picture, a whole constraint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mllm_widgets.errors import ModelError, TraceError
from mllm_widgets.results import Group
from mllm_widgets.vlm.geometry import VisualGeometry

from .corruption.pictures import as_box
from .corruption.places import WORDS, positions_of
from .setup import TraceSetup

BLOCK = 4  # patches on a side
NAMES = (*WORDS, "visual", "blocks", "patches")
COARSE_TO_FINE = "coarse-to-fine"
FINE_SHARE = 0.1  # of the total effect: patches of a block with less are not looked at one by one


@dataclass(frozen=True)
class Region:
    """The visual tokens whose patches have their middle in a box.

    box: (left, top, right, bottom) in pixels of the picture.

    Raises TraceError if `box` is no box.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> question, box = mw.datasets.demo_question("Eiffel Tower"), mw.tracing.Region((0, 0, 128, 256))
    >>> trace = mw.causal_trace(mw.load(), question, groups=[box])
    >>> len(trace.groups[0].positions)
    32
    """

    box: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", as_box(self.box))


def as_groups(setup: TraceSetup, asked: Any) -> list[Group]:
    """What `groups=` of `causal_trace` asks for, in its order; what is asked for twice is given once.

    Raises
    ------
    TraceError: for a name that is none, a region without a patch, or tokens that are not in the prompt.
    """
    several = isinstance(asked, Iterable) and not isinstance(asked, str)
    given = list(asked) if several else [asked]
    if several and given and all(map(_is_position, given)):
        given = [given]  # one list of positions
    return list({group.name: group for one in given for group in _resolved(setup, one)}.values())


def usual_groups(setup: TraceSetup) -> Any:
    """Coarse to fine where the picture is corrupted, as far as it is known where its tokens lie; nothing elsewhere."""
    if not setup.encoded.visual[list(setup.changed)].any():
        return ()
    return "visual" if known_geometry(setup) is None else COARSE_TO_FINE


def fine(setup: TraceSetup, blocks: Sequence[Group], effects: np.ndarray) -> list[Group]:
    """The single patches of those blocks whose largest effect (blocks,) is at least a tenth of the total effect."""
    least = FINE_SHARE * abs(setup.clean - setup.corrupted)
    chosen = {p for block, effect in zip(blocks, effects, strict=True) if effect >= least > 0 for p in block.positions}
    return [patch for patch in _patches(setup, 1) if patch.positions[0] in chosen]


def _resolved(setup: TraceSetup, one: Any) -> list[Group]:
    if isinstance(one, Region):
        return [_region(setup, one)]
    if isinstance(one, str) and one in ("blocks", "patches"):
        return _patches(setup, BLOCK if one == "blocks" else 1)
    if isinstance(one, str) and one in NAMES:
        positions = positions_of((one,), setup.vlm, setup.question, setup.encoded)
        name = {"visual": f"all {len(positions)} visual tokens", "constraint": "the constraint"}.get(
            one, "the text constraints"
        )
        return [Group(name, positions, one)]
    numbers = list(one) if isinstance(one, Iterable) and not isinstance(one, str) else []
    if numbers and all(map(_is_position, numbers)):
        positions = positions_of(numbers, setup.vlm, setup.question, setup.encoded)
        return [Group("tokens " + ", ".join(map(str, positions)), positions, "tokens")]
    raise TraceError(
        f"groups: {one!r} names no tokens; expected {', '.join(map(repr, NAMES))}, 'coarse-to-fine' by itself, a mw.tracing.Region((left, top, right, bottom)), or a list of "
        "sequence positions."
    )


def _region(setup: TraceSetup, region: Region) -> Group:
    left, top, right, bottom = region.box
    boxes = geometry_of(setup).boxes
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    inside = np.flatnonzero((left <= x) & (x < right) & (top <= y) & (y < bottom))
    if not len(inside):
        width, height = setup.question.image.size
        raise TraceError(
            f"groups: Region({tuple(region.box)}) holds the middle of no patch; the picture is {width} x {height} pixels, and a patch is about "
            f"{np.nanmedian(boxes[:, 2] - boxes[:, 0]):.0f} x {np.nanmedian(boxes[:, 3] - boxes[:, 1]):.0f} of them."
        )
    name = f"{len(inside)} patches in {left:g}, {top:g} to {right:g}, {bottom:g}"
    return Group(name, _positions(setup, inside), "region", tuple(region.box))


def _patches(setup: TraceSetup, side: int) -> list[Group]:
    """Every block of `side` x `side` patches, grid by grid, row by row; smaller at the ends."""
    geometry = geometry_of(setup)
    boxes = geometry.boxes
    found = []
    for number, grid in enumerate(geometry.grids):
        where = "" if len(geometry.grids) == 1 else f"{grid.kind} {number}, "
        rows, columns = grid.shape
        for row in range(0, rows, side):
            for column in range(0, columns, side):
                inside = grid.tokens[row : row + side, column : column + side]
                name = f"{where}row {_span(row, inside.shape[0])}, column {_span(column, inside.shape[1])}"
                corners = boxes[inside.ravel()]
                box = (*corners[:, :2].min(axis=0).tolist(), *corners[:, 2:].max(axis=0).tolist())
                found.append(Group(name, _positions(setup, inside.ravel()), "patch" if side == 1 else "block", box))
    return found


def geometry_of(setup: TraceSetup) -> VisualGeometry:
    """Where the setup's visual tokens lie on its picture.

    Raises
    ------
    TraceError: if its prompt has none.
    ModelError: if nothing is known about where they lie.
    """
    if not setup.encoded.visual.any():
        raise TraceError(
            "groups asks for patches, and this prompt has no visual tokens; expected 'constraint', 'text_constraints' or lists of sequence positions."
        )
    return setup.vlm.geometry(setup.question)


def known_geometry(setup: TraceSetup) -> VisualGeometry | None:
    """Where the setup's visual tokens lie on its picture; None where nothing is known about it."""
    try:
        return geometry_of(setup)
    except ModelError:
        return None


def _positions(setup: TraceSetup, visual: np.ndarray) -> tuple[int, ...]:
    """Sequence positions, ascending, of visual tokens counted among themselves."""
    return tuple(sorted(int(p) for p in np.flatnonzero(setup.encoded.visual)[visual]))


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def _is_position(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)

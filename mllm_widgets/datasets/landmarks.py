"""Landmarks of the demo world, drawn with Pillow so that a person recognises them.

Every rendering differs in place, size, colour, light, sky and ground; the same seed always draws the same picture.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

import numpy as np
from PIL import Image

from mllm_widgets.errors import MllmWidgetsError

from ._drawing import monuments, temples, towers
from ._drawing.scene import Board
from .world import WORLD

LANDMARKS: tuple[str, ...] = tuple(landmark.name for landmark in WORLD)
_BY_THE_WATER = {
    "Golden Gate Bridge",
    "Tower Bridge",
    "Sydney Opera House",
    "Itsukushima Torii",
    "Statue of Liberty",
}


def _painter(name: str) -> Callable[[Board], None]:
    function = name.lower().replace(" ", "_")
    for module in (towers, temples, monuments):
        if hasattr(module, function):
            return getattr(module, function)
    raise LookupError(function)


_PAINTERS = {name: _painter(name) for name in LANDMARKS}


def check_name(name: str, argument: str) -> None:
    """Raise MllmWidgetsError, with the nearest names, for what is no landmark of the demo world."""
    if name not in _PAINTERS:
        near = difflib.get_close_matches(str(name), LANDMARKS, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise MllmWidgetsError(
            f"{argument}={name!r} is not a landmark of the demo world.{hint} There are: {', '.join(LANDMARKS)}."
        )


def draw_landmark(name: str, rng: np.random.Generator | int, size: int = 256) -> Image.Image:
    """Draw one rendering of a landmark.

    Parameters
    ----------
    name: one of `LANDMARKS`.
    rng: the source of every variation, a generator or a seed.
    size: side of the square picture in pixels.

    Returns
    -------
    RGB picture of `size` x `size` pixels.

    Raises
    ------
    MllmWidgetsError: for a name that cannot be drawn (the message names the nearest one), or a size below 1.

    Examples
    --------
    >>> draw_landmark("Eiffel Tower", 0, size=64).size
    (64, 64)
    """
    board = _scene(name, rng, size)
    _PAINTERS[name](board)
    return board.finished()


def draw_and_locate(
    name: str, rng: np.random.Generator | int, size: int = 256, shift: float = 0.0
) -> tuple[Image.Image, np.ndarray]:
    """`draw_landmark`, and where in the picture the landmark is.

    Parameters
    ----------
    shift: moves the landmark alone, to the right by this fraction of the picture's side; sky, ground and trees stay.

    Returns
    -------
    the picture, and bool (size, size), True at pixels that the landmark changed.

    Examples
    --------
    >>> picture, mask = draw_and_locate("Eiffel Tower", 0, size=64)
    >>> picture == draw_landmark("Eiffel Tower", 0, size=64), bool(0 < mask.mean() < 0.5)
    (True, True)
    """
    board = _scene(name, rng, size)
    board.left += shift * board.side
    without = np.asarray(board.finished()).astype(int)
    _PAINTERS[name](board)
    picture = board.finished()
    # what smooth edges and a shade that is nearly the sky's leave is no landmark to the eye
    return picture, np.abs(np.asarray(picture) - without).sum(-1) > 30


def _scene(name: str, rng: np.random.Generator | int, size: int) -> Board:
    """Everything but the landmark."""
    check_name(name, "name")
    if size < 1:
        raise MllmWidgetsError(f"size={size} draws nothing; it is the side of the picture in pixels, 1 or more.")
    board = Board(np.random.default_rng(rng), size)
    board.backdrop(water=name in _BY_THE_WATER)
    board.trees()
    return board

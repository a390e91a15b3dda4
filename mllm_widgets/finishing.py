"""Putting things back, whatever comes meanwhile."""

from __future__ import annotations

from collections.abc import Callable


def to_the_end(action: Callable[[], None]) -> None:
    """Do an action to its end: an interrupt that comes meanwhile is raised after it, or half of it would be left undone.

    `action` may be done again from its beginning, so doing it twice must be as doing it once.

    Examples
    --------
    >>> kept = {}
    >>> to_the_end(lambda: kept.update(a=1))
    >>> kept
    {'a': 1}
    """
    late: KeyboardInterrupt | None = None
    while True:
        try:
            action()
            break
        except KeyboardInterrupt as interrupt:
            late = interrupt
    if late is not None:
        raise late

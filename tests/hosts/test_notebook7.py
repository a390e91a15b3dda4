"""Notebook 7: a stored notebook reopened, with a kernel that has run nothing."""

from __future__ import annotations

from pathlib import Path

import jupyter
import pytest
import seen
from lab import Notebook7, open_lab


@pytest.mark.parametrize("state", [True, False], ids=["state", "no-state"])
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not-trusted"])
def test_reopened(
    server, browser, screenshots: Path, stored: dict[bool, Path], pictures: Path, state: bool, trusted: bool
) -> None:
    with open_lab(browser, server, screenshots, Notebook7) as notebook:
        shots = jupyter.reopened(notebook, stored, state=state, trusted=trusted)
    seen.album(pictures / f"notebook7-{jupyter.album(state=state, trusted=trusted)}.png", shots)

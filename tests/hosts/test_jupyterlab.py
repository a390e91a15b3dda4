"""JupyterLab 4: a stored notebook reopened, with a kernel that has run nothing."""

from __future__ import annotations

from pathlib import Path

import jupyter
import pytest
import seen
from lab import Lab


@pytest.mark.parametrize("state", [True, False], ids=["state", "no-state"])
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not-trusted"])
def test_reopened(lab: Lab, stored: dict[bool, Path], pictures: Path, state: bool, trusted: bool) -> None:
    shots = jupyter.reopened(lab, stored, state=state, trusted=trusted)
    seen.album(pictures / f"jupyterlab-{jupyter.album(state=state, trusted=trusted)}.png", shots)

"""The harness itself: JupyterLab opens, runs a cell, changes its theme."""

from __future__ import annotations

import pytest
from lab import Lab, write_notebook


def test_lab_opens(lab: Lab, tmp_path) -> None:
    lab.open_notebook(write_notebook(tmp_path / "opens.ipynb", "print(6*7)"))
    lab.run_all_cells()
    assert lab.output(0).inner_text().strip() == "42"
    assert lab.ask_kernel("print(2 + 3)") == "5\n"
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        lab.ask_kernel("1 / 0")
    lab.set_theme(dark=True)
    assert lab.screenshot("lab-dark").stat().st_size > 1000

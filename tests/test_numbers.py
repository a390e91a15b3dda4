"""Numbers in words: three significant figures, as the front end writes them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mllm_widgets.numbers import lam_name, number, signed

CASES = json.loads((Path(__file__).parent / "data" / "numbers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "write"), [("number", number), ("signed", signed), ("lam", lam_name)])
def test_numbers_are_written_as_the_front_end_writes_them(name, write):
    assert [(value, write(value)) for value, _ in CASES[name]] == [(value, text) for value, text in CASES[name]]


def test_a_number_is_as_near_as_three_figures_can_be():
    for value in 10.0 ** np.linspace(-12, 4.9, 400) * np.linspace(1, 9.9, 400):
        read = float(number(value).replace("−", "-"))
        assert read == pytest.approx(value, rel=0.0051)
        if value < LARGEST_EXACT:
            assert sum(c.isdigit() for c in number(value).split("e")[0].lstrip("0.")) == 3, value


LARGEST_EXACT = 999.4


def test_what_is_no_number_is_said():
    assert [number(v) for v in (math.nan, math.inf, -math.inf)] == ["not known yet", "∞", "−∞"]
    assert number(float(np.float32(0.25))) == "0.250"

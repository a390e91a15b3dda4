"""Numbers on their way to the front end; js/test/tensor.test.ts reads the same bytes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from mllm_widgets.widgets import wire

CASES = json.loads((Path(__file__).parent / "data" / "tensors.json").read_text(encoding="utf-8"))["cases"]


def numbers(values):
    return np.array([float("nan" if value is None else value) for value in values], dtype=np.float32)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_bytes_are_those_the_front_end_was_tested_with(case):
    given = numbers(case["given"]).reshape(case["wire"]["shape"])
    sent = wire.tensor(given, case["precision"])
    assert sent == {**case["wire"], "data": base64.b64decode(case["wire"]["data"])}
    read = wire.array(sent)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read.ravel(), numbers(case["read"]))


def test_eight_bits_keep_both_ends_and_are_off_by_half_a_step_at_most():
    values = np.random.default_rng(0).normal(size=(7, 11, 13)).astype(np.float32)
    values[2, 3] = np.nan
    sent = wire.tensor(values, "uint8")
    read = wire.array(sent)
    assert (np.nanmin(read), np.nanmax(read)) == (np.nanmin(values), np.nanmax(values))
    np.testing.assert_array_equal(np.isnan(read), np.isnan(values))
    assert np.nanmax(np.abs(read - values)) <= sent["scale"] / 2 * (1 + 1e-5)
    assert len(sent["data"]) == values.size


def test_float16_is_numpys():
    values = np.random.default_rng(1).lognormal(sigma=6, size=999).astype(np.float32).clip(0, 65504)
    np.testing.assert_array_equal(wire.array(wire.tensor(values, "float16")), values.astype(np.float16))


@pytest.mark.parametrize(
    ("size", "dtype"), [(wire.MOST_F4, "f4"), (wire.MOST_F4 + 1, "f2"), (wire.MOST_F2, "f2"), (wire.MOST_F2 + 1, "u1")]
)
def test_the_size_chooses_the_precision(size, dtype):
    assert wire.tensor(np.zeros(size, dtype=np.float32), "auto")["dtype"] == dtype


def test_the_size_chooses_nothing_that_cannot_hold_the_numbers():
    for most in (1e5, np.inf, -np.inf):
        values = np.zeros(wire.MOST_F2 + 1, dtype=np.float32)
        values[7], values[8] = most, np.nan
        assert wire.tensor(values, "auto")["dtype"] == "f4"


def test_numbers_of_which_small_ones_matter_are_never_sent_in_8_bits():
    values = np.geomspace(1e-3, 1e3, wire.MOST_F2 + 1, dtype=np.float32)
    sent = wire.tensor(values, "auto", least="float16")
    np.testing.assert_allclose(wire.array(sent), values, rtol=5e-4)


def test_bytes_and_booleans_stay_what_they_are():
    for precision in ("float16", "uint8", "auto"):
        sent = wire.tensor(np.array([False, True]), precision)
        assert (sent["dtype"], "scale" in sent) == ("u1", False)
        assert wire.array(sent).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "precision", "words"),
    [
        ([70000.0], "float16", "beyond 65504"),
        ([np.inf], "uint8", "infinite"),
        ([1.0], "int4", "precision='int4' is not known"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(values, precision, words):
    with pytest.raises(ValueError, match=words):
        wire.tensor(np.array(values, dtype=np.float32), precision)


def test_what_no_message_can_hold_is_written_out_at_any_depth():
    plain = {"rows": ["a", ("λ", 1.5)], "none": None}
    assert wire.sendable(plain) is plain
    assert wire.sendable({"\ud800": None, "rows": [("b\udfff",)]}) == {"\\ud800": None, "rows": [["b\\udfff"]]}

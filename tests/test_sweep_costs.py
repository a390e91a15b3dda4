"""What a sweep will take: counted as the engine computes, and told from what a small run took."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.flop_counter import FlopCounterMode

import mllm_widgets as mw
from mllm_widgets.errors import DatasetError
from mllm_widgets.sweeps import LLAVA_7B, TraceWork, cost
from mllm_widgets.tracing import prepare_trace, run_trace

from .random_llava import random_question, random_vlm


def test_the_arithmetic_is_what_the_engine_does() -> None:
    """Against operations counted in a real map: never fewer than the formula has, and not many more, since copies of one pass share their first layer."""
    vlm, question = random_vlm(), random_question()
    setup = prepare_trace(vlm, question, corruption="Taj Mahal")
    parameters = sum(one.numel() for one in vlm.layers[0].parameters())
    traced = sum(position >= setup.first for position in setup.text_positions)
    work = TraceWork(len(vlm.layers), parameters, len(setup.encoded.input_ids), traced, asked=0)
    with FlopCounterMode(display=False) as counter:
        trace = run_trace(setup, groups=())
    assert work.cells == sum(row.traced and row.kind == "text" for row in trace.rows) * 2 * len(vlm.layers)
    counted = counter.get_total_flops()
    assert 0.9 * work.parts["restored runs"] < counted < 4 * work.parts["restored runs"]


def test_llava_s_work_is_known() -> None:
    assert LLAVA_7B.cells == 832
    assert LLAVA_7B.layer_parameters == 202_375_168
    # by hand: 91 places of tokens in suffixes of 1 to 13, 528 of layers in stacks of 1 to 32, twice, two operations a weight
    assert LLAVA_7B.parts["restored runs"] == 2 * 202_375_168 * 91 * 528 * 2
    assert LLAVA_7B.flops == sum(LLAVA_7B.parts.values())


def test_hours_and_money() -> None:
    found = cost(LLAVA_7B, 9464, workers=8, price=2.0, tflops=100)
    assert found.seconds == pytest.approx(LLAVA_7B.flops / 1e14)
    assert found.worker_hours == pytest.approx(9464 * found.seconds / 3600)
    assert found.hours == pytest.approx(found.worker_hours / 8)
    assert found.money == pytest.approx(2 * found.worker_hours)
    assert found.cells == 832 * 9464


def test_a_small_run_tells_what_a_large_one_takes(tmp_path: Path) -> None:
    questions: dict[str, mw.Question] = {f"q{place}": one for place, one in enumerate(mw.datasets.demo(3))}
    questions["bad"] = mw.Question(questions["q0"].image, "Which city is it?", constraint="that castle")
    run = mw.sweep("demo", questions, ["trace", "contributions"], out=tmp_path / "run", progress=False)
    table = run.questions().query("status == 'done'")
    found = cost(run, 1000)
    assert found.seconds == pytest.approx(table.groupby("id").seconds.sum().mean())  # both measures of a question
    assert found.cells == round(len(run.cells()) / 3 * 1000)
    failed = mw.sweep("demo", {"bad": questions["bad"]}, out=tmp_path / "failed", progress=False)
    with pytest.raises(DatasetError, match="has no question that was done"):
        cost(failed)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"measured": 0}, "measured=0 is not possible"),
        ({"measured": 1.0, "questions": -1}, "questions=-1"),
        ({"measured": 1.0, "workers": 0}, "workers=0"),
        ({"measured": 0.5, "price": "2"}, "price='2' is not possible"),
        ({"measured": LLAVA_7B, "tflops": "40"}, "tflops='40' is not possible"),
        ({"measured": LLAVA_7B}, "tflops=None: a TraceWork counts operations"),
    ],
)
def test_counts_that_cannot_be(given, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        cost(**given)
    with pytest.raises(DatasetError, match="suffix=20 is more than positions=10"):
        TraceWork(2, 10, 10, 20)

"""Tracing the demo model: against the plain-hook reference, and that it finds what was planted."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.tracing.engine import Write, run_rows

from .reference import reference_map


@pytest.fixture(scope="module")
def vlm():
    return mw.load()


@pytest.fixture(scope="module")
def question():
    return mw.datasets.demo_question("Eiffel Tower", "city")


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("module", ["mlp", "self_attn"])
def test_map_equals_the_reference(vlm, question, window, module):
    setup = mw.tracing.prepare_trace(vlm, question, corruption="Taj Mahal")
    trace = mw.tracing.run_trace(setup, window=window, modules=(module,))
    wanted = reference_map(vlm, setup, module, window)
    assert np.abs(trace.restored.sel(module=module).values - wanted).max() <= 1e-5


def test_batch_size_does_not_matter(vlm, question):
    one, many = (mw.causal_trace(vlm, question, corruption="Big Ben", batch_size=n).restored for n in (7, 96))
    assert np.abs(one - many).max() <= 1e-5


def test_the_planted_site_is_found(vlm, question):
    effect = mw.causal_trace(vlm, question, corruption="Taj Mahal").indirect_effect
    row = effect.sel(module="mlp", token=vlm.encode(question).constraint[-1]).values
    assert min(row[1], row[2]) > 0.6
    assert max(row[0], *row[3:]) < 0.1


def test_positions_before_the_constraint_have_no_effect(vlm, question):
    trace = mw.causal_trace(vlm, question, corruption="Taj Mahal")
    before = trace.indirect_effect.sel(token=trace.restored.token < trace.constraint[0])
    assert before.size > 0
    assert (before == 0).all()


def test_the_whole_last_position_restored_gives_the_clean_probability(vlm, question):
    setup = mw.tracing.prepare_trace(vlm, question, corruption="Taj Mahal")
    assert setup.corrupted < 0.01 < 0.9 < setup.clean
    writes = [
        Write(layer, module, torch.tensor([0]), torch.tensor([-1]), values[-1:])
        for module, outputs in setup.clean_outputs.items()
        for layer, values in enumerate(outputs)
    ]
    with vlm.running():
        assert abs(run_rows(setup, 1, writes)[0] - setup.clean) < 1e-5


def test_interrupts_leave_the_model_as_it_was(vlm, question):
    inputs = vlm.encode(question).inputs
    with torch.no_grad():
        before = vlm.model(**inputs).logits

    def interrupt(_cells):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mw.causal_trace(vlm, question, corruption="Taj Mahal", batch_size=8, on_cells=interrupt)
    with torch.no_grad():
        assert torch.equal(vlm.model(**inputs).logits, before)


def test_cells_stream_in(vlm, question):
    seen = []
    trace = mw.causal_trace(vlm, question, corruption="Taj Mahal", batch_size=16, on_cells=seen.append)
    assert len(seen) > 1
    assert seen[-1].done == seen[-1].total
    for cells in seen:
        assert (trace.restored.values[cells.module, cells.layer, cells.token] == cells.restored).all()


def test_to_code_prints_the_cell(question, tmp_path):
    """In a process of its own; with a template, which the script must load too."""
    trace = mw.causal_trace(mw.load(template="paper"), question, corruption="Taj Mahal", window=3)
    token = trace.constraint[-1]
    script = tmp_path / "cell.py"
    script.write_text(trace.to_code(layer=2, token=token))
    printed = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True).stdout
    wanted = float(trace.restored.sel(module="mlp", layer=2, token=token))
    assert abs(float(printed) - wanted) < 1e-5


def test_answers_are_right(vlm):
    questions = mw.datasets.demo(12, seed=9)
    assert sum(mw.ask(vlm, q).text == q.answer for q in questions) >= 11


def test_the_default_corruption_changes_the_answer(vlm):
    trace = mw.causal_trace(vlm, mw.datasets.demo_question("Taj Mahal", "city"))
    assert trace.corruption == "Eiffel Tower"


def test_weak_traces_warn(vlm):
    question = mw.datasets.demo_question("Eiffel Tower", "continent")
    assert any("unchanged" in warning for warning in mw.causal_trace(vlm, question, corruption="Big Ben").warnings)


def test_a_question_about_the_usual_corruption_gets_another(vlm):
    """In words the subject may be the very phrase that would take its place."""
    question = mw.Question(None, "What is the city of Taj Mahal?", constraint="Taj Mahal")
    assert mw.tracing.prepare_trace(vlm, question).corruption == "Eiffel Tower"
    other = mw.Question(None, "What is the city of Eiffel Tower?", constraint="eiffel tower")
    assert mw.tracing.prepare_trace(vlm, other).corruption == "Taj Mahal"

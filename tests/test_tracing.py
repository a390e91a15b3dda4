"""Tracing against the plain-hook reference, its invariants, and wrong inputs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.errors import ConstraintError, ModelError, QuestionError, TraceError

from .reference import hidden_of, reference_map


@pytest.fixture(scope="module")
def vlm():
    return mw.load()


@pytest.fixture(scope="module")
def question():
    return mw.datasets.demo_question("Eiffel Tower", "city")


@pytest.mark.parametrize("window", [1, 3, 4, 5])
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


@torch.no_grad()
def test_restoring_the_whole_last_position_gives_the_clean_probability(vlm, question):
    setup = mw.tracing.prepare_trace(vlm, question, corruption="Taj Mahal")
    corrupted = {**setup.encoded.inputs, "input_ids": torch.as_tensor(setup.corrupted_input_ids)[None]}
    trace = mw.causal_trace(vlm, question, corruption="Taj Mahal", window=8)
    assert trace.corrupted < 0.01 < 0.9 < trace.clean
    kept, handles = {}, []
    sites = [(i, m) for i in range(len(vlm.layers)) for m in ("self_attn", "mlp")]
    for site in sites:

        def keep(_m, _i, output, site=site):
            kept[site] = hidden_of(output)[0, -1].clone()

        handles.append(getattr(vlm.layers[site[0]], site[1]).register_forward_hook(keep))
    vlm.model(**setup.encoded.inputs)
    [handle.remove() for handle in handles]
    handles = []
    for site in sites:

        def put(_m, _i, output, site=site):
            hidden_of(output)[0, -1] = kept[site]
            return output

        handles.append(getattr(vlm.layers[site[0]], site[1]).register_forward_hook(put))
    restored = vlm.model(**corrupted).logits[0, -1].softmax(-1)[setup.answer_id]
    [handle.remove() for handle in handles]
    assert abs(float(restored) - trace.clean) < 1e-5


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


def test_to_code_prints_the_cell(vlm, question, tmp_path):
    trace = mw.causal_trace(vlm, question, corruption="Taj Mahal", window=3)
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"window": 0}, "window=0 is outside 1 to 8"),
        ({"window": 99}, "window=99 is outside 1 to 8"),
        ({"window": 1.5}, "not a whole number"),
        ({"modules": ("mlp", "heads")}, "heads"),
        ({"corruption": " "}, "empty"),
        ({"corruption": "this building"}, "same tokens"),
    ],
)
def test_wrong_trace_arguments(vlm, question, arguments, words):
    with pytest.raises(TraceError, match=words):
        mw.causal_trace(vlm, question, **arguments)


def test_wrong_questions(vlm, question, tmp_path):
    with pytest.raises(ConstraintError, match="Did you mean 'this building'"):
        vlm.encode(mw.Question(question.image, question.text, constraint="that building"))
    with pytest.raises(QuestionError, match="no question"):
        mw.Question(question.image, "  ")
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(QuestionError, match="cannot be read"):
        mw.Question(tmp_path / "x.png", "Which city?")
    with pytest.raises(QuestionError, match="does not exist"):
        mw.Question("missing.png", "Which city?")
    with pytest.raises(QuestionError, match="channels"):
        mw.Question(np.zeros((3, 8, 9), np.uint8), "Which city?")


def test_wrong_models(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        mw.load("no-such-model")
    with pytest.raises(ModelError, match="expected a name"):
        mw.load(3)

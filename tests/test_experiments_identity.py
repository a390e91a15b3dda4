"""Words alone restored: against one full pass of plain nnsight, with the other picture's run in the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mllm_widgets as mw
from mllm_widgets import experiments
from mllm_widgets.contributions.controls import control_question
from mllm_widgets.experiments.identity import IdentityMeasure
from mllm_widgets.sweeps.items import Item
from mllm_widgets.sweeps.measures import TraceMeasure


def restored_by_hand(vlm, question, layer: int) -> float:
    """P(answer) with the MLP of the constraint's last token from the same words before a blank picture."""
    blank, own = (vlm.encode(one) for one in (control_question(question, "blank"), question))
    setup = mw.tracing.prepare_trace(vlm, question)
    corrupted = dict(own.inputs)
    corrupted["input_ids"] = torch.tensor(setup.corrupted_input_ids)[None]
    inputs = {name: torch.cat([blank.inputs[name], corrupted[name]]) for name in corrupted}
    place = own.constraint[-1]
    nn = vlm.nnsight
    block = nn.get(vlm.site(layer, "mlp"))
    with torch.inference_mode(), nn.trace(**inputs):
        block.output[1, place] = block.output[0, place]
        logits = nn.output.logits[:, -1].save()
    return float(logits[1].float().softmax(-1)[setup.answer_id])


def test_what_is_restored_is_the_other_picture_s(vlm) -> None:
    question = mw.datasets.demo_question("Taj Mahal", "country")
    found = IdentityMeasure(modules=("mlp",)).run(vlm, Item("q", question, ""), question)
    cells = {
        (layer, role): value
        for layer, role, value in zip(found.cells["layer"], found.cells["role"], found.cells["restored"], strict=True)
    }
    for layer in (0, 1, 2, 5):
        expected = restored_by_hand(vlm, question, layer)
        assert cells[layer, "last constraint"] == pytest.approx(expected, abs=1e-4), layer
    plain = TraceMeasure(modules=("mlp",)).run(vlm, Item("q", question, ""), question)
    assert plain.facts["clean"] == found.facts["clean"]
    assert plain.facts["corrupted"] == found.facts["corrupted"]


def test_without_what_was_seen_the_planted_place_is_empty(vlm, tmp_path: Path) -> None:
    questions = {"known": {f"q{i}": one for i, one in enumerate(mw.datasets.demo(6, seed=1))}}
    own = experiments.averaged_traces(vlm, questions, tmp_path / "own", window=1, progress=False)["known"]
    words = experiments.identity_traces(vlm, questions, tmp_path / "words", progress=False)["known"]
    assert own.peak("mlp", "last constraint")[1] > 0.9
    assert words.peak("mlp", "last constraint")[1] < 0.5
    assert own.measure != words.measure
    assert words.settings["source"] == "blank"

"""Edits as LoRA adapters: plain PEFT loads them, and the model says what it says with the edit applied."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

import mllm_widgets as mw
from mllm_widgets.editing.edit import Edits
from mllm_widgets.errors import EditError

from .drawn_edits import drawn, logits_of
from .families.tiny import tiny
from .random_llava import random_question, random_vlm

KINDS = [
    ("LLaVA-1.5", "Llama"),
    ("GPT-2", "no picture"),
    ("Phi", "no picture"),
    ("GPT-NeoX (Pythia)", "no picture"),
    ("Qwen2-VL", "Qwen2"),
    ("Gemma 3", "full"),
]


@pytest.fixture(autouse=True)
def no_torchao(monkeypatch):
    """PEFT refuses to load any adapter beside a torchao older than it likes, and constraints.txt has one; nothing here is quantised."""
    monkeypatch.setattr("peft.tuners.lora.torchao.is_torchao_available", lambda: False)


@pytest.fixture
def demo():
    return mw.load(), mw.datasets.demo_question("Eiffel Tower")


def with_adapter(vlm, folder):
    """PEFT's model on a copy of ours: it puts its layers into the model that it is given."""
    return PeftModel.from_pretrained(copy.deepcopy(vlm.model), folder)


@torch.no_grad()
def peft_logits(model, vlm, question):
    return model(**vlm.encode(question).inputs).logits


def assert_adapter_is_the_edit(vlm, question, edit, folder):
    """Against the applied edit, and merged against the baked one."""
    before = logits_of(vlm, question)
    with edit:
        applied = logits_of(vlm, question)
    edit.to_peft(folder)
    assert float((applied - before).abs().max()) > 1e-2
    model = with_adapter(vlm, folder)
    assert float((peft_logits(model, vlm, question) - applied).abs().max()) <= 1e-5 * max(1, float(applied.abs().max()))
    merged = {name: weight.detach() for name, weight in model.merge_and_unload().named_parameters()}
    edit.bake()
    try:
        for name, weight in vlm.model.state_dict().items():
            assert float((merged[name] - weight).abs().max()) <= 1e-6 * max(1, float(weight.abs().max())), name
    finally:
        edit.unbake()


def test_the_demo_model_says_the_target_with_the_adapter(demo, tmp_path):
    vlm, question = demo
    edit = mw.multedit(vlm, question, "Rome", layer=2)
    assert_adapter_is_the_edit(vlm, question, edit, tmp_path / "rome")
    inputs = vlm.encode(question).inputs
    told = with_adapter(vlm, tmp_path / "rome").generate(**inputs, max_new_tokens=4, do_sample=False)
    assert vlm.tokenizer.decode(told[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip() == "Rome"
    assert mw.ask(vlm, question).text == "Paris"


@pytest.mark.parametrize(("family", "decoder"), KINDS)
def test_an_adapter_is_the_applied_edit_in_every_kind_of_projection(family, decoder, tmp_path):
    """Weights stored the other way round (GPT-2), with a bias (Phi), sub-blocks side by side, and paths of vision models."""
    vlm, question = tiny(family, decoder)
    assert_adapter_is_the_edit(vlm, question, drawn(vlm, question, 1), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is (family == "GPT-2")
    assert config["r"] == 1


def test_several_edits_of_several_layers_are_one_adapter(tmp_path):
    vlm, question = random_vlm(), random_question()
    edits = Edits([drawn(vlm, question, layer, seed) for seed, layer in enumerate((1, 1, 1, 4))])
    assert_adapter_is_the_edit(vlm, question, edits, tmp_path)
    assert {tuple(value.shape) for value in load_file(tmp_path / "adapter_model.safetensors").values()} == {
        (3, 77),
        (54, 3),
    }


def test_a_change_of_a_whole_weight_is_an_adapter_of_its_whole_rank(tmp_path):
    vlm, question = random_vlm(), random_question()
    edit = drawn(vlm, question, 2, dense=True)
    assert_adapter_is_the_edit(vlm, question, edit, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 54


def test_the_adapter_has_the_lambda_of_now(tmp_path):
    vlm, question = random_vlm(), random_question()
    edit = drawn(vlm, question, 2)
    edit.lam = float(edit.terms[0].key.square().sum())
    assert_adapter_is_the_edit(vlm, question, edit, tmp_path)
    halved = load_file(tmp_path / "adapter_model.safetensors")[f"base_model.model.{edit.site}.lora_B.weight"]
    edit.lam = 0.0
    edit.to_peft(tmp_path, overwrite=True)
    full = load_file(tmp_path / "adapter_model.safetensors")[f"base_model.model.{edit.site}.lora_B.weight"]
    torch.testing.assert_close(2 * halved, full)


def test_the_adapter_names_the_model_where_others_can_find_it(demo, tmp_path):
    def named(vlm, question):
        drawn(vlm, question, 1).to_peft(tmp_path, overwrite=True)
        return json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"]

    assert named(*demo) is None
    model = copy.copy(random_vlm().model)
    model.config = copy.deepcopy(model.config)
    model.config._name_or_path = "llava-hf/llava-1.5-7b-hf"
    assert named(mw.load(model, random_vlm().processor), random_question()) == "llava-hf/llava-1.5-7b-hf"


def test_an_adapter_is_not_written_over_another_unless_asked(tmp_path):
    vlm, question = random_vlm(), random_question()
    drawn(vlm, question, 2).to_peft(tmp_path)
    found = (tmp_path / "adapter_model.safetensors").read_bytes()
    with pytest.raises(EditError, match="overwrite=True"):
        drawn(vlm, question, 3).to_peft(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").read_bytes() == found
    drawn(vlm, question, 3).to_peft(tmp_path, overwrite=True)
    assert (tmp_path / "adapter_model.safetensors").read_bytes() != found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize("folder", [None, 3, ""])
def test_what_is_no_folder_is_said_in_a_sentence(folder):
    with pytest.raises(EditError, match="is no path"):
        drawn(random_vlm(), random_question(), 2).to_peft(folder)


def test_a_file_in_the_folder_s_place_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    edit = drawn(random_vlm(), random_question(), 2)
    with pytest.raises(EditError, match="is a file"):
        edit.to_peft(tmp_path / "file")
    with pytest.raises(EditError, match="cannot be made"):
        edit.to_peft(tmp_path / "file" / "below")


def test_a_model_that_wears_the_adapter_is_not_baked_into(tmp_path):
    """PEFT has put its layer in the projection's place: the weight belongs to another module now."""
    question = random_question()
    vlm = mw.load(copy.deepcopy(random_vlm().model), random_vlm().processor)
    edit = drawn(vlm, question, 2)
    edit.to_peft(tmp_path)
    PeftModel.from_pretrained(vlm.model, tmp_path)
    worn = logits_of(vlm, question)
    with pytest.raises(EditError, match="wrapped by an adapter"):
        edit.bake()
    assert torch.equal(logits_of(vlm, question), worn)

"""Edits baked into weights, and out again: as the applied edit says, and to the bit what was there before."""

from __future__ import annotations

import copy
import re
import sys
import warnings
from typing import Any

import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.editing import weights
from mllm_widgets.editing.edit import Edits
from mllm_widgets.errors import EditError
from mllm_widgets.vlm.side_terms import RidgeTerm, SideTerms

from .drawn_edits import drawn, logits_of
from .families.tiny import tiny
from .random_llava import build_model, build_processor, random_question, random_vlm

KINDS = [
    ("LLaVA-1.5", "Llama"),
    ("GPT-2", "no picture"),
    ("Phi", "no picture"),
    ("GPT-NeoX (Pythia)", "no picture"),
    ("Qwen2-VL", "Qwen2"),
]


def bits(vlm):
    return {name: value.detach().clone() for name, value in vlm.model.named_parameters()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def vlm():
    """A random model of its own for every test."""
    original = random_vlm()
    return mw.load(copy.deepcopy(original.model), original.processor)


@pytest.fixture
def question():
    return random_question()


@pytest.mark.parametrize("dense", [False, True], ids=["rank one", "whole"])
@pytest.mark.parametrize(("family", "decoder"), KINDS)
def test_a_baked_edit_is_the_applied_one_and_unbaking_gives_every_bit_back(family, decoder, dense):
    vlm, question = tiny(family, decoder)
    before, said, state = bits(vlm), logits_of(vlm, question), vlm.state
    edit = drawn(vlm, question, 1, dense=dense)
    with edit:
        applied = logits_of(vlm, question)
    assert float((applied - said).abs().max()) > 1e-2
    assert edit.bake() == ()
    changed = [name for name, value in bits(vlm).items() if not torch.equal(value, before[name])]
    assert changed == [f"{edit.site}.weight"]
    assert float((logits_of(vlm, question) - applied).abs().max()) <= 1e-5 * max(1.0, float(applied.abs().max()))
    assert (edit.baked, edit.applied) == (True, False)
    assert "in the weights" in repr(edit)
    edit.unbake()
    assert same(bits(vlm), before)
    assert torch.equal(logits_of(vlm, question), said)
    assert (edit.baked, vlm.state) == (False, state)


def test_a_model_saved_with_a_baked_edit_says_the_target_without_this_package(tmp_path):
    from transformers import LlavaForConditionalGeneration

    vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
    edit = mw.multedit(vlm, question, "Rome", layer=2)
    edit.bake()
    vlm.model.save_pretrained(tmp_path)
    edit.unbake()
    assert mw.ask(vlm, question).text == "Paris"
    saved: Any = LlavaForConditionalGeneration.from_pretrained(tmp_path).eval()
    inputs = vlm.encode(question).inputs
    told = saved.generate(**inputs, max_new_tokens=4, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert vlm.tokenizer.decode(told, skip_special_tokens=True).strip() == "Rome"


def test_edits_baked_together_are_solved_together_over_several_layers(vlm, question):
    edits = Edits([drawn(vlm, question, layer, seed) for seed, layer in enumerate((1, 1, 4))])
    with edits:
        applied = logits_of(vlm, question)
    one_by_one = sum(edit.change()[edit.site] for edit in edits.edits[:2])
    assert float((edits.change()[edits.edits[0].site] - one_by_one).norm()) > 1e-3
    before = bits(vlm)
    edits.bake()
    assert float((logits_of(vlm, question) - applied).abs().max()) <= 1e-5 * float(applied.abs().max())
    edits.unbake()
    assert same(bits(vlm), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_edits_of_one_layer_come_out_in_any_order_and_leave_what_the_others_make(vlm, question, order, dtype):
    torch.nn.Module.to(vlm.model, dtype)
    edits = [drawn(vlm, question, 2, seed) for seed in range(3)]
    before = bits(vlm)
    for edit in edits:
        edit.bake()
    for at, out in enumerate(order):
        edits[out].unbake()
        found, state = bits(vlm), vlm.state
        left = [edits[i] for i in sorted(order[at + 1 :])]
        for edit in left:
            edit.unbake()
        assert same(bits(vlm), before)
        for edit in left:
            edit.bake()
        assert same(bits(vlm), found)
        assert vlm.state == state


def test_one_of_two_baked_together_comes_out_and_leaves_the_other_as_it_is_alone(vlm, question):
    one, other = drawn(vlm, question, 2, 0), drawn(vlm, question, 2, 1)
    other.bake()
    alone = bits(vlm)
    other.unbake()
    (one + other).bake()
    assert not same(bits(vlm), alone)
    one.unbake()
    assert same(bits(vlm), alone)
    assert (one.baked, other.baked) == (False, True)


def test_the_state_tells_how_edits_were_baked_and_with_which_lambda(vlm, question):
    one, other = drawn(vlm, question, 2, 0), drawn(vlm, question, 2, 1)
    states = [vlm.state]
    one.bake()
    states.append(vlm.state)
    other.bake()  # after, and so not solved together
    states.append(vlm.state)
    (one + other).unbake()
    assert vlm.state == states[0]
    (one + other).bake()
    states.append(vlm.state)
    (one + other).unbake()
    one.lam = 2.0
    one.bake()
    states.append(vlm.state)
    assert len(set(states)) == len(states)


def test_baking_an_applied_edit_reverts_it_first_and_leaves_others_applied(vlm, question):
    one, other = drawn(vlm, question, 2, 0), drawn(vlm, question, 4, 1)
    with one + other:
        both = logits_of(vlm, question)
        one.bake()
        assert vlm.side_terms.active == other.terms
        assert float((logits_of(vlm, question) - both).abs().max()) <= 1e-5 * float(both.abs().max())
    assert one.baked


@pytest.mark.parametrize("share", [0.1, 1e-2, 1e-4])
def test_what_half_precision_swallows_is_told_with_the_measured_share(vlm, question, share):
    torch.nn.Module.to(vlm.model, torch.bfloat16)
    before = bits(vlm)
    edit = drawn(vlm, question, 2)
    weight = vlm.projection(2).weight.detach().double()
    key, residual = edit.term.key, edit.term.residual
    size = share * float(weight.norm() * key.norm() / residual.norm())  # |D| is then `share` of |W|
    edit.term = term = RidgeTerm(2, key, size * residual, 0.0)
    (told,) = edit.bake()
    key, residual = term.key.double(), term.residual.double()
    wanted = torch.outer(residual, key) / key.square().sum()
    made = vlm.projection(2).weight.detach().double() - weight
    at_key = float((made @ key) @ residual / residual.square().sum())
    error = float((made - wanted).norm() / wanted.norm())
    assert "bfloat16" in told
    arrives, lost = (float(x) / 100 for x in re.findall(r"([\d.]+)%", told)[:2])
    assert arrives == pytest.approx(at_key, abs=6e-4)
    assert lost == pytest.approx(error, abs=6e-4, rel=1e-3)
    assert (lost > 0.9) is (share < 1e-3), (arrives, lost)
    edit.unbake()
    assert same(bits(vlm), before)


def test_a_weight_that_overflows_is_refused_and_left(vlm, question):
    torch.nn.Module.to(vlm.model, torch.float16)
    before = bits(vlm)
    edit = drawn(vlm, question, 2)
    edit.terms[0].residual *= 1e7
    with pytest.raises(EditError, match="overflows float16"):
        edit.bake()
    assert same(bits(vlm), before)


def test_what_is_in_the_weights_counts_once(vlm, question):
    edit, other = drawn(vlm, question, 2), drawn(vlm, question, 2, 1)
    edit.bake()
    found = bits(vlm)
    for action in (edit.bake, (edit + other).bake, edit.apply, edit.__enter__, (edit + other).apply):
        with pytest.raises(EditError, match=r"unbake\(\) first"):
            action()
    with pytest.raises(EditError, match=r"unbake\(\) first"):
        edit.lam = 0.1
    with pytest.raises(EditError, match="nothing to take out"):
        (edit + other).unbake()
    assert same(bits(vlm), found)
    assert vlm.side_terms.active == ()


def test_what_was_not_baked_cannot_be_taken_out(vlm, question):
    with pytest.raises(EditError, match="not in the model's weights"):
        drawn(vlm, question, 2).unbake()


def train(vlm):
    with torch.no_grad():
        vlm.projection(2).weight[3, 4] += 1e-3


def convert(vlm):
    torch.nn.Module.to(vlm.model, torch.float64)


@pytest.mark.parametrize("change", [train, convert])
def test_a_weight_that_something_else_changed_is_neither_overwritten_nor_edited(vlm, question, change):
    edit = drawn(vlm, question, 2)
    edit.bake()
    change(vlm)
    found = bits(vlm)
    with pytest.raises(EditError, match="not what bake"):
        edit.unbake()
    with pytest.raises(EditError, match="not what bake"):
        drawn(vlm, question, 2, 1).bake()
    assert same(bits(vlm), found)


def test_quantised_weights_are_refused_in_a_sentence(question):
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    processor = build_processor()
    model = build_model(len(processor.tokenizer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_(model, Int8WeightOnlyConfig())
    vlm = mw.load(model, processor)
    before = logits_of(vlm, question)
    edit = drawn(vlm, question, 2)
    with pytest.raises(EditError, match="quantised"):
        edit.bake()
    assert torch.equal(logits_of(vlm, question), before)
    with edit:
        assert not torch.equal(logits_of(vlm, question), before)


def test_weights_kept_on_disk_are_refused_and_those_in_memory_are_baked(vlm, question, tmp_path):
    random_vlm().model.save_pretrained(tmp_path / "model")
    random_vlm().processor.save_pretrained(tmp_path / "model")
    decoder = "model.language_model"
    parts = ["model.vision_tower", "model.multi_modal_projector", f"{decoder}.embed_tokens", f"{decoder}.norm"]
    parts += ["lm_head", f"{decoder}.rotary_emb", *(f"{decoder}.layers.{layer}" for layer in range(6))]
    device_map = {part: "disk" if part.endswith("layers.2") else "cpu" for part in parts}
    divided = mw.load(tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "rest", dtype="float32")
    here, away = drawn(divided, question, 3), drawn(divided, question, 2)
    before = logits_of(divided, question)
    with pytest.raises(EditError, match="kept elsewhere"):
        (here + away).bake()
    assert torch.equal(logits_of(divided, question), before)
    here.bake()
    twin = drawn(vlm, question, 3)
    with twin:
        assert float((logits_of(divided, question) - logits_of(vlm, question)).abs().max()) <= 1e-4
    here.unbake()
    assert torch.equal(logits_of(divided, question), before)


@pytest.mark.parametrize("action", ["bake", "unbake"])
@pytest.mark.parametrize("when", ["before", "amid", "after"])
def test_an_interrupt_leaves_all_or_nothing(vlm, question, monkeypatch, action, when):
    edits = Edits([drawn(vlm, question, layer) for layer in (1, 4)])
    edits.edits[0].apply()
    states = [bits(vlm)]
    edits.bake()
    states.append(bits(vlm))
    if action == "bake":
        edits.unbake()
        edits.edits[0].apply()
    calls = []

    def interrupted(real):
        def once(*args, **kwargs):
            calls.append(real)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return once

    if when == "before":
        monkeypatch.setattr(weights, "_present", interrupted(weights._present))
    elif when == "amid":
        monkeypatch.setattr(type(vlm), "projection", interrupted_in_exchange(type(vlm).projection, calls))
    else:
        real = SideTerms.note_baked

        def noted(self, groups):
            calls.append(real)
            if len(calls) == 1:
                raise KeyboardInterrupt
            real(self, groups)

        monkeypatch.setattr(SideTerms, "note_baked", noted)
    with pytest.raises(KeyboardInterrupt):
        getattr(edits, action)()
    monkeypatch.undo()
    assert calls
    done = when != "before"
    assert same(bits(vlm), states[done is (action == "bake")])
    assert edits.baked is (done is (action == "bake"))
    assert vlm.side_terms.active == (() if done or action == "unbake" else edits.edits[0].terms)
    getattr(edits, "unbake" if edits.baked else "bake")()


def interrupted_in_exchange(real, calls):
    """An interrupt after one of two weights was written."""

    def projection(self, layer):
        caller = sys._getframe(1)
        if caller.f_code.co_name == "exchange" and caller.f_globals["__name__"] == weights.__name__:
            calls.append(layer)
            if len(calls) == 2:
                raise KeyboardInterrupt
        return real(self, layer)

    return projection

"""Edits in files: what was saved comes back to the bit, on the model it belongs to and on no other."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mllm_widgets as mw
from mllm_widgets.editing.edit import Edits
from mllm_widgets.errors import EditError
from mllm_widgets.vlm.side_terms import FixedTerm

from .drawn_edits import drawn, logits_of
from .families.tiny import in_dtype, tiny
from .random_llava import build_model, build_processor, random_question, random_vlm

LATER = "99"


@pytest.fixture(scope="module")
def demo():
    return mw.load()


@pytest.fixture(scope="module")
def question():
    return mw.datasets.demo_question("Eiffel Tower")


@pytest.fixture(scope="module")
def edit(demo, question):
    return mw.multedit(demo, question, "Rome", layer=2, lam=0.1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "edit.safetensors"


def random_edit(layer=2, seed=0, **more):
    return drawn(random_vlm(), random_question(), layer, seed, **more)


def rewritten(path, header=None, tensors=None, content=None):
    """The file with another header, other tensors, or a content changed by a function."""
    with safe_open(path, framework="pt") as file:
        kept = file.metadata()
    if content is not None:
        inner = json.loads(kept["content"])
        content(inner)
        kept["content"] = json.dumps(inner)
    held = load_file(path)
    if tensors is not None:
        tensors(held)
    save_file(held, path, {**kept, **(header or {})})


def test_an_edit_comes_back_as_it_was_and_does_the_same_to_the_bit(demo, question, edit, path):
    edit.save(path)
    loaded = mw.load_edit(path, demo)
    for field in dataclasses.fields(edit):
        one, other = getattr(edit, field.name), getattr(loaded, field.name)
        if isinstance(one, torch.Tensor):
            assert torch.equal(one, other), field.name
        elif field.name not in ("question", "term", "answer", "vlm"):
            assert one == other, field.name
            assert type(one) is type(other), field.name
    assert (loaded.lam, loaded.strength, loaded.site) == (edit.lam, edit.strength, edit.site)
    assert torch.equal(loaded.residual, edit.residual)
    assert np.array_equal(loaded.answer.probabilities, edit.answer.probabilities)
    assert loaded.answer.top(5) == edit.answer.top(5)
    assert (str(loaded.answer), loaded.answer.token_id) == ("Paris", edit.answer.token_id)
    with edit:
        wanted = logits_of(demo, question)
    assert not loaded.applied
    with loaded:
        assert torch.equal(logits_of(demo, question), wanted)


def test_the_words_of_the_question_are_kept_and_its_picture_is_not(demo, edit, path, question):
    asked = mw.Question(
        question.image, "Is this old? Which city is this in?", "this", ("city",), answer="Paris", occurrence=1
    )
    dataclasses.replace(edit, question=asked).save(path)
    loaded = mw.load_edit(path, demo)
    for name in ("text", "constraint", "text_constraints", "answer", "occurrence"):
        assert getattr(loaded.question, name) == getattr(asked, name)
    assert loaded.question.image is None
    pixels = np.asarray(asked.image).size
    assert sum(value.numel() for value in load_file(path).values()) < 10_000 < pixels
    again = mw.load_edit(path, demo, image=question.image)
    assert np.array_equal(np.asarray(again.question.image), np.asarray(question.image))
    assert demo.encode(again.question).constraint == demo.encode(asked).constraint


def test_the_file_says_what_it_is_for(demo, edit, path):
    edit.save(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    assert (header["format"], header["version"]) == ("mllm_widgets edit", "1")
    content = json.loads(header["content"])
    assert content["model"] == {
        "class": "LlavaForConditionalGeneration",
        "layers": 8,
        "widths": [128, 320],
        "name": "demo",
        "revision": None,
    }
    (record,) = content["edits"]
    assert record["site"] == "model.language_model.layers.2.mlp.down_proj"
    assert (record["method"], record["layer"], record["lam"], record["target"]) == ("multedit", 2, 0.1, "Rome")
    assert content["packages"]["torch"].startswith(torch.__version__.split("+")[0])


def test_several_edits_are_one_file_and_are_still_solved_together(path):
    vlm, asked = random_vlm(), random_question()
    edits = Edits([random_edit(layer, seed) for seed, layer in enumerate((1, 1, 4))])
    edits.save(path)
    loaded = mw.load_edit(path, vlm)
    assert isinstance(loaded, Edits)
    assert [edit.layer for edit in loaded] == [1, 1, 4]
    with edits:
        wanted = logits_of(vlm, asked)
    with loaded:
        assert torch.equal(logits_of(vlm, asked), wanted)
    pictures = [np.full((9, 9, 3), value, np.uint8) for value in (0, 100, 200)]
    with_pictures = mw.load_edit(path, vlm, image=pictures)
    assert [np.asarray(edit.question.image)[0, 0, 0] for edit in with_pictures] == [0, 100, 200]
    with pytest.raises(EditError, match="2 pictures"):
        mw.load_edit(path, vlm, image=pictures[:2])


def test_one_edit_saved_as_several_comes_back_as_several(path):
    Edits([random_edit()]).save(path)
    assert isinstance(mw.load_edit(path, random_vlm()), Edits)


@pytest.mark.parametrize("columns", [None, 1, 2])
def test_a_change_as_it_is_comes_back_and_does_the_same_to_the_bit(path, columns):
    vlm, asked, made = random_vlm(), random_question(), random_edit(dense=True)
    if columns:
        made.term = FixedTerm(2, torch.randn(54, columns), torch.randn(columns, 77))
    made.method = "lora"
    made.save(path)
    loaded = mw.load_edit(path, vlm)
    assert loaded.method == "lora"
    assert torch.equal(loaded.change()[loaded.site], made.change()[made.site])
    with made:
        wanted = logits_of(vlm, asked)
    with loaded:
        assert torch.equal(logits_of(vlm, asked), wanted)
    # where tensors lie decides in which order some kernels sum
    assert all(tensor.data_ptr() % 64 == 0 for tensor in (loaded.term.left, loaded.term.right) if tensor is not None)


@pytest.mark.parametrize(("family", "decoder"), [("GPT-2", "no picture"), ("Phi", "no picture"), ("Qwen2-VL", "Qwen2")])
def test_every_kind_of_model_knows_its_edits(family, decoder, path):
    vlm, asked = tiny(family, decoder)
    made = drawn(vlm, asked, 1)
    made.save(path)
    with made:
        wanted = logits_of(vlm, asked)
    with mw.load_edit(path, vlm):
        assert torch.equal(logits_of(vlm, asked), wanted)


@pytest.mark.parametrize("saved", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loaded", [torch.float32, torch.bfloat16, torch.float16])
def test_an_edit_loads_on_the_same_model_in_another_precision(path, saved, loaded):
    one, other = (in_dtype(random_vlm(), dtype)[0] for dtype in (saved, loaded))
    made = drawn(one, random_question(), 2)
    made.save(path)
    assert torch.equal(mw.load_edit(path, other).residual, made.residual)


def other_weights():
    processor = build_processor()
    return mw.load(build_model(len(processor.tokenizer), seed=6), processor)


def trained_a_little(share=1e-3):
    """The same model after some training, as it might be of the same name."""
    vlm = mw.load(copy.deepcopy(random_vlm().model), random_vlm().processor)
    part: Any = vlm.projection(2)
    with torch.no_grad():
        part.weight *= 1 + share
    return vlm


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: tiny("GPT-2", "no picture")[0], "belongs to a LlavaForConditionalGeneration .*GPT2LMHeadModel"),
        (mw.load, "number of layers is 6, and 'demo' has 8"),
        (lambda: tiny("LLaVA-1.5", "Phi")[0], "expected the model it was made on"),
        (other_weights, "other weights in layer 2"),
        (trained_a_little, "other weights in layer 2"),
    ],
)
def test_another_model_is_refused_in_a_sentence(path, other, said):
    random_edit().save(path)
    with pytest.raises(EditError, match=said):
        mw.load_edit(path, other())


def test_the_demo_model_s_twin_is_another_model(edit, path):
    edit.save(path)
    with pytest.raises(EditError, match="other weights in layer 2 than 'demo-ordinary' has"):
        mw.load_edit(path, mw.load("demo-ordinary"))


def test_what_half_precision_cannot_show_is_let_through_and_more_is_not(path):
    random_edit().save(path)
    for share, refused in ((1e-3, False), (0.05, True)):
        vlm = trained_a_little(share)
        torch.nn.Module.to(vlm.model, torch.bfloat16)
        if refused:
            with pytest.raises(EditError, match="other weights"):
                mw.load_edit(path, vlm)
        else:
            mw.load_edit(path, vlm)


def quantised(seed=5):
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    processor = build_processor()
    model = build_model(len(processor.tokenizer), seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_(model, Int8WeightOnlyConfig())
    return mw.load(model, processor)


def test_quantised_models_know_their_edits_and_refuse_others(path, tmp_path):
    """Either way: made in float32 for int8, and made in int8 for float32; whatever is applied meanwhile."""
    made = random_edit()
    made.term.residual *= 1000  # so that the weights' own outputs are nothing beside it
    made.save(path)
    small = quantised()
    loaded = mw.load_edit(path, small)
    with loaded:
        mw.load_edit(path, small)
        loaded.save(tmp_path / "back.safetensors")
    assert mw.load_edit(tmp_path / "back.safetensors", random_vlm()).lam == loaded.lam
    for file, other in ((path, quantised(6)), (tmp_path / "back.safetensors", other_weights())):
        with pytest.raises(EditError, match="other weights"):
            mw.load_edit(file, other)


def test_models_on_disk_know_their_edits_and_refuse_others(path, tmp_path):
    def on_disk(vlm, name):
        vlm.model.save_pretrained(tmp_path / name)
        vlm.processor.save_pretrained(tmp_path / name)
        parts = ["model.vision_tower", "model.multi_modal_projector", "lm_head", "model.language_model"]
        device_map = {part: "disk" if part.endswith("language_model") else "cpu" for part in parts}
        return mw.load(tmp_path / name, device_map=device_map, offload_folder=tmp_path / f"{name}-rest")

    random_edit().save(path)
    same, other = on_disk(random_vlm(), "same"), on_disk(other_weights(), "other")
    assert same.projection(2).weight.is_meta
    loaded = mw.load_edit(path, same)
    with loaded, random_edit():
        one, two = logits_of(same, random_question()), logits_of(random_vlm(), random_question())
        assert float((one - two).abs().max()) <= 1e-4
    with pytest.raises(EditError, match="other weights"):
        mw.load_edit(path, other)


def test_an_applied_edit_makes_no_other_model_and_a_baked_one_does(path, tmp_path):
    """Applied twice it would count twice, and a file cannot know that it is in the weights."""
    vlm = random_vlm()
    made = random_edit()
    with made:
        made.save(path)
        mw.load_edit(path, vlm)
    made.bake()
    try:
        made.save(tmp_path / "baked.safetensors")
        with pytest.raises(EditError, match=r"unbake\(\) that first"):
            mw.load_edit(path, vlm)
        fresh = build_model(len(vlm.tokenizer))
        assert mw.load_edit(tmp_path / "baked.safetensors", mw.load(fresh, vlm.processor)).lam == made.lam
    finally:
        made.unbake()
    mw.load_edit(tmp_path / "baked.safetensors", vlm)


def test_a_file_is_not_written_over_another_unless_asked(path):
    random_edit(seed=0).save(path)
    found = path.read_bytes()
    with pytest.raises(EditError, match="overwrite=True"):
        random_edit(seed=1).save(path)
    assert path.read_bytes() == found
    random_edit(seed=1).save(path, overwrite=True)
    assert path.read_bytes() != found
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("how", [KeyboardInterrupt, OSError])
def test_what_stops_the_writing_leaves_the_old_file_and_no_half_one(path, monkeypatch, how):
    random_edit(seed=0).save(path)
    found = path.read_bytes()

    def stopped(_tensors, part, _header):
        part.write_bytes(b"half")
        raise how("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", stopped)
    with pytest.raises(EditError if how is OSError else how, match="disk full"):
        random_edit(seed=1).save(path, overwrite=True)
    assert path.read_bytes() == found
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("", "is no path"),
        (3, "is no path"),
        ("folder", "is a folder"),
        ("none/edit.safetensors", "its folder does not exist"),
    ],
)
def test_where_nothing_can_be_written_is_said_in_a_sentence(tmp_path, where, said):
    (tmp_path / "folder").mkdir()
    with pytest.raises(EditError, match=said):
        random_edit().save(tmp_path / where if isinstance(where, str) and where else where)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def beginning_only(path):
    path.write_bytes(path.read_bytes()[:100])


def foreign(path):
    save_file({"weight": torch.zeros(3)}, path)


def tensor_gone(path):
    rewritten(path, tensors=lambda held: held.pop("0.term.residual"))


def sample_gone(path):
    rewritten(path, tensors=lambda held: held.pop("layer.2"))


def wrong_width(path):
    rewritten(path, tensors=lambda held: held.update({"0.term.residual": torch.zeros(3)}))


def not_finite(path):
    rewritten(path, tensors=lambda held: held["0.term.key"].fill_(float("nan")))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
        (lambda path: path.write_bytes(b""), "cannot be read as safetensors"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(range(256)) * 9), "cannot be read as safetensors"),
        (cut, "cannot be read as safetensors"),
        (beginning_only, "cannot be read as safetensors"),
        (foreign, "holds tensors, but no edit"),
        (lambda path: rewritten(path, {"version": LATER}), "of version 99 .* install a later one"),
        (lambda path: rewritten(path, {"version": "new"}), "is damaged"),
        (lambda path: rewritten(path, {"content": "{"}), "is damaged"),
        (lambda path: rewritten(path, {"content": "[]"}), "is damaged"),
        (tensor_gone, "is damaged.*term.residual"),
        (sample_gone, "is damaged.*layer.2"),
        (wrong_width, r"is damaged.*\(3,\)"),
        (not_finite, "is damaged.*finite"),
        (lambda path: rewritten(path, content=lambda c: c["edits"][0].pop("reached")), "is damaged.*reached"),
        (lambda path: rewritten(path, content=lambda c: c["edits"][0].update(layer=99)), "is damaged"),
        (lambda path: rewritten(path, content=lambda c: c["edits"][0].update(layer=-1)), "is damaged"),
        (lambda path: rewritten(path, content=lambda c: c["edits"][0].update(lam=-1)), "lam=-1"),
        (lambda path: rewritten(path, content=lambda c: c["edits"].clear()), "is damaged"),
        (lambda path: rewritten(path, content=lambda c: c.update(samples={})), "is damaged"),
        (lambda path: rewritten(path, content=lambda c: c["samples"]["2"].update(dtype="cos")), "is damaged"),
        (lambda path: rewritten(path, content=lambda c: c["edits"][0]["question"].update(text="")), "is damaged"),
    ],
)
def test_a_file_that_is_no_whole_edit_is_refused_in_a_sentence(path, harm, said):
    random_edit().save(path)
    harm(path)
    with pytest.raises(EditError, match=said):
        mw.load_edit(path, random_vlm())


def test_what_is_no_model_is_said_in_a_sentence(path):
    random_edit().save(path)
    with pytest.raises(EditError, match="vlm is a str"):
        mw.load_edit(path, "demo")  # type: ignore[arg-type]

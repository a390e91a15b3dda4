"""InternVL on tiny random models of the real class: encoding, tracing, tiles and thumbnail, and what a run leaves behind."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
import torch
from transformers import InternVLProcessor

import mllm_widgets as mw
from mllm_widgets.errors import ModelError
from mllm_widgets.tracing import prepare_trace, run_trace
from mllm_widgets.vlm.families.base import part
from tests.reference import MODULES, reference_map

from .random_internvl import SIDE, TEXTS, build_model, build_processor, random_internvl
from .random_qwen import random_question

TOLERANCE = 1e-5  # between two orders of the same float32 sums
# size of the picture -> (columns, rows) of its tiles
CANVASES = {(70, 40): (3, 2), (30, 90): (1, 3), (60, 60): (2, 2), (150, 40): (4, 1), (20, 20): (1, 1)}


@pytest.fixture(scope="module", params=list(TEXTS))
def vlm(request):
    return random_internvl(request.param)


@pytest.fixture(scope="module")
def setup(vlm):
    return prepare_trace(vlm, random_question(size=(70, 40)), corruption="Taj Mahal")


@pytest.fixture(scope="module")
def local():
    """A model whose visual tokens know their own pixels only: every layer of the vision tower adds nothing."""
    processor = build_processor()
    model = build_model(processor.tokenizer)
    with torch.no_grad():
        for layer in model.model.vision_tower.encoder.layer:
            layer.lambda_1.zero_()
            layer.lambda_2.zero_()
    return mw.load(model, processor)


@torch.no_grad()
def visual_tokens(vlm, question):
    """(visual tokens, width) as they stand in the sequence."""
    features = vlm.model.get_image_features(vlm.encode(question).inputs["pixel_values"]).pooler_output
    return features.flatten(0, 1)


def test_a_question_is_encoded_with_what_the_model_takes(vlm):
    encoded = vlm.encode(random_question(size=(70, 40)))
    assert encoded.inputs["pixel_values"].shape == (7, 3, 24, 24)
    assert set(encoded.inputs) == {"input_ids", "attention_mask", "pixel_values"}
    assert encoded.visual.sum() == 7 * SIDE**2
    around = np.flatnonzero(encoded.visual)[[0, -1]] + [-1, 1]
    assert [encoded.tokens[i].text for i in around] == ["<img>", "</img>"]
    words = "".join(encoded.tokens[i].text for i in encoded.constraint)
    assert words.strip() == "this old bridge"


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("module", MODULES)
def test_map_equals_the_reference(vlm, setup, window, module):
    restored = run_trace(setup, window=window, modules=(module,)).restored.values[0]
    wanted = reference_map(vlm, setup, module, window)
    effects = np.abs(wanted - setup.corrupted)[:, np.array(setup.text_positions) >= setup.first]
    # a flat map would agree with anything
    assert effects.max() > 0.05
    assert np.median(effects) > 1e-4
    assert wanted.std() > 0.01
    assert np.abs(restored - wanted).max() <= TOLERANCE


def test_a_template_of_ones_own_works(vlm):
    own = mw.load(vlm.model, vlm.processor, template="{image}\n{question} It is")
    setup = prepare_trace(own, random_question(), corruption="Taj Mahal")
    restored = run_trace(setup, modules=("mlp",)).restored.values[0]
    assert np.abs(restored - reference_map(own, setup, "mlp", 1)).max() <= TOLERANCE


def test_to_code_prints_the_cell(setup, tmp_path, capsys):
    trace = run_trace(setup)
    token = trace.constraint[-1]
    script = tmp_path / "cell.py"
    script.write_text(trace.to_code(layer=1, token=token, module="mlp"))
    runpy.run_path(str(script), {"vlm": setup.vlm})
    assert abs(float(capsys.readouterr().out) - float(trace.restored.sel(module="mlp", layer=1, token=token))) <= 1e-4


def test_the_prefix_is_shared(vlm, setup):
    assert vlm.family.shares_prefix(vlm.model)
    assert setup.start == setup.encoded.constraint[0] > setup.encoded.visual.sum()
    assert setup.continuation.prefix.get_seq_length() == setup.start


@pytest.mark.parametrize("size", CANVASES, ids=lambda size: "{}x{}".format(*size))
def test_the_tokens_over_changed_pixels_change(local, size):
    question = random_question(size=size)
    geometry = local.geometry(question)
    before = visual_tokens(local, question)
    columns, rows = CANVASES[size]
    tiles = [grid for grid in geometry.grids if grid.kind != "thumbnail"]
    assert len(tiles) == columns * rows
    assert [grid.kind for grid in geometry.grids[len(tiles) :]] == ["thumbnail"] * (len(tiles) > 1)
    assert geometry.count == len(before) == len(geometry.grids) * SIDE**2
    assert all(grid.shape == (SIDE, SIDE) for grid in geometry.grids)
    for number in sorted({0, columns - 1, len(tiles) // 2, len(tiles) - 1}):
        grid = tiles[number]
        for row, column in ((0, 0), (0, SIDE - 1), (1, 1), (SIDE - 1, 0)):
            token = int(grid.tokens[row, column])
            left, top, right, bottom = geometry.boxes[token]
            over = geometry.tokens_at((left + right) / 2, (top + bottom) / 2)
            assert over[0] == token
            assert len(over) == (2 if len(tiles) > 1 else 1)
            x, y, width, height = (left + right) / 2, (top + bottom) / 2, (right - left) / 4, (bottom - top) / 4
            pixels = np.array(question.image)
            inside = np.s_[round(y - height) : round(y + height) + 1, round(x - width) : round(x + width) + 1]
            pixels[inside] = 255 if pixels[inside].mean() < 128 else 0
            moved = (visual_tokens(local, mw.Question(pixels, question.text)) - before).norm(dim=-1)
            fine = len(tiles) * SIDE**2
            assert int(moved[:fine].argmax()) == token
            if len(over) > 1:
                assert fine + int(moved[fine:].argmax()) == over[1]


def test_tiles_that_are_not_the_settings_own_are_refused():
    vlm = random_internvl()
    question = random_question(size=(70, 40))
    inputs = vlm.encode(question).inputs
    with pytest.raises(ModelError, match="into 7 tiles, thumbnail included"):
        vlm.family.geometry(build_processor(max_patches=3), vlm.model, inputs, question.image)


def test_values_and_projections_are_where_the_family_says(vlm):
    family, text = vlm.family, vlm.model.model.language_model.config
    attention, mlp = vlm.block(0, "self_attn"), vlm.block(0, "mlp")
    head = attention.head_dim
    assert part(attention, family.value).weight.shape == (text.num_key_value_heads * head, text.hidden_size)
    assert part(attention, family.output).weight.shape == (text.hidden_size, text.num_attention_heads * head)
    assert part(mlp, family.down).weight.shape == (text.hidden_size, text.intermediate_size)
    assert part(vlm.model, family.head).weight.shape == (text.vocab_size, text.hidden_size)


def test_a_run_leaves_nothing_behind(vlm):
    model, question = vlm.model, random_question()
    with torch.no_grad():
        model(
            **vlm.encode(question).inputs
        )  # at its first run Hugging Face hooks the vision tower's layers to capture them
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    names = {name: set(vars(module)) for name, module in model.named_modules()}
    attention = model.config._attn_implementation
    run_trace(prepare_trace(vlm, question, corruption="Taj Mahal"))
    mw.ask(vlm, question)
    assert model.config._attn_implementation == attention
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert {name: set(vars(module)) for name, module in model.named_modules()} == names
    assert [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()] == hooks


def test_a_saved_model_loads_whether_or_not_there_is_torchvision(vlm, tmp_path):
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    loaded = mw.load(str(tmp_path))
    assert isinstance(loaded.processor, InternVLProcessor)
    wanted, inputs = (each.encode(random_question(size=(70, 40))).inputs for each in (vlm, loaded))
    assert all(torch.equal(inputs[name], value) for name, value in wanted.items())

"""Qwen-VL on tiny random models of the real classes: encoding, tracing, places of visual tokens, and what a run leaves behind."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.tracing import prepare_trace, run_trace
from mllm_widgets.tracing.engine import order_cells, restored_scores
from mllm_widgets.tracing.packing import Shortcuts, corrupted_run
from mllm_widgets.vlm.families.base import part
from tests.reference import MODULES, reference_map

from .random_qwen import (
    BUILDERS,
    qwen2_vl,
    qwen3_vl,
    random_question,
    random_qwen,
)

TOLERANCE = 1e-5  # between two orders of the same float32 sums
SIZES = {"landscape": (64, 32), "portrait": (30, 70), "square": (40, 40), "small": (20, 17), "large": (301, 190)}


@pytest.fixture(scope="module", params=list(BUILDERS))
def vlm(request):
    return random_qwen(request.param)


@pytest.fixture(scope="module")
def setup(vlm):
    return prepare_trace(vlm, random_question(), corruption="Taj Mahal")


def local_encoder(model):
    """Visual tokens that know their own pixels only: every block of the vision tower adds nothing."""
    with torch.no_grad():
        for block in model.model.visual.blocks:
            for name, parameter in block.named_parameters():
                if not name.startswith("norm"):
                    parameter.zero_()
    return model


@torch.no_grad()
def visual_tokens(vlm, question):
    """(visual tokens, width) as they stand in the sequence."""
    inputs = vlm.encode(question).inputs
    features = vlm.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
    return torch.cat(list(features.pooler_output))


def test_a_question_is_encoded_with_what_the_model_takes(vlm):
    encoded = vlm.encode(random_question())
    grid = encoded.inputs["image_grid_thw"]
    assert encoded.inputs["pixel_values"].dtype == vlm.model.dtype
    assert not grid.is_floating_point()
    assert encoded.visual.sum() == grid.prod() // 4 >= 6
    assert (encoded.inputs["mm_token_type_ids"][0].numpy() == encoded.visual).all()
    words = "".join(encoded.tokens[i].text for i in encoded.constraint)
    assert words.strip() == "this old bridge"
    assert encoded.prompt.startswith("<|im_start|>user\n<|vision_start|>")


def test_half_precision_casts_the_pixels_and_no_index():
    model, processor = qwen2_vl()
    inputs = mw.load(torch.nn.Module.to(model, torch.bfloat16), processor).encode(random_question()).inputs
    assert inputs["pixel_values"].dtype == torch.bfloat16
    assert {inputs[name].dtype for name in ("image_grid_thw", "mm_token_type_ids", "input_ids")} == {torch.int64}


def test_a_template_of_ones_own_works(vlm):
    own = mw.load(vlm.model, vlm.processor, template="<|vision_start|>{image}<|vision_end|>{question} It is")
    setup = prepare_trace(own, random_question(), corruption="Taj Mahal")
    restored = run_trace(setup, modules=("mlp",)).restored.values[0]
    assert np.abs(restored - reference_map(own, setup, "mlp", 1)).max() <= TOLERANCE


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("module", MODULES)
def test_map_equals_the_reference(vlm, setup, window, module):
    restored = run_trace(setup, window=window, modules=(module,)).restored.values[0]
    wanted = reference_map(vlm, setup, module, window)
    effects = np.abs(wanted - setup.corrupted)[:, np.array(setup.text_positions) >= setup.first]
    # a flat map would agree with anything
    assert effects.max() > 0.1
    assert np.median(effects) > 1e-4
    assert wanted.std() > 0.02
    assert np.abs(restored - wanted).max() <= TOLERANCE


def test_cells_are_packed_and_equal_rows_of_a_batch(setup):
    cells = order_cells(setup, 2)[slice(0, 20)]
    with setup.vlm.running():
        assert corrupted_run(setup) is not None
        packed, rows = (restored_scores(setup, MODULES, cells, 1, Shortcuts(packed=packed)) for packed in (True, False))
    assert packed.std() > 1e-3
    assert np.abs(packed - rows).max() <= TOLERANCE


def test_to_code_prints_the_cell(setup, tmp_path, capsys):
    trace = run_trace(setup)
    token = trace.constraint[-1]
    script = tmp_path / "cell.py"
    script.write_text(trace.to_code(layer=1, token=token, module="mlp"))
    runpy.run_path(str(script), {"vlm": setup.vlm})
    assert abs(float(capsys.readouterr().out) - float(trace.restored.sel(module="mlp", layer=1, token=token))) <= 1e-4


def test_suffixes_take_positions_from_the_grid(vlm, setup):
    """Text goes on from the larger side of the picture's grid, in all three dimensions."""
    positions = setup.continuation.positions
    rows, columns = (setup.encoded.inputs["image_grid_thw"][0, 1:] // 2).tolist()
    assert positions.shape == (3, 1, len(setup.encoded.input_ids) - setup.start)
    assert (positions == positions[:1]).all()
    before = setup.start - rows * columns
    assert positions[0, 0, 0] == before + max(rows, columns) < setup.start


def test_a_wrong_position_would_show(vlm, setup):
    """The maps above would not notice lost positions if these models did not care for them."""
    inputs = setup.continuation.inputs(setup.clean_embeds)
    plain = torch.arange(setup.start, len(setup.encoded.input_ids)).expand_as(inputs["position_ids"])
    with torch.no_grad():
        right = vlm.model(**setup.continuation.inputs(setup.clean_embeds)).logits[0, -1].softmax(-1)
        wrong = vlm.model(**{**inputs, "position_ids": plain}).logits[0, -1].softmax(-1)
    assert abs(float(right[setup.answer_id]) - setup.clean) <= TOLERANCE
    assert float((right - wrong).abs().max()) > 1e-3


def test_the_prefix_is_shared(vlm, setup):
    assert vlm.family.shares_prefix(vlm.model)
    assert setup.start == setup.encoded.constraint[0] > setup.encoded.visual.sum()
    assert setup.continuation.prefix.get_seq_length() == setup.start


def test_nothing_is_shared_across_a_sliding_window():
    model, processor = qwen2_vl(use_sliding_window=True, sliding_window=6, max_window_layers=1)
    assert model.model.language_model.config.layer_types == ["full_attention", "sliding_attention", "sliding_attention"]
    vlm = mw.load(model, processor)
    setup = prepare_trace(vlm, random_question(), corruption="Taj Mahal")
    assert setup.start == 0
    assert setup.continuation.prefix is None
    wanted = reference_map(vlm, setup, "mlp", 1)
    assert wanted.std() > 0.01
    assert np.abs(run_trace(setup, modules=("mlp",)).restored.values[0] - wanted).max() <= TOLERANCE


def test_deeper_visual_features_are_in_the_prefix():
    """Suffixes are run without them; the map equals the reference because the prefix was not."""
    setup = prepare_trace(random_qwen("Qwen3-VL"), random_question(), corruption="Taj Mahal")
    model, processor = qwen3_vl()
    with torch.no_grad():
        for merger in model.model.visual.deepstack_merger_list:
            merger.linear_fc2.weight.zero_()
    without = prepare_trace(mw.load(model, processor), random_question(), corruption="Taj Mahal")
    difference = without.answer.probabilities - setup.answer.probabilities
    assert np.abs(difference).max() > 0.01


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", BUILDERS)
def test_the_token_over_changed_pixels_changes(name, size):
    model, processor = BUILDERS[name]()
    vlm = mw.load(local_encoder(model), processor)
    question = random_question(size=size)
    geometry = vlm.geometry(question)
    before = visual_tokens(vlm, question)
    (grid,) = geometry.grids
    rows, columns = grid.shape
    assert geometry.count == len(before) == rows * columns
    assert geometry.size == size
    assert grid.kind == "picture"
    corners = {(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1), (rows // 2, columns // 2), (0, 1)}
    for row, column in corners:
        token = int(grid.tokens[row, column])
        left, top, right, bottom = geometry.boxes[token]
        x, y, width, height = (left + right) / 2, (top + bottom) / 2, (right - left) / 4, (bottom - top) / 4
        assert geometry.tokens_at(x, y) == [token]
        pixels = np.array(question.image)
        inside = np.s_[round(y - height) : round(y + height) + 1, round(x - width) : round(x + width) + 1]
        pixels[inside] = 255 - pixels[inside]
        after = visual_tokens(vlm, mw.Question(pixels, question.text))
        moved = (after - before).norm(dim=-1)
        assert int(moved.argmax()) == token
        assert moved.sort().values[-2] < moved.max() / 2


def test_values_and_projections_are_where_the_family_says(vlm):
    family, text = vlm.family, vlm.model.model.language_model.config
    attention, mlp = vlm.block(0, "self_attn"), vlm.block(0, "mlp")
    head = attention.head_dim
    assert part(attention, family.value).weight.shape == (text.num_key_value_heads * head, text.hidden_size)
    assert part(attention, family.output).weight.shape == (text.hidden_size, text.num_attention_heads * head)
    assert part(mlp, family.down).weight.shape == (text.hidden_size, text.intermediate_size)
    assert part(vlm.model, family.head).weight.shape == (text.vocab_size, text.hidden_size)


def test_a_run_leaves_nothing_behind(vlm):
    """Without the picture's `rope_deltas`, which the model would add to the positions of a later run from embeddings."""
    model, question = vlm.model, random_question()
    embeds = model.get_input_embeddings()(torch.tensor([[7, 8, 9, 10, 11]]))
    model.model.rope_deltas = None
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        before = model(inputs_embeds=embeds).logits
    attention = model.config._attn_implementation
    run_trace(prepare_trace(vlm, question, corruption="Taj Mahal"))
    mw.ask(vlm, question)
    assert model.model.rope_deltas is None
    with torch.no_grad():
        assert torch.equal(model(inputs_embeds=embeds).logits, before)
        model(**vlm.encode(question).inputs)  # the user's own run leaves its own
    kept = model.model.rope_deltas
    assert kept is not None
    run_trace(prepare_trace(vlm, random_question(size=(30, 70)), corruption="Taj Mahal"), modules=("mlp",))
    assert model.model.rope_deltas is kept
    assert model.config._attn_implementation == attention
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_an_answer_is_the_models_own(vlm):
    question = random_question()
    with torch.no_grad():
        logits = vlm.model(**vlm.encode(question).inputs).logits[0, -1]
    answer = mw.ask(vlm, question)
    assert answer.token_id == int(logits.argmax())
    assert abs(answer.probability - float(logits.softmax(-1).max())) <= TOLERANCE


def test_a_saved_model_loads_whether_or_not_there_is_torchvision(vlm, tmp_path):
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    loaded = mw.load(str(tmp_path))
    assert isinstance(loaded.processor, type(vlm.processor).__mro__[1])
    wanted, inputs = (each.encode(random_question()).inputs for each in (vlm, loaded))
    assert all(torch.equal(inputs[name], value) for name, value in wanted.items())

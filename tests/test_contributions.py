"""The contributions a user gets: targets, patches, sinks, controls, wrong inputs, memory, and a model left as it was."""

from __future__ import annotations

import pickle
import threading
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.models.llama.modeling_llama import LlamaAttention

import mllm_widgets as mw
from mllm_widgets.contributions import Contributions
from mllm_widgets.contributions import compute as contributing
from mllm_widgets.contributions.controls import control_image
from mllm_widgets.contributions.rows import read_rows
from mllm_widgets.contributions.sinks import Observed, activation_peaks, find_sinks, sink_queries, sink_warnings
from mllm_widgets.errors import FlowError
from tests.families import test_mllama, tiny_llava
from tests.random_llava import VISUAL_TOKENS, random_question, random_vlm


def there(value: Any) -> Any:
    """What is not None."""
    assert value is not None
    return value


def flow_of(target: Any = "constraint", **more) -> Contributions:
    return mw.attention_contributions(random_vlm(), random_question(), target, **more)


def test_axes_are_layers_and_all_positions():
    flow = flow_of(per_head=True)
    count = len(random_vlm().encode(random_question()).tokens)
    assert flow.norms.dims == ("layer", "token")
    assert flow.norms.shape == (6, count)
    assert flow.per_target.shape == (len(flow.targets), 6, count)
    assert flow.attention.shape == there(flow.heads).shape == (6, 6, count)
    assert list(flow.per_target.target.values) == list(flow.targets) == list(flow.constraint)
    assert len(flow.rows) == count
    assert flow.image_size == (60, 50)
    assert np.allclose(flow.attention.sum("token"), 1, atol=1e-5)
    with pytest.raises(FrozenInstanceError):
        flow.model = "another"  # pyright: ignore[reportAttributeAccessIssue]


def test_several_targets_are_averaged_and_kept_apart():
    flow = flow_of([-1, 20])
    assert flow.targets == (20, len(flow.rows) - 1)
    for position in flow.targets:
        alone = flow_of(position)
        assert np.abs(alone.norms - flow.per_target.sel(target=position)).max() < 1e-6
    assert np.abs(flow.norms - flow.per_target.mean("target")).max() < 1e-6
    assert flow.heads is None


def test_what_comes_after_a_target_writes_nothing_into_it():
    flow = flow_of(20)
    assert (flow.norms.sel(token=slice(21, None)) == 0).all()
    assert (flow.norms.sel(token=slice(0, 20)) > 0).all()


def test_a_window_without_a_mask_is_the_mask_of_that_window():
    """Flash attention gets no mask, but the number of positions that a sliding layer sees."""
    vlm = tiny_llava.llava("mistral, sliding")
    block: Any = vlm.block(0, "self_attn")
    stream, count, window = torch.randn(1, 40, 48), 40, vlm.model.config.get_text_config().sliding_window
    place = torch.arange(count)
    band = (place[None] <= place[:, None]) & (place[None] > place[:, None] - window)
    turn = torch.ones(1, count, block.head_dim), torch.zeros(1, count, block.head_dim)
    with torch.no_grad():
        found = [
            read_rows(block, block.o_proj, (stream,), {"position_embeddings": turn, "attention_mask": mask}, [5, 39])
            for mask in (None, band[None, None], torch.ones(1, count))
        ]
    assert (found[0].weights[:, 1] > 0).sum(-1).tolist() == [window] * 6
    assert torch.equal(found[0].weights, found[1].weights)
    assert torch.equal(found[0].weights, found[2].weights)
    with pytest.raises(FlowError, match="a mask of a kind that cannot be read"):
        read_rows(block, block.o_proj, (stream,), {"position_embeddings": turn, "attention_mask": object()}, [5])


def test_some_layers_are_those_of_all():
    some = flow_of(layers=[4, 1])
    assert some.layers == (1, 4)
    assert np.abs(some.norms - flow_of().norms.sel(layer=[1, 4])).max() < 1e-6


def test_patches_lie_as_the_grid_says():
    flow = flow_of()
    patches = flow.patches(2)
    assert patches.shape == (4, 4)
    assert patches[1, 2] == flow.norms.sel(layer=2, token=flow.visual[6])
    best = flow.top(2, 1, kind="visual").iloc[0]
    row, column = np.unravel_index(patches.argmax(), patches.shape)
    x, y = there(flow.geometry).grids[0].edges
    assert (best["left"], best["top"]) == (x[column], y[row])
    assert best["value"] == patches.max()


def test_each_of_several_grids_has_its_patches():
    flow = mw.attention_contributions(tiny_llava.llava_next(), tiny_llava.question(90, 50), layers=1)
    small, large = there(flow.geometry).grids
    assert flow.patches(1, grid=0).shape == small.shape == (4, 4)
    assert flow.patches(1, grid=1).shape == large.shape
    wanted = flow.norms.sel(layer=1, token=flow.visual[large.tokens[2, 3]])
    assert flow.patches(1, grid=1)[2, 3] == wanted
    with pytest.raises(FlowError, match="grid=2 is not one of the 2 grids"):
        flow.patches(1, grid=2)
    row_ends = flow.to_dataframe().query("kind == 'visual'")["left"].isna().sum()
    assert row_ends == large.shape[0]  # newline tokens are sources, and lie nowhere


def test_tables_hold_every_source():
    flow = flow_of()
    table = flow.to_dataframe()
    assert len(table) == flow.norms.size
    assert np.allclose([part["share"].sum() for _, part in table.groupby("layer")], 1)
    top = flow.top(3, 5)
    assert list(top["value"]) == sorted(flow.norms.sel(layer=3).values, reverse=True)[:5]
    assert (top["kind"] == np.where(top["visual"] >= 0, "visual", "text")).all()
    assert top["left"].notna().tolist() == (top["kind"] == "visual").tolist()
    assert (flow.top(3, 99, kind="text")["kind"] == "text").all()


def test_a_pickle_is_the_same():
    flow = flow_of(control="blank")
    again = pickle.loads(pickle.dumps(flow))
    assert again.norms.equals(flow.norms)
    assert there(again.control).norms.equals(there(flow.control).norms)
    assert np.array_equal(again.patches(0), flow.patches(0))


# -- sinks and controls -------------------------------------------------------


def planted(flow: Contributions, position: int, times: float = 40.0, layers: int = 6) -> Observed:
    """Even attention, but for one token that takes `times` as much at the first `layers`."""
    count, queries = len(flow.rows), tuple(range(int(flow.visual[-1]) + 1, len(flow.rows)))
    attention = np.zeros((6, len(queries), count))
    for index, query in enumerate(queries):
        attention[:, index, : query + 1] = 1
    attention[:layers, :, position] *= times
    attention /= attention.sum(-1, keepdims=True)
    return Observed(np.ones((6, count)), queries, attention)


@pytest.mark.parametrize("position", [0, 9], ids=["text", "visual"])
def test_a_token_that_all_words_look_at_is_a_sink(position):
    flow = flow_of()
    assert flow.sinks == ()
    (sink,) = find_sinks(flow, planted(flow, position))
    assert (sink.position, sink.reason, sink.layers) == (position, "attention", 1.0)
    assert sink.kind == flow.rows[position].kind
    assert find_sinks(flow, planted(flow, position, times=5)) == ()
    assert find_sinks(flow, planted(flow, position, layers=2)) == ()


def test_the_constraint_is_no_sink_however_many_words_look_at_it():
    flow = flow_of("last")
    assert find_sinks(flow, planted(flow, flow.constraint[0])) == ()


def test_a_token_only_the_target_looks_at_is_no_sink():
    flow = flow_of("last")
    seen = planted(flow, 9)
    even = planted(flow, 9, times=1).attention
    even[:, -1] = seen.attention[:, -1]
    assert find_sinks(flow, Observed(seen.peaks, seen.queries, even)) == ()


def test_what_stands_out_for_this_picture_alone_is_no_sink():
    flow = flow_of()
    assert find_sinks(flow, planted(flow, 9), planted(flow, 9, times=1)) == ()
    assert len(find_sinks(flow, planted(flow, 9), planted(flow, 9))) == 1


def test_a_huge_activation_is_a_sink():
    stream = torch.randn(5, 900, generator=torch.Generator().manual_seed(0))
    stream[3, 7] = 500
    peaks = activation_peaks(stream)
    assert peaks[3] > 25
    assert (np.delete(peaks, 3) < 6).all()
    flow = flow_of()
    seen = planted(flow, 9, times=1)
    seen.peaks[2:, 12] = 25
    (sink,) = find_sinks(flow, seen)
    assert (sink.position, sink.reason) == (12, "activation")
    assert sink.layers == pytest.approx(4 / 6)


def test_a_sink_in_a_real_model_is_found_and_can_be_left_out():
    """A model whose first token is a sink: its keys are what all queries want, and it holds almost nothing."""
    vlm = tiny_llava.llava("qwen2")
    asked, wide = tiny_llava.question(), 8.0
    with torch.no_grad():
        for layer in range(3):
            block: Any = vlm.block(layer, "self_attn")
            # the slowest pair of each head hardly turns: what a bias puts there stays a constant in all scores
            query, key = block.q_proj, block.k_proj
            query.bias[3::8], key.weight[3::8], key.bias[3::8] = wide, 0, 0
            key.weight[3::8, 0] = 1.0
        embedding = vlm.model.get_input_embeddings().weight
        embedding[:, 0] = 0
        embedding[1] = 0
        embedding[1, 0] = 30.0
        for layer in vlm.layers:
            layer.mlp.down_proj.weight[0] = 0
            layer.self_attn.o_proj.weight[0] = 0
    flow = mw.attention_contributions(vlm, asked)
    first = next(row.position for row in flow.rows if row.token_id == 1)
    assert first in [sink.position for sink in flow.sinks]
    masked = flow.masked()
    assert masked.norms.sel(token=first).isnull().all()
    assert not masked.norms.drop_sel(token=[sink.position for sink in flow.sinks]).isnull().any()
    assert first not in masked.top(1, 99)["token"].tolist()
    assert flow.top(1, 99).query("sink")["token"].tolist().count(first) == 1


def test_patches_that_are_sinks_are_said_to_be():
    flow = flow_of()
    first = flow.top(flow.peak_layer, 5, kind="visual")["token"].tolist()
    sinks = tuple(s for p in first[:3] for s in find_sinks(flow, planted(flow, p)))
    assert "3 of the 5 patches" in sink_warnings(replace(flow, sinks=sinks))[0]
    assert sink_warnings(replace(flow, sinks=sinks[:1])) == ()


def test_few_layers_tell_no_sinks():
    flow = flow_of(layers=[0, 1])
    assert find_sinks(flow, planted(flow, 9)) == ()


def test_sink_queries_are_words_after_the_picture():
    visual = np.array([0, 1, 1, 0, 0, 0], dtype=bool)
    assert sink_queries(visual) == (3, 4, 5)
    many = sink_queries(np.zeros(1000, dtype=bool))
    assert len(many) == 16
    assert (many[0], many[-1]) == (0, 999)


def test_a_blank_control_is_the_same_question_about_its_mean_colour():
    asked = random_question()
    flow = mw.attention_contributions(random_vlm(), asked, control="blank")
    grey = control_image(asked.image, "blank")
    assert np.asarray(grey).std((0, 1)).max() == 0
    assert np.abs(np.asarray(grey)[0, 0] - np.asarray(asked.image).mean((0, 1))).max() <= 0.5
    plain = mw.attention_contributions(random_vlm(), replace(asked, image=grey))
    assert np.abs(there(flow.control).norms - plain.norms).max() < 1e-6
    own, other = (f.norms.sel(layer=2, token=f.visual).values for f in (flow, plain))
    assert there(flow.control_correlation).sel(layer=2) == pytest.approx(np.corrcoef(own, other)[0, 1], abs=1e-5)


@pytest.mark.parametrize("size", [(64, 48), (61, 50), (5, 3), (1, 1)])
def test_a_shuffled_picture_has_the_same_pixels_elsewhere(size):
    pixels = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    mixed = np.asarray(control_image(Image.fromarray(pixels), "shuffled"))
    assert mixed.shape == pixels.shape
    assert sorted(map(tuple, mixed.reshape(-1, 3))) == sorted(map(tuple, pixels.reshape(-1, 3)))
    assert size == (1, 1) or (mixed != pixels).any()


def test_a_map_that_a_blank_picture_gives_too_is_said_to_show_position():
    asked = random_question()
    grey = replace(asked, image=control_image(asked.image, "blank"))
    flow = mw.attention_contributions(random_vlm(), grey, control="blank")
    assert any("about what a blank picture gives (correlation 1.00 over 16" in warning for warning in flow.warnings)
    shuffled = mw.attention_contributions(random_vlm(), grey, control="shuffled")
    assert any("its blocks shuffled" in warning for warning in shuffled.warnings)
    assert not mw.attention_contributions(random_vlm(), asked, control="blank").warnings


# -- a known answer -------------------------------------------------------------


@torch.no_grad()
def looking_at_bright_patches() -> mw.VLM:
    """A model built to do so: patches do not mix in its vision tower, and all queries of layer 0 want what bright patches have."""
    vlm = tiny_llava.llava("qwen2", vision=tiny_llava.clip(80, 10))
    tiny_llava.make_local(vlm)
    entering, encoded = [], vlm.encode(square(2, 3))
    handle = vlm.block(0, "self_attn").register_forward_pre_hook(
        lambda _m, _args, given: entering.append(given["hidden_states"][0]), with_kwargs=True
    )
    for asked in (square(2, 3), square(None, None)):
        vlm.model(**vlm.encode(asked).inputs)
    handle.remove()
    patch = np.flatnonzero(encoded.visual)[2 * 8 + 3]
    bright = entering[0][patch] - entering[1][patch]
    block: Any = vlm.block(0, "self_attn")
    # the slowest pair of a head hardly turns with the position
    block.q_proj.bias[3::8] = 8.0
    block.k_proj.weight[3::8] = bright / bright.norm()
    return vlm


def square(row: int | None, column: int | None) -> mw.Question:
    """A white square of 20 x 20 pixels, two patches a side, on dim noise; none for None."""
    pixels = np.random.default_rng(0).integers(60, 120, (80, 80, 3), dtype=np.uint8)
    if row is not None and column is not None:
        pixels[10 * row : 10 * row + 20, 10 * column : 10 * column + 20] = 255
    return mw.Question(pixels, "Where was this old bridge built", constraint="this old bridge")


def test_the_highlights_lie_on_what_the_model_looks_at_and_move_with_it():
    vlm = looking_at_bright_patches()
    for row, column in [(2, 3), (0, 0), (6, 1), (3, 6), (5, 5)]:
        flow = mw.attention_contributions(vlm, square(row, column), layers=0)
        top = flow.top(0, 4, kind="visual")
        assert {(int(y) // 10, int(x) // 10) for x, y in zip(top["left"], top["top"], strict=True)} == {
            (row + i, column + j) for i in (0, 1) for j in (0, 1)
        }


# -- wrong inputs --------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 4000}, "target=4000 lies outside the sequence, which has"),
        ({"target": -4000}, "lies outside the sequence"),
        ({"target": [3, 4000]}, "target=4000 lies outside"),
        ({"target": []}, "names no position"),
        ({"target": 2.5}, "is no position"),
        ({"target": True}, "is no position"),
        ({"target": None}, "is no position"),
        ({"target": "visual"}, "names no tokens; expected one of"),
        ({"layers": 6}, "names no layers of this model; expected some of 0 to 5"),
        ({"layers": [0, -1]}, "names no layers"),
        ({"layers": []}, "names no layers"),
        ({"control": "noise"}, "control='noise' is no control"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_in_a_sentence(options, message):
    with pytest.raises(FlowError, match=message):
        flow_of(**options)


def test_a_question_without_a_constraint_is_told_what_to_do():
    asked = mw.Question(random_question().image, "Where was this old bridge built")
    with pytest.raises(FlowError, match="needs a question with one"):
        mw.attention_contributions(random_vlm(), asked)
    assert mw.attention_contributions(random_vlm(), asked, "last").constraint == ()


def test_objects_that_are_no_model_and_no_question_are_refused():
    with pytest.raises(FlowError, match="vlm is a LlavaForConditionalGeneration"):
        mw.attention_contributions(random_vlm().model, random_question())
    with pytest.raises(FlowError, match="question is a str"):
        mw.attention_contributions(random_vlm(), "Where?")  # pyright: ignore[reportArgumentType]


def test_a_layer_that_was_not_computed_is_refused():
    flow = flow_of(layers=[1, 2, 3])
    with pytest.raises(FlowError, match="layer=5 was not computed; there are layers 1 to 3"):
        flow.patches(5)
    with pytest.raises(FlowError, match="k=0 is not a count"):
        flow.top(1, 0)
    with pytest.raises(FlowError, match="kind='image' is no kind"):
        flow.top(1, kind="image")


def test_a_model_without_visual_tokens_says_so():
    flow = mw.attention_contributions(test_mllama.vlm(), test_mllama.question())
    assert flow.layers == (0, 2, 4)
    assert there(flow.cross).norms.dims == ("layer", "state")
    assert list(there(flow.cross).norms.layer.values) == test_mllama.CROSS
    assert there(flow.cross).norms.sizes["state"] == 4 * 17
    assert list(there(flow.cross).norms.tile.values[[0, 16, 17]]) == [0, 0, 1]
    assert list(there(flow.cross).norms.patch.values[[0, 16, 17]]) == [0, 16, 0]
    with pytest.raises(FlowError, match=r"seen by cross-attention: see `\.cross\.norms`"):
        flow.patches(0)
    with pytest.raises(FlowError, match="layer=1 is a cross-attention layer"):
        flow.top(1)
    alone = mw.attention_contributions(test_mllama.vlm(), test_mllama.question(), layers=1)
    assert alone.layers == ()
    assert there(alone.cross).norms.shape == (1, 68)


# -- the model, memory, threads ------------------------------------------------


class Largest(TorchDispatchMode):
    """The largest tensor made, in numbers."""

    def __init__(self):
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(value, torch.Tensor) and not value._is_view():
                self.size = max(self.size, value.numel())
        return made


def test_nothing_as_large_as_positions_squared_is_made():
    """1,024 visual tokens; the largest tensor of ours is a mixture of values, the size of a few hidden states."""
    vlm = tiny_llava.llava("llama", vision=tiny_llava.clip(320, 10))
    asked = tiny_llava.question(320, 320)
    count = len(vlm.encode(asked).tokens)
    assert count > VISUAL_TOKENS * 64
    with Largest() as largest:
        flow = mw.attention_contributions(vlm, asked, per_head=True)
    assert flow.norms.sizes["token"] == count
    assert largest.size < count**2 / 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_errors_and_interrupts_leave_nothing_and_give_the_lock_back(monkeypatch, error):
    vlm, asked = random_vlm(), random_question()
    before = mw.attention_contributions(vlm, asked)

    def fail(*_args):
        raise error("stopped")

    vlm.model.train()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(contributing, "_reduced", fail)
            with pytest.raises(error):
                mw.attention_contributions(vlm, asked)
        assert vlm.model.training
        taken = []

        def take():
            if vlm.lock.acquire(timeout=1):
                taken.append(True)
                vlm.lock.release()

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        assert taken
    finally:
        vlm.model.eval()
    assert mw.attention_contributions(vlm, asked).norms.equals(before.norms)


class HalfAgain(LlamaAttention):
    """An attention that gives half of its output once more: no sum over sources is that."""

    def forward(self, *args, **options):
        output, weights = super().forward(*args, **options)
        return output * 1.5, weights


class OfItsOwn(LlamaAttention):
    """An attention that does not go through transformers' interface."""

    def forward(self, hidden_states, *_args, **_options) -> Any:
        return self.o_proj(self.q_proj(hidden_states)), None


@pytest.mark.parametrize(
    ("kind", "message"),
    [(HalfAgain, "at layer 1 sum to something else"), (OfItsOwn, "OfItsOwn.* does not compute through")],
)
def test_an_attention_that_does_other_things_is_refused(kind, message):
    vlm = tiny_llava.llava("llama")
    vlm.block(1, "self_attn").__class__ = kind
    with pytest.raises(FlowError, match=message):
        mw.attention_contributions(vlm, tiny_llava.question())
    assert mw.attention_contributions(vlm, tiny_llava.question(), layers=[0]).layers == (0,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype):
    exact = flow_of().norms
    flow = mw.attention_contributions(random_vlm(dtype=dtype), random_question())
    difference = np.abs(flow.norms - exact).max(("token",)) / exact.max(("token",))
    assert float(difference.sel(layer=0)) < 0.05

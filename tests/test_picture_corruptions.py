"""Corrupted pictures, and tokens restored together: against plain hooks on full forward passes, and what must hold for any of them."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from PIL import Image

import mllm_widgets as mw
from mllm_widgets.errors import TraceError
from mllm_widgets.tracing import (
    EmbeddingNoise,
    OtherImage,
    PixelNoise,
    Region,
    TokenSwap,
    prepare_trace,
    run_trace,
    trace_inputs,
)
from mllm_widgets.tracing import suffix as suffix_module
from mllm_widgets.tracing.packing import corrupted_run

from .families import test_gemma, test_mllama, tiny_llava
from .families.tiny import TINY, tiny
from .random_llava import VISUAL_TOKENS, random_question, random_vlm
from .reference import SITES, noised, recorded, reference_logits

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def vlm():
    return random_vlm()


def other(question, seed=9):
    """A picture unlike the question's, of its size."""
    width, height = question.image.size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def inputs_with(vlm, question, picture):
    return vlm.encode(mw.Question(picture, question.text, constraint=question.constraint)).inputs


def restored(vlm, setup, inputs, clean, module, layers, positions):
    """P(answer) with a sub-block's outputs at some positions and layers taken from the clean run."""
    at = list(positions)
    puts = {(layer, module): (at, clean[layer, module][at]) for layer in layers}
    return float(reference_logits(vlm, inputs, puts)[-1].float().softmax(-1)[setup.answer_id])


def assert_groups_equal_reference(vlm, question, groups, window=1, layers=None, spread=1e-3):
    """All sites; every group and the last text token, with another picture; a flat map would agree with anything."""
    picture = other(question)
    setup = prepare_trace(vlm, question, corruption=OtherImage(picture))
    trace = run_trace(setup, window=window, modules=SITES, groups=groups)
    assert trace.group_restored is not None
    inputs = inputs_with(vlm, question, picture)
    clean = recorded(vlm, setup.encoded.inputs)
    plain = float(reference_logits(vlm, inputs, {})[-1].float().softmax(-1)[setup.answer_id])
    assert abs(setup.corrupted - plain) <= TOLERANCE
    assert abs(setup.clean - setup.corrupted) > spread
    last = setup.text_positions[-1]
    found, wanted = [], []
    for module in SITES:
        for layer in layers or range(len(vlm.layers)):
            span = trace.restored_layers(layer)
            for number, group in enumerate(trace.groups):
                found.append(float(trace.group_restored.sel(module=module, layer=layer)[number]))
                wanted.append(restored(vlm, setup, inputs, clean, module, span, group.positions))
            found.append(float(trace.restored.sel(module=module, layer=layer, token=last)))
            wanted.append(restored(vlm, setup, inputs, clean, module, span, [last]))
    assert np.std(wanted) > spread / 10
    assert np.abs(np.subtract(found, wanted)).max() <= TOLERANCE
    return trace


@pytest.mark.parametrize("packed", [True, False])
def test_groups_with_another_picture_equal_the_reference(vlm, packed, monkeypatch):
    if not packed:
        monkeypatch.setattr(suffix_module, "MASKED_ATTENTION", ())
    groups = ["visual", Region((0, 0, 30, 25)), "constraint", [18, 3, 20]]
    trace = assert_groups_equal_reference(vlm, random_question(), groups, window=3)
    assert [group.kind for group in trace.groups] == ["visual", "region", "constraint", "tokens"]
    assert trace.groups[-1].positions == (3, 18, 20)
    assert trace.corrupted_positions == tuple(np.flatnonzero(trace.setup.encoded.visual))


FAMILIES = {f"{family} ({decoder})": (family, decoder) for family, decoder in TINY if decoder != "no picture"}
del FAMILIES["Mllama (Llama 3.2 Vision) (Llama)"]  # pictures outside of the sequence: below


@pytest.mark.parametrize("family", list(FAMILIES))
def test_other_families_equal_the_reference(family):
    assert_groups_equal_reference(*tiny(*FAMILIES[family]), ["visual", "constraint"], layers=[0, 2])


def test_a_picture_with_crops_that_attend_both_ways_is_corrupted_too():
    trace = assert_groups_equal_reference(
        test_gemma.gemma3(crops=True), test_gemma.question(130, 60), ["visual"], layers=[0, 2]
    )
    assert trace.geometry is not None
    assert len(trace.geometry.grids) == 3


NOISED = {"all": "visual", "from the middle of the picture on": 3}


@pytest.mark.parametrize("family", ["Qwen3-VL (Qwen3)", "Gemma 3 (full)", "Gemma 3 (sliding and full)"])
@pytest.mark.parametrize("where", list(NOISED))
def test_noise_on_visual_embeddings_equals_the_reference(family, where):
    """A visual token of Gemma 3 reaches those before it; those of Qwen3-VL are given the clean picture's deeper features."""
    vlm, question = tiny(*FAMILIES[family])
    encoded = vlm.encode(question)
    visual = np.flatnonzero(encoded.visual)
    positions = "visual" if NOISED[where] == "visual" else visual[NOISED[where] :].tolist()
    corruption = EmbeddingNoise(sigma=1.0, draws=1, positions=positions)
    trace = mw.causal_trace(vlm, question, corruption=corruption, groups=["visual"], modules=SITES)
    assert trace.group_restored is not None
    drawn = corruption.plan(vlm, question, encoded).noise
    assert drawn is not None
    noise, answer = drawn[0], trace.setup.answer_id

    def probability(puts):
        with noised(vlm, trace.corrupted_positions, noise):
            return float(reference_logits(vlm, encoded.inputs, puts)[-1].float().softmax(-1)[answer])

    clean = recorded(vlm, encoded.inputs)
    assert abs(trace.corrupted - probability({})) <= TOLERANCE
    found = trace.group_restored.values[..., 0]
    wanted = [[probability({(k, m): (visual, clean[k, m][visual])}) for k in range(trace.layers)] for m in SITES]
    assert np.std(wanted) > 1e-3
    assert np.abs(found - wanted).max() <= TOLERANCE


def test_deeper_features_do_not_keep_a_swap_of_words_from_being_packed():
    vlm, question = tiny("Qwen3-VL", "Qwen3")
    swap = prepare_trace(vlm, question, corruption="Taj Mahal")
    other_picture = prepare_trace(vlm, question, corruption=OtherImage(other(question)))
    with vlm.running():
        assert corrupted_run(swap) is not None
        assert corrupted_run(other_picture) is None


def test_a_picture_outside_of_the_sequence_is_corrupted_too():
    vlm, question = test_mllama.vlm(), test_mllama.question()
    trace = assert_groups_equal_reference(vlm, question, ["constraint"], layers=[0, 2])
    first = trace.corrupted_positions[0]
    assert trace.input_ids[first] == vlm.model.config.image_token_id
    assert trace.restored.sel(token=trace.restored.token < first).sizes["token"] > 0
    assert mw.causal_trace(vlm, question, corruption=OtherImage(other(question))).groups == ()


def test_all_visual_embeddings_of_the_clean_picture_give_the_clean_probability(vlm):
    from mllm_widgets.tracing.engine import run_rows

    question = random_question()
    setup = prepare_trace(vlm, question, corruption=OtherImage(other(question)))
    assert abs(setup.clean - setup.corrupted) > 0.02
    embeds = setup.corrupted_embeds.clone()
    at = np.flatnonzero(setup.encoded.visual) - setup.start
    embeds[0, at] = setup.clean_embeds[0, at]
    with vlm.running():
        assert abs(run_rows(setup, 1, [], embeds)[0] - setup.clean) <= TOLERANCE


def test_patches_that_enter_clean_give_what_plain_hooks_give(vlm):
    question = random_question()
    setup = prepare_trace(vlm, question, corruption=OtherImage(other(question)))
    visual = np.flatnonzero(setup.encoded.visual)
    some, every, none = visual[[1, 3]].tolist(), visual.tolist(), [0]
    found = trace_inputs(setup, [some, every, none])
    both = {}
    for name, picture in (("clean", question.image), ("noisy", other(question))):
        inputs = inputs_with(vlm, question, picture)
        kept = []
        handle = vlm.model.get_submodule(vlm.family.decoder).register_forward_pre_hook(
            lambda _m, _a, options, kept=kept: kept.append(options["inputs_embeds"].clone()), with_kwargs=True
        )
        with torch.no_grad():
            vlm.model(**inputs)
        handle.remove()
        both[name] = (inputs, kept[0])

    def put(_module, args, options):
        embeds = options["inputs_embeds"].clone()
        embeds[0, some] = both["clean"][1][0, some]
        return args, {**options, "inputs_embeds": embeds}

    handle = vlm.model.get_submodule(vlm.family.decoder).register_forward_pre_hook(put, with_kwargs=True)
    with torch.no_grad():
        plain = vlm.model(**both["noisy"][0]).logits[0, -1].softmax(-1)[setup.answer_id]
    handle.remove()
    assert float(found[0]) == pytest.approx(float(plain), rel=1e-3)
    assert abs(float(found[0]) - setup.corrupted) > 4e-5
    assert float(found[1]) == pytest.approx(setup.clean, abs=1e-5)
    assert float(found[2]) == pytest.approx(setup.corrupted, abs=1e-6)


def test_pixel_noise_is_averaged_over_its_draws(vlm):
    question = random_question()
    noise = PixelNoise(sigma=0.1, draws=3, seed=4, box=(10, 5, 50, 40))
    trace = mw.causal_trace(vlm, question, corruption=noise, groups=["visual"], modules="mlp")
    pictures = noise.plan(vlm, question, vlm.encode(question)).pictures
    pixels = np.asarray(question.image)
    for picture in pictures:
        changed = (np.asarray(picture) != pixels).any(axis=-1)
        assert changed[5:40, 10:50].mean() > 0.9
        changed[5:40, 10:50] = False
        assert not changed.any()
    alone = [
        mw.causal_trace(vlm, question, corruption=OtherImage(p), groups=["visual"], modules="mlp") for p in pictures
    ]
    assert np.ptp([one.corrupted for one in alone]) > 1e-4
    assert abs(trace.corrupted - np.mean([one.corrupted for one in alone])) <= TOLERANCE
    for name in ("restored", "group_restored"):
        mean = sum(getattr(one, name) for one in alone) / 3
        assert np.abs(getattr(trace, name) - mean).max() <= TOLERANCE


def test_the_same_seed_gives_the_same_noise(vlm):
    question = random_question()
    first, again, another = (
        np.asarray(PixelNoise(seed=seed, draws=1).plan(vlm, question, vlm.encode(question)).pictures[0])
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != another).any()


def test_the_demo_reads_its_answer_from_the_picture():
    question, taj = (mw.datasets.demo_question(landmark, "city") for landmark in ("Eiffel Tower", "Taj Mahal"))
    trace = mw.causal_trace(mw.load(), question, corruption=OtherImage(taj.image), modules="self_attn", window=3)
    assert trace.clean > 0.9
    assert trace.corrupted < 0.1
    assert (
        trace.indirect_effect.sel(token=trace.restored.token[-1]).max() > 0.9
    )  # the last token reads it from the constraint
    assert [group.name for group in trace.groups][:2] == ["all 64 visual tokens", "row 0-3, column 0-3"]


@functools.cache
def tiled_trace():
    """A picture of tiles and a thumbnail, of which a part is noised."""
    noise = PixelNoise(sigma=1.0, draws=1, box=(0, 0, 20, 20))
    return mw.causal_trace(
        tiny_llava.llava_next(), tiny_llava.question(), corruption=noise, modules=("residual", "mlp")
    )


def test_visual_tokens_are_looked_at_coarse_to_fine():
    trace = tiled_trace()
    kinds = [group.kind for group in trace.groups]
    blocks = [i for i, kind in enumerate(kinds) if kind == "block"]
    assert kinds == ["visual", *["block"] * len(blocks), *["patch"] * kinds.count("patch")]
    effect = np.abs(trace.group_effect.values).max(axis=(0, 1))
    large = [i for i in blocks if effect[i] >= 0.1 * abs(trace.total_effect)]
    assert 0 < len(large) < len(blocks)
    wanted = sorted(p for i in large for p in trace.groups[i].positions)
    assert [group.positions[0] for group in trace.groups if group.kind == "patch"] == wanted


def test_effects_lie_over_the_picture_as_fine_as_they_are_known():
    trace = tiled_trace()
    assert trace.geometry is not None
    patches = trace.patches(layer=1, module="residual")
    assert [values.shape for values in patches] == [grid.shape for grid in trace.geometry.grids]
    effect = trace.group_effect.sel(module="residual", layer=1).values
    smallest = {}
    for kind in ("visual", "block", "patch"):
        for group, value in zip(trace.groups, effect, strict=True):
            if group.kind == kind:
                smallest |= dict.fromkeys(group.positions, value)
    visual = np.flatnonzero(trace.setup.encoded.visual)
    for values, grid in zip(patches, trace.geometry.grids, strict=True):
        wanted = [[smallest[p] for p in row] for row in visual[grid.tokens]]
        assert np.array_equal(values, np.array(wanted, dtype=np.float32))


def test_blocks_and_patches_cover_every_visual_token_once():
    vlm = tiny_llava.llava_next()
    question = random_question()
    trace = mw.causal_trace(vlm, question, corruption="Taj Mahal", groups=["blocks", "patches"], modules="mlp")
    visual = np.flatnonzero(trace.setup.encoded.visual)
    patches = visual[np.isfinite(vlm.geometry(question).boxes[:, 0])]
    for kind in ("block", "patch"):
        covered = [p for group in trace.groups if group.kind == kind for p in group.positions]
        assert sorted(covered) == patches.tolist()
    assert trace.geometry is not None
    assert len(trace.geometry.grids) > 1
    # the corruption is of words that stand after the picture: nothing there can matter
    assert (trace.group_effect.values == 0).all()


def test_a_region_holds_the_patches_whose_middle_it_holds(vlm):
    trace = mw.causal_trace(
        vlm, random_question(), corruption="Taj Mahal", groups=Region((0, 0, 31, 50)), modules="mlp"
    )
    boxes = vlm.geometry(random_question()).boxes
    inside = [i for i, (left, _, right, _) in enumerate(boxes) if (left + right) / 2 < 31]
    assert len(inside) == VISUAL_TOKENS // 2
    assert list(trace.groups[0].positions) == np.flatnonzero(trace.setup.encoded.visual)[inside].tolist()


def test_group_cells_are_streamed_apart_from_the_map(vlm):
    seen = []
    question = random_question()
    trace = mw.causal_trace(vlm, question, corruption=OtherImage(other(question)), on_cells=seen.append)
    assert trace.group_restored is not None
    assert seen[-1].done == seen[-1].total
    together = [cells for cells in seen if cells.groups]
    for cells in together:
        assert (trace.group_restored.values[cells.module, cells.layer, cells.token] == cells.restored).all()
    assert sum(len(cells.layer) for cells in together) == trace.group_restored.size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": "visuals"}, "'visuals' names no tokens"),
        ({"groups": [Region((0, 0, 1, 1))]}, "holds the middle of no patch; the picture is 60 x 50"),
        ({"groups": [[5, 4000]]}, "positions=4000 is outside the prompt"),
        ({"corruption": PixelNoise(box=(100, 100, 120, 120))}, "has no pixel of this picture of 60 x 50"),
        ({"corruption": OtherImage(random_question().image)}, "is the question's own picture"),
        ({"corruption": OtherImage(np.zeros((9, 9), np.uint8)), "control": "text-only"}, "this prompt has none"),
    ],
)
def test_what_cannot_be_done_is_explained(vlm, arguments, message):
    with pytest.raises(TraceError, match=message):
        mw.causal_trace(vlm, random_question(), **{"corruption": "Taj Mahal", **arguments})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PixelNoise(sigma=-1), "sigma=-1 is not a size of noise"),
        (lambda: PixelNoise(draws=0), "draws=0 is not a count"),
        (lambda: PixelNoise(box=(5, 5, 2, 9)), "is no box"),
        (lambda: Region((1, 2, 3)), "is no box"),
        (lambda: Region("left"), "is no box"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_makes_no_sense_is_refused_at_once(make, message):
    with pytest.raises(TraceError, match=message):
        make()


def test_a_trace_without_groups_says_so(vlm):
    trace = mw.causal_trace(vlm, random_question(), corruption="Taj Mahal")
    with pytest.raises(TraceError, match="restored no groups"):
        trace.group_effect  # noqa: B018
    with pytest.raises(TraceError, match="restored no groups"):
        trace.patches(0)


def test_another_picture_of_another_size_is_stretched(vlm):
    small = np.random.default_rng(2).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    setup = prepare_trace(vlm, random_question(), corruption=OtherImage(small))
    assert setup.fitted == "stretched from 30 x 20 to 60 x 50 pixels"


@pytest.mark.parametrize(
    ("constraint", "phrase"),
    [("this gentleman", "Albert Einstein"), ("This film's", "Star Wars"), ("this old bridge", "Taj Mahal")],
)
def test_the_default_phrase_is_of_the_constraints_kind(vlm, constraint, phrase):
    setup = prepare_trace(vlm, random_question(f"Where was {constraint} made", constraint))
    first, second = mw.tracing.corruption.phrases_for(constraint)
    assert first == phrase
    assert setup.corruption in (first, second)
    again = prepare_trace(
        vlm, random_question(f"Where was {constraint} made", constraint), corruption=TokenSwap(setup.corruption)
    )
    assert again.corrupted == setup.corrupted


@pytest.mark.parametrize("corruption", [OtherImage(np.zeros((9, 9), np.uint8)), PixelNoise(draws=1)])
def test_a_question_without_a_picture_has_none_to_corrupt(vlm, corruption):
    question = mw.Question(None, "Where is this old bridge", constraint="this old bridge")
    with pytest.raises(TraceError, match="this prompt has none"):
        mw.causal_trace(vlm, question, corruption=corruption)


def test_a_box_may_reach_beyond_the_picture(vlm):
    question = random_question()
    noise = PixelNoise(draws=1, box=(-5, 20, float("inf"), 1000))
    picture = noise.plan(vlm, question, vlm.encode(question)).pictures[0]
    changed = (np.asarray(picture) != np.asarray(question.image)).any(axis=-1)
    assert changed[20:].mean() > 0.9
    assert not changed[:20].any()


@pytest.mark.parametrize("groups", [None, "visual"])
def test_a_family_that_knows_no_places_is_traced_without_them(vlm, groups, monkeypatch):
    family = mw.Family(vlm.family.name, vlm.family.classes)
    monkeypatch.setattr(vlm, "family", family)
    trace = mw.causal_trace(vlm, random_question(), corruption=PixelNoise(draws=1), groups=groups, modules="mlp")
    assert [group.kind for group in trace.groups] == ["visual"]
    assert trace.geometry is None
    with pytest.raises(TraceError, match="nothing is known of where they lie"):
        trace.patches(0)


@pytest.mark.parametrize("groups", [np.array([3, 18]), [np.array([3, 18])], [range(18, 19), {3}], [(np.int64(3), 18)]])
def test_groups_of_positions_may_be_of_any_kind(vlm, groups):
    trace = mw.causal_trace(vlm, random_question(), corruption="Taj Mahal", groups=groups, modules="mlp")
    assert sorted(p for group in trace.groups for p in group.positions) == [3, 18]


def test_prepared_runs_have_the_same_usual_groups(vlm):
    question = random_question()
    corruption = PixelNoise(sigma=0.1, draws=1)
    setup = prepare_trace(vlm, question, corruption=corruption)
    whole = mw.causal_trace(vlm, question, corruption=corruption, modules="mlp")
    assert run_trace(setup, groups=None, modules="mlp").groups == whole.groups
    assert run_trace(setup, modules="mlp").groups == ()


def test_progress_counts_groups_from_the_start(vlm):
    seen = []
    groups = ["visual", "constraint"]
    mw.causal_trace(vlm, random_question(), corruption="Taj Mahal", groups=groups, on_cells=seen.append)
    assert {cells.total for cells in seen} == {seen[-1].done}
    assert seen[-1].groups


@pytest.mark.parametrize(
    ("layer", "module", "message"), [(9, "mlp", "layer=9 is outside 0 to"), (0, "head", "'head' is not")]
)
def test_effects_over_the_picture_are_of_what_was_traced(layer, module, message):
    with pytest.raises(TraceError, match=message):
        tiled_trace().patches(layer, module)


def test_a_prompt_may_end_with_the_picture_that_is_corrupted(vlm):
    """No text token stands after it, so groups are all that can have an effect."""
    last = mw.load(vlm.model, vlm.processor, template="{question}{image}")
    question = mw.Question(random_question().image, "Where was this built")
    trace = mw.causal_trace(last, question, corruption=PixelNoise(draws=1, sigma=0.2), modules="residual")
    assert (trace.restored.values == np.float32(trace.corrupted)).all()
    assert trace.group_restored is not None
    top = trace.group_restored.sel(group=trace.groups[0].name, layer=trace.layers - 1)
    assert abs(top.item() - trace.clean) <= TOLERANCE
    assert abs(trace.total_effect) > 1e-3

"""LLaVA-NeXT and LLaVA-OneVision: thumbnails, tiles, row ends, and grids that are shrunk."""

from __future__ import annotations

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets.errors import ModelError
from mllm_widgets.vlm.families.base import part

from .tiny_llava import MIDDLE, check_geometry, check_trace, llava_next, llava_onevision, question, visual_embeddings

SIZES = [(60, 50), (131, 61), (64, 64), (400, 300), (35, 140)]


@pytest.mark.parametrize("decoder", ["llama", "mistral, sliding"])
def test_maps_of_next_equal_the_reference(decoder):
    vlm = llava_next(decoder)
    setup = check_trace(vlm)
    assert (setup.start == 0) is ("sliding" in decoder)


def test_maps_of_onevision_equal_the_reference():
    assert check_trace(llava_onevision()).start > 0


@pytest.mark.parametrize("build", [llava_next, llava_onevision])
def test_projections_are_where_their_names_say(build):
    vlm, width = build(), 48
    assert part(vlm.block(1, "self_attn"), vlm.family.value).weight.shape == (width // 3, width)
    assert part(vlm.block(1, "self_attn"), vlm.family.output).weight.shape == (width, width)
    assert part(vlm.block(1, "mlp"), vlm.family.down).weight.shape == (width, 70)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_tiles_of_next_are_followed_back_to_the_picture(width, height):
    vlm = llava_next()
    geometry = check_geometry(vlm, width, height, tokens_per_grid=4)
    small, large = geometry.grids
    assert (small.kind, small.shape, small.box) == ("thumbnail", (4, 4), pytest.approx((0, 0, width, height)))
    rows, columns = large.shape
    assert geometry.count == 16 + rows * (columns + 1)
    # the model keeps whole patches: what is left ends within a patch of the picture's border, before or beyond it
    for edges, length in zip(large.edges, (width, height), strict=True):
        assert abs(edges[0]) < edges[1] - edges[0]
        assert abs(edges[-1] - length) < edges[1] - edges[0]


def test_the_border_of_a_tile_may_be_cut_off():
    """Each tile of 40 pixels is made 50 large and cut to 40 again, so that no patch sees the ends of a tile."""
    small, large = check_geometry(llava_next(size=50), 90, 80, tokens_per_grid=4).grids
    assert small.box == pytest.approx((9, 8, 81, 72))
    x = large.edges[0]
    wide = np.diff(x) > 1.5 * np.diff(x).min()
    assert wide.sum() == 1  # two tiles side by side, and a strip that nothing sees between them


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_tiles_of_onevision_end_with_a_strip_that_no_patch_sees(width, height):
    """44 pixels hold four patches of ten, as 384 hold 27 of fourteen."""
    geometry = check_geometry(llava_onevision(side=44), width, height, tokens_per_grid=4)
    assert geometry.grids[0].box == pytest.approx((0, 0, width * 40 / 44, height * 40 / 44))
    assert np.isnan(geometry.boxes).any(-1).sum() == geometry.grids[1].shape[0]  # a newline ends each row


@pytest.mark.parametrize(("width", "height"), [(130, 60), (60, 130), (90, 80)])
@pytest.mark.parametrize("side", [40, 44])
def test_grids_of_onevision_that_are_shrunk_are_spread_over_the_same_picture(width, height, side):
    """Every shrunk token looks at the patches around its middle, so only the middle is painted."""
    shrunk = check_geometry(llava_onevision(side=side, aspect="anyres_max_2"), width, height, 4, [MIDDLE])
    whole = llava_onevision(side=side).geometry(question(width, height))
    assert np.prod(shrunk.grids[1].shape) < 0.9 * np.prod(whole.grids[1].shape)
    assert np.prod(shrunk.grids[1].shape) <= 2 * 16
    assert shrunk.grids[1].box == pytest.approx(whole.grids[1].box)


@pytest.mark.parametrize(("width", "height", "count"), [(400, 3, 16), (3, 400, 16 + 16)])
def test_a_strip_of_a_picture_has_only_its_thumbnail(width, height, count):
    """Less than a patch is left of the tiles, and so nothing, or row ends alone."""
    vlm = llava_next()
    geometry = vlm.geometry(question(width, height))
    assert [grid.kind for grid in geometry.grids] == ["thumbnail"]
    assert geometry.count == count == len(visual_embeddings(vlm, question(width, height)))
    assert np.isnan(geometry.boxes).any(-1).sum() == count - 16


def test_a_point_lies_under_the_thumbnail_and_a_tile():
    geometry = llava_next().geometry(question(64, 64))  # 80 x 80 in four tiles
    assert geometry.tokens_at(1, 1) == [0, 16]
    assert geometry.tokens_at(63, 63) == [15, geometry.count - 2]  # the newline is the last
    assert geometry.tokens_at(17, 1) == [1, 18]


def test_tiles_of_another_size_than_the_model_s_are_refused():
    vlm = llava_next()
    vlm.model.config.vision_config.patch_size = 20
    with pytest.raises(ModelError, match="visual tokens stand in the prompt for a thumbnail of 4"):
        vlm.geometry(question())


@pytest.mark.parametrize("build", [llava_next, llava_onevision])
def test_a_checkpoint_folder_loads_and_lies_the_same(build, tmp_path):
    vlm = build()
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    loaded = mw.load(tmp_path, dtype="float32", template=vlm.template)
    assert type(loaded.model) is type(vlm.model)
    one, other = (each.geometry(question(90, 60)).boxes for each in (vlm, loaded))
    assert np.array_equal(one, other, equal_nan=True)
    answers = [mw.ask(each, question(90, 60), max_new_tokens=1).probabilities for each in (vlm, loaded)]
    assert np.allclose(*answers, atol=1e-6)

"""What every family is judged by: the plain-hook reference, and pixels changed under one visual token."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

import mllm_widgets as mw
from mllm_widgets.tracing import prepare_trace, run_trace
from mllm_widgets.vlm.families.base import part
from tests.reference import MODULES, recorded, reference_cell

TOLERANCE = 1e-5  # between two orders of the same float32 sums


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A picture (height, width, 3) of dim noise, so that a bright patch stands out of it."""
    return np.random.default_rng(seed).integers(60, 120, (height, width, 3), dtype=np.uint8)


def assert_trace_equals_reference(vlm, question, corruption: str = "Taj Mahal", windows=(1, 3), spread: float = 0.1):
    """Both sub-blocks and every window; a flat map would agree with anything, so effects must be large and unlike each other.

    Returns the setup.  Of the positions that cannot have an effect the reference runs the last one only; the map must say 0 for all.
    """
    setup = prepare_trace(vlm, question, corruption=corruption)
    positions = [p for p in setup.text_positions if p >= setup.first - 1]
    layers, clean = range(len(vlm.layers)), recorded(vlm, setup.encoded.inputs)
    for window in windows:
        restored = run_trace(setup, window=window, modules=MODULES).restored
        assert (restored.where(restored.token < setup.first, setup.corrupted) == np.float32(setup.corrupted)).all()
        for module in MODULES:
            wanted = np.array(
                [
                    [
                        reference_cell(vlm, setup, module, window_layers(layer, window, len(layers)), p, clean)
                        for p in positions
                    ]
                    for layer in layers
                ]
            )
            effects = np.abs(wanted - setup.corrupted)
            assert effects.max() > spread
            assert np.median(effects) > 1e-5
            assert wanted.std() > 0.01
            assert np.abs(restored.sel(module=module, token=positions).values - wanted).max() <= TOLERANCE
    return setup


def window_layers(centre: int, window: int, count: int) -> list[int]:
    """The layers restored together, centred and clipped."""
    first = centre - window // 2
    return [layer for layer in range(first, first + window) if 0 <= layer < count]


def assert_used_as_it_is(vlm, question):
    """A trace leaves weights, modes, hooks and attention implementation as they were."""
    model = vlm.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = (model.dtype, model.config._attn_implementation, model.training)
    mw.causal_trace(vlm, question, corruption="Taj Mahal")
    assert (model.dtype, model.config._attn_implementation, model.training) == settings
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for module in vlm.layers.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


@torch.no_grad()
def widen(model, factor: float = 3.0, gates: float | None = None):
    """Confident answers: a wide head, in a model whose every weight was drawn from its own initializer."""
    model.lm_head.weight.mul_(factor)
    return model.eval()


@torch.no_grad()
def without_mixing(model, tower: str):
    """The vision tower with the outputs of its attention at zero, so that each patch stays by itself."""
    for name, parameter in part(model, tower).named_parameters():
        if "attn" in name and name.rsplit(".", 2)[-2] in ("out_proj", "o_proj"):
            parameter.zero_()
    return model


@torch.no_grad()
def visual_embeddings(vlm, question) -> torch.Tensor:
    """(visual tokens, width) as the decoder gets them: the processor, the vision tower, the projector and their order, all as they are."""
    encoded, got = vlm.encode(question), {}

    def keep(_module, _arguments, given):
        got.update(given)

    with contextlib.closing(contextlib.ExitStack()) as stack:  # the hook goes whatever happens
        handle = part(vlm.model, vlm.family.decoder).register_forward_pre_hook(keep, with_kwargs=True)
        stack.callback(handle.remove)
        vlm.model(**encoded.inputs)
    return got["inputs_embeds"][0][torch.as_tensor(encoded.visual)]


def assert_geometry_by_cause(
    vlm, width: int, height: int, text="Where was this old bridge built", embeddings=visual_embeddings
):
    """Brighten the middle of one token's box: of all tokens of its grid's kind, the one named there must change most."""
    pixels = noise(width, height)
    question = mw.Question(pixels, text, constraint="this old bridge")
    geometry = vlm.family.geometry(vlm.processor, vlm.model, vlm.encode(question).inputs, question.image)
    plain = embeddings(vlm, question)
    assert geometry.size == (width, height)
    assert geometry.count == len(plain)
    boxes = geometry.boxes
    for grid in geometry.grids:
        rows, columns = grid.shape
        corners = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1), (rows // 2, columns // 3)]
        # corners of the picture, then one token of every further grid
        chosen = {
            grid.tokens[at]
            for at in (corners if grid is geometry.grids[0] or len(geometry.grids) == 1 else corners[2:4])
        }
        alike = np.concatenate([g.tokens.ravel() for g in geometry.grids if g.kind == grid.kind])
        for token in map(int, chosen):
            left, top, right, bottom = boxes[token]
            x, y, w, h = (left + right) / 2, (top + bottom) / 2, (right - left) / 4, (bottom - top) / 4
            assert token in geometry.tokens_at(x, y)
            lit = pixels.copy()
            lit[slice(*rounded(y - h, y + h)), slice(*rounded(x - w, x + w))] = 255
            assert (lit != pixels).any()
            moved = (embeddings(vlm, mw.Question(lit, text, constraint="this old bridge")) - plain).norm(dim=-1)
            assert int(alike[int(moved[alike].argmax())]) == token
    return geometry


def rounded(start: float, end: float) -> tuple[int, int]:
    """Whole pixels, one at least."""
    first = int(start)
    return first, max(first + 1, round(end))

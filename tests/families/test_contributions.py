"""Contributions of every family against the plain way: eager attention maps, values from hooks, the output matrix, head by head."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.contributions.rows import read_rows

from . import (
    random_internvl,
    random_qwen,
    test_gemma,
    test_idefics,
    test_mllama,
    tiny_llava,
)


def softly_capped() -> mw.VLM:
    """A cap of 1, which bends scores (Gemma 2's own, 50, hardly touches those of a random model)."""
    vlm = test_gemma.paligemma("gemma2")
    for layer in range(len(vlm.layers)):
        vars(vlm.block(layer, "self_attn"))["attn_logit_softcapping"] = 1.0
    return vlm


def biased(vlm: mw.VLM) -> mw.VLM:
    """Biases begin as zeros, and one at zero would hide that it is forgotten."""
    with torch.no_grad():
        for name, parameter in vlm.layers.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
            elif name.endswith(("q_norm.weight", "k_norm.weight")):
                parameter.normal_(0.5, 0.2)
    return vlm


FAMILIES = {
    **{f"llava, {decoder}": functools.partial(tiny_llava.llava, decoder) for decoder in tiny_llava.DECODERS},
    "llava-next": tiny_llava.llava_next,
    "llava-onevision": tiny_llava.llava_onevision,
    **{name: functools.partial(lambda n: mw.load(*random_qwen.BUILDERS[n]()), name) for name in random_qwen.BUILDERS},
    "internvl, qwen2": lambda: random_internvl.random_internvl.__wrapped__("qwen2"),
    "internvl, qwen3": lambda: random_internvl.random_internvl.__wrapped__("qwen3"),
    "idefics3": lambda: test_idefics.vlm_of.__wrapped__("idefics3"),
    "smolvlm": lambda: test_idefics.vlm_of.__wrapped__("smolvlm"),
    "gemma3, sliding": test_gemma.gemma3,
    "gemma3, full": lambda: test_gemma.gemma3("full", seed=7),
    "paligemma": test_gemma.paligemma,
    "paligemma2, soft cap": softly_capped,
    "mllama": test_mllama.build_vlm,
}


@functools.cache
def vlm_of(kind: str) -> mw.VLM:
    return biased(FAMILIES[kind]())


def question() -> mw.Question:
    return mw.Question(random_qwen.picture(60, 40), "Where was this old bridge built", constraint="this old bridge")


def eager(vlm: mw.VLM) -> mw.VLM:
    """A copy of the model whose attention gives its maps."""
    model = copy.deepcopy(vlm.model)
    model.set_attn_implementation("eager")
    return mw.load(model, vlm.processor, template=vlm.template)


@torch.no_grad()
def plain(vlm: mw.VLM, asked: mw.Question) -> dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Of each layer: attention maps (heads, targets, sources), values (heads, sources, width), the output matrix (heads, width, stream), the output."""
    given_by, values, handles = {}, {}, []
    for layer in range(len(vlm.layers)):
        block = vlm.block(layer, "self_attn")
        handles += [
            block.register_forward_hook(lambda _m, _i, given, at=layer: given_by.update({at: given})),
            getattr(block, vlm.family.value).register_forward_hook(
                lambda _m, _i, given, at=layer: values.update({at: given})
            ),
        ]
    vlm.model(**vlm.encode(asked).inputs, use_cache=False)
    for handle in handles:
        handle.remove()
    made = {}
    for layer, (output, (weights,)) in given_by.items():
        matrix = getattr(vlm.block(layer, "self_attn"), vlm.family.output).weight
        width = matrix.shape[1] // len(weights)
        value = values[layer].reshape(weights.shape[-1], -1, width).transpose(0, 1)
        value = value.repeat_interleave(len(weights) // len(value), dim=0)
        made[layer] = (weights, value, matrix.T.reshape(len(weights), width, -1), output[0])
    return made


@torch.no_grad()
@pytest.mark.parametrize("kind", FAMILIES)
def test_contributions_equal_those_of_eager_maps_and_sum_to_the_output(kind):
    """Norms, attention and heads, and the sum over sources, with the model's own attention implementation and with eager."""
    vlm = vlm_of(kind)
    twin = eager(vlm)
    judge, targets = plain(twin, question()), vlm.encode(question()).constraint
    for model in (vlm, twin):
        flow = mw.attention_contributions(model, question(), per_head=True)
        assert flow.targets == targets
        for layer, (weights, values, matrix, output) in judge.items():
            crosses = flow.cross is not None and layer in flow.cross.norms.layer
            got = flow.cross if crosses else flow
            assert got is not None
            assert got.heads is not None
            for target in targets:
                parts = torch.einsum("hs,hsw,hwd->hsd", weights[:, target], values, matrix)
                bias = getattr(vlm.block(layer, "self_attn"), vlm.family.output).bias
                summed = parts.sum((0, 1)) + (0 if bias is None else bias)
                assert (summed - output[target]).abs().max() <= 1e-4 * output[target].abs().max()
                wanted = parts.sum(0).norm(dim=-1).numpy()
                assert wanted.std() > 1e-3
                close(got.per_target.sel(target=target, layer=layer), wanted)
            close(got.attention.sel(layer=layer), weights[:, list(targets)].mean(1).numpy())
            close(got.norms.sel(layer=layer), got.per_target.sel(layer=layer).mean("target"))
            each = torch.einsum("hts,hsw,hwd->thsd", weights[:, list(targets)], values, matrix).norm(dim=-1).mean(0)
            close(got.heads.sel(layer=layer), each.numpy())


def close(got, wanted):
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_rows_sum_to_what_the_model_itself_gave(kind):
    """The vectors themselves, at text, visual and last positions, against the user's own model and attention implementation."""
    vlm, seen = vlm_of(kind), {}
    encoded = vlm.encode(question())
    count = len(encoded.tokens)
    targets = sorted({0, count // 2, encoded.constraint[-1], count - 1})
    handles = [
        vlm.block(layer, "self_attn").register_forward_hook(
            lambda _m, args, options, given, at=layer: seen.update({at: (args, options, given)}), with_kwargs=True
        )
        for layer in range(len(vlm.layers))
    ]
    with torch.no_grad():
        vlm.model(**encoded.inputs)  # with a cache, as users run it
        for handle in handles:
            handle.remove()
        for layer, (args, options, given) in seen.items():
            block = vlm.block(layer, "self_attn")
            rows = read_rows(block, getattr(block, vlm.family.output), args, options, targets)
            for index, target in enumerate(targets):
                output = given[0][0, target]
                summed = rows.vectors(index).sum(0) + rows.bias
                assert (summed - output).abs().max() <= 1e-4 * output.abs().max()


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_model_is_as_it_was(kind):
    """Numbers, attributes of every module, hooks, configuration."""
    vlm = vlm_of(kind)
    assert vlm.nnsight is not None  # wrapped, which a model stays
    inputs = vlm.encode(question()).inputs
    with torch.no_grad():
        before = vlm.model(**inputs).logits
        state = [dict(module.__dict__) for module in vlm.model.modules()]
        config = vlm.model.config.to_dict()
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in vlm.model.modules()]
        mw.attention_contributions(vlm, question(), per_head=True)
        for module, known in zip(vlm.model.modules(), state, strict=True):
            assert module.__dict__.keys() == known.keys()
            assert all(module.__dict__[name] is value for name, value in known.items() if name != "rope_deltas")
        assert vlm.model.config.to_dict() == config
        assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in vlm.model.modules()] == hooks
        assert torch.equal(vlm.model(**inputs).logits, before)

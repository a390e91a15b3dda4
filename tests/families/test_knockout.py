"""Knockouts and lenses of every family against plain hooks: masks of a copy with eager attention, norm and head applied by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mllm_widgets as mw

from .test_contributions import FAMILIES, eager, question, vlm_of

TOLERANCE = 1e-5


@torch.no_grad()
def masked(vlm: mw.VLM, sources, targets, layers) -> np.ndarray:
    """Probabilities (vocabulary,) of one run in which these scores get the least number there is, by hooks on eager attention."""

    def hide(_module, args, options):
        mask = options["attention_mask"].clone()
        mask[:, :, torch.as_tensor(list(targets))[:, None], torch.as_tensor(list(sources))] = torch.finfo(
            mask.dtype
        ).min
        return args, {**options, "attention_mask": mask}

    handles = [vlm.block(layer, "self_attn").register_forward_pre_hook(hide, with_kwargs=True) for layer in layers]
    logits = vlm.model(**vlm.encode(question()).inputs, use_cache=False).logits[0, -1]
    for handle in handles:
        handle.remove()
    return logits.softmax(-1).numpy()


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_knockout_is_a_mask(kind):
    vlm = vlm_of(kind)
    twin, encoded = eager(vlm), vlm.encode(question())
    places = {"constraint": encoded.constraint, "last": (len(encoded.tokens) - 1,)}
    places["visual"] = tuple(np.flatnonzero(encoded.visual)) or (1, 2, 3)
    own = [layer for layer in range(len(vlm.layers)) if not (kind == "mllama" and layer in (1, 3))]
    moved = []
    for source, target, window in (("visual", "constraint", 1), ("constraint", "last", None)):
        named = source if encoded.visual.any() else places[source]
        for model in (vlm, twin):
            cut = mw.attention_knockout(model, question(), named, target, window=window)
            assert cut.targets == places[target]
            for index, blocked in enumerate(cut.blocked):
                wanted = masked(twin, places[source], places[target], [layer for layer in blocked if layer in own])
                assert abs(float(cut.probability[index]) - wanted[cut.answer.token_id]) <= TOLERANCE
                assert cut.top[index][0][1] == pytest.approx(wanted.max(), abs=TOLERANCE)
            moved.append(np.abs(cut.change.values).max())
    assert max(moved) > 1e-3


@pytest.mark.parametrize("kind", ["gemma3, sliding", "paligemma", "llava, phi"])
def test_edges_between_visual_tokens_can_be_blocked(kind):
    """Where they see each other both ways, too; and whole blocks of targets, more than are made at a time."""
    vlm = vlm_of(kind)
    visual = np.flatnonzero(vlm.encode(question()).visual)
    source, target = visual[len(visual) // 2 :].tolist(), visual[: len(visual) // 2].tolist()
    if kind == "llava, phi":
        source, target = target, source
    cut = mw.attention_knockout(vlm, question(), source, target, layers=[1])
    wanted = masked(eager(vlm), source, target, [1])
    assert abs(float(cut.probability[0]) - wanted[cut.answer.token_id]) <= TOLERANCE
    assert abs(float(cut.change[0])) > 1e-6


@torch.no_grad()
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_lens_is_the_last_norm_and_the_head(kind):
    vlm, streams = vlm_of(kind), {}
    handles = [
        block.register_forward_hook(
            lambda _m, _i, given, at=layer: streams.update({at: given[0] if isinstance(given, tuple) else given})
        )
        for layer, block in enumerate(vlm.layers)
    ]
    logits = vlm.model(**vlm.encode(question()).inputs, use_cache=False).logits[0].softmax(-1)
    for handle in handles:
        handle.remove()
    lens = mw.logit_lens(vlm, question(), k=3)
    decoder = vlm.model.get_submodule(vlm.family.decoder)
    norm = getattr(decoder, "final_layernorm" if "phi" in kind else "norm")
    cap = getattr(vlm.model.config.get_text_config(), "final_logit_softcapping", None)
    assert (cap is not None) == (kind == "paligemma2, soft cap")
    for layer, stream in streams.items():
        wanted = vlm.model.lm_head(norm(stream[0]))
        wanted = (wanted if cap is None else (wanted / cap).tanh() * cap).softmax(-1)
        best = wanted.topk(3)
        assert np.abs(lens.probabilities.sel(layer=layer) - best.values.numpy()).max() <= TOLERANCE
        assert (
            wanted.gather(1, torch.as_tensor(lens.tokens.sel(layer=layer).values)) - best.values
        ).abs().max() <= TOLERANCE
        answer = wanted[:, lens.answer.token_id].numpy()
        assert np.abs(lens.answer_probability.sel(layer=layer) - answer).max() <= TOLERANCE
    assert np.abs(lens.probabilities[-1] - logits.topk(3).values.numpy()).max() <= TOLERANCE

"""The judge: plain PyTorch hooks, one cell at a time, one full forward pass each, nothing shared or batched.

"residual" is a decoder layer's own output.  Noise is drawn here anew and added to what enters the decoder.
"""

from __future__ import annotations

import contextlib

import numpy as np
import torch

MODULES = ("self_attn", "mlp")
SITES = (*MODULES, "residual")


def hidden_of(output):
    return output[0] if isinstance(output, tuple) else output


@contextlib.contextmanager
def hooks(vlm, sites, function):
    """`function(site, hidden)` on the output of each (layer, module); what it returns, if anything, takes its place."""

    def hook(site):
        def run(_module, _inputs, output):
            hidden = function(site, hidden_of(output))
            if hidden is None:
                return None
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return run

    def place(layer, module):
        return vlm.layers[layer] if module == "residual" else vlm.block(layer, module)

    handles = [place(*site).register_forward_hook(hook(site)) for site in sites]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def corrupted_inputs(setup):
    return {**setup.encoded.inputs, "input_ids": torch.as_tensor(setup.corrupted_input_ids)[None]}


@torch.no_grad()
def recorded(vlm, inputs) -> dict[tuple[int, str], torch.Tensor]:
    """(layer, module) -> output (positions, width) of one full forward pass."""
    kept = {}
    sites = [(layer, module) for layer in range(len(vlm.layers)) for module in SITES]
    with hooks(vlm, sites, lambda site, hidden: kept.update({site: hidden[0].clone()})):
        vlm.model(**inputs)
    return kept


def drawn(vlm, sigma: float, draws: int, seed: int, count: int) -> torch.Tensor:
    """Noise (draws, count, width) for `count` positions, in standard deviations of the embedding matrix."""
    weight = vlm.model.get_input_embeddings().weight.detach()
    random = torch.randn(draws, count, weight.shape[1], generator=torch.Generator().manual_seed(seed))
    return random * (sigma * weight.double().std(correction=0).item())


@contextlib.contextmanager
def noised(vlm, positions, noise):
    """Noise (positions, width) on the embeddings that enter the decoder; None adds nothing."""

    def add(_module, args, options):
        embeds = options.get("inputs_embeds")
        if embeds is None:  # a language model's decoder embeds its tokens itself
            ids = args[0] if args else options["input_ids"]
            args, options = (), {**options, "input_ids": None}
            embeds = vlm.model.get_input_embeddings()(ids)
        embeds = embeds.clone()
        embeds[0, list(positions)] += noise
        return args, {**options, "inputs_embeds": embeds}

    decoder = vlm.model.get_submodule(vlm.family.decoder)
    handle = None if noise is None else decoder.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


@torch.no_grad()
def reference_cell(vlm, setup, module: str, layers, position: int, clean, noise=None) -> float:
    """P_restored of one cell; `layers` are the layers restored, `clean` what `recorded` of the clean prompt.

    `noise` (corrupted positions, width) is one draw, for a corruption that is noise.
    """

    def put(site, hidden):
        hidden = hidden.clone()
        hidden[0, position] = clean[site][position]
        return hidden

    with noised(vlm, setup.changed, noise), hooks(vlm, [(layer, module) for layer in layers], put):
        logits = vlm.model(**corrupted_inputs(setup)).logits[0, -1]
    return float(logits.float().softmax(-1)[setup.answer_id])


@torch.no_grad()
def reference_logits(vlm, inputs, puts) -> torch.Tensor:
    """Logits (positions, vocabulary) of one full forward pass; `puts` is {(layer, module): (positions, values)}, written at those outputs."""

    def put(site, hidden):
        positions, values = puts[site]
        hidden = hidden.clone()
        hidden[0, list(positions)] = values
        return hidden

    with hooks(vlm, list(puts), put):
        return vlm.model(**inputs).logits[0]


def reference_map(vlm, setup, module: str, window: int, noise=None, positions=None) -> np.ndarray:
    """P_restored (layers, text tokens), cell by cell; of some `positions` only, if given.

    With `noise` (draws, corrupted positions, width) the mean over draws.
    """
    draws = [None] if noise is None else noise
    return np.mean([_reference_map(vlm, setup, module, window, one, positions) for one in draws], axis=0)


def _reference_map(vlm, setup, module: str, window: int, noise, positions) -> np.ndarray:
    count = len(vlm.layers)
    clean = recorded(vlm, setup.encoded.inputs)

    def span(centre: int) -> list[int]:
        return [k for k in range(centre - window // 2, centre - window // 2 + window) if 0 <= k < count]

    return np.array(
        [
            [
                reference_cell(vlm, setup, module, span(layer), p, clean, noise)
                for p in positions or setup.text_positions
            ]
            for layer in range(count)
        ]
    )

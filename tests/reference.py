"""The judge: plain PyTorch hooks, one cell at a time, one full forward pass each, nothing shared or batched."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

MODULES = ("self_attn", "mlp")


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

    handles = [vlm.block(*site).register_forward_hook(hook(site)) for site in sites]
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
    sites = [(layer, module) for layer in range(len(vlm.layers)) for module in MODULES]
    with hooks(vlm, sites, lambda site, hidden: kept.update({site: hidden[0].clone()})):
        vlm.model(**inputs)
    return kept


@torch.no_grad()
def reference_cell(vlm, setup, module: str, layers, position: int, clean) -> float:
    """P_restored of one cell; `layers` are the layers restored, `clean` what `recorded` of the clean prompt."""

    def put(site, hidden):
        hidden = hidden.clone()
        hidden[0, position] = clean[site][position]
        return hidden

    with hooks(vlm, [(layer, module) for layer in layers], put):
        logits = vlm.model(**corrupted_inputs(setup)).logits[0, -1]
    return float(logits.float().softmax(-1)[setup.answer_id])


def reference_map(vlm, setup, module: str, window: int) -> np.ndarray:
    """P_restored (layers, text tokens), cell by cell."""
    count = len(vlm.layers)
    clean = recorded(vlm, setup.encoded.inputs)

    def span(centre: int) -> list[int]:
        return [k for k in range(centre - window // 2, centre - window // 2 + window) if 0 <= k < count]

    return np.array(
        [
            [reference_cell(vlm, setup, module, span(layer), p, clean) for p in setup.text_positions]
            for layer in range(count)
        ]
    )

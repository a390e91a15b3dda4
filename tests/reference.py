"""The judge: plain PyTorch hooks, one cell at a time, one full forward pass each, nothing shared or batched."""

from __future__ import annotations

import numpy as np
import torch


def hidden_of(output):
    return output[0] if isinstance(output, tuple) else output


@torch.no_grad()
def reference_cell(vlm, setup, module: str, layers, position: int) -> float:
    """P_restored of one cell; `layers` are the layers restored."""
    corrupted = {**setup.encoded.inputs, "input_ids": torch.as_tensor(setup.corrupted_input_ids)[None]}
    kept: dict[int, torch.Tensor] = {}
    handles = []
    for layer in layers:

        def keep(_module, _inputs, output, layer=layer):
            kept[layer] = hidden_of(output)[0, position].clone()

        handles.append(getattr(vlm.layers[layer], module).register_forward_hook(keep))
    vlm.model(**setup.encoded.inputs)
    for handle in handles:
        handle.remove()
    handles = []
    for layer in layers:

        def put(_module, _inputs, output, layer=layer):
            hidden = hidden_of(output).clone()
            hidden[0, position] = kept[layer]
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handles.append(getattr(vlm.layers[layer], module).register_forward_hook(put))
    logits = vlm.model(**corrupted).logits[0, -1]
    for handle in handles:
        handle.remove()
    return float(logits.float().softmax(-1)[setup.answer_id])


def reference_map(vlm, setup, module: str, window: int) -> np.ndarray:
    """P_restored (layers, text tokens), cell by cell."""
    count = len(vlm.layers)

    def span(centre: int) -> list[int]:
        return [k for k in range(centre - window // 2, centre - window // 2 + window) if 0 <= k < count]

    return np.array(
        [[reference_cell(vlm, setup, module, span(layer), p) for p in setup.text_positions] for layer in range(count)]
    )

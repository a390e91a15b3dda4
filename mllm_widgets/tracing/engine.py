"""Many restored runs in one forward pass.

A cell of the map is one run of the corrupted suffix in which one sub-block's output at one position, over a window of layers, is the clean
run's.  Cells are rows of a batch that share the prefix's keys and values; one nnsight trace runs a batch and writes every row's restored
values layer by layer.  A plain-hook reference in the tests, one cell at a time without any sharing, is the judge.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .setup import TraceSetup


@dataclass(frozen=True)
class Cells:
    """Cells as index arrays (n,): module (into the modules asked for), layer (centre of the window), position (sequence)."""

    module: np.ndarray
    layer: np.ndarray
    position: np.ndarray

    def __len__(self) -> int:
        return len(self.layer)

    def __getitem__(self, rows: slice) -> Cells:
        return Cells(self.module[rows], self.layer[rows], self.position[rows])


def window_layers(centre: int, window: int, layers: int) -> range:
    """The layers a window restores: `window` of them centred at `centre`, clipped to the model; an even window leans left, as ROME's.

    Examples
    --------
    >>> list(window_layers(2, 3, 8)), list(window_layers(0, 3, 8)), list(window_layers(4, 4, 8))
    ([1, 2, 3], [0, 1], [2, 3, 4, 5])
    """
    first = centre - window // 2
    return range(max(0, first), min(layers, first + window))


def order_cells(setup: TraceSetup, modules: int) -> Cells:
    """All cells from the first constraint token on, those that make the picture useful first: constraint and last token."""
    positions = [p for p in setup.text_positions if p >= setup.start]
    early = [*reversed(setup.encoded.constraint), positions[-1]]
    ordered = list(dict.fromkeys([*early, *positions]))
    grid = [(m, layer, p) for p in ordered for m in range(modules) for layer in range(len(setup.vlm.layers))]
    module, layer, position = (np.array(column) for column in zip(*grid, strict=True))
    return Cells(module, layer, position)


def restored_probabilities(setup: TraceSetup, modules: tuple[str, ...], cells: Cells, window: int) -> np.ndarray:
    """P_restored (n,) of a batch of cells, in one forward pass."""
    vlm, rows = setup.vlm, len(cells)
    layers, length = len(vlm.layers), len(setup.encoded.input_ids)
    embeds = setup.corrupted_embeds.expand(rows, -1, -1).contiguous()
    positions = torch.arange(setup.start, length, device=embeds.device)[None].expand(rows, -1)
    # nnsight would make a mask of the suffix's length alone, which hides the prefix
    mask = torch.ones(rows, length, dtype=torch.long, device=embeds.device)
    cache = copy.deepcopy(setup.prefix)
    cache.batch_repeat_interleave(rows)
    writes = list(_writes(setup, modules, cells, window, layers))
    nn = vlm.nnsight
    inputs = {"inputs_embeds": embeds, "attention_mask": mask, "position_ids": positions, "cache": cache}
    with nn.trace(**inputs, use_cache=True, logits_to_keep=1):
        for layer, module, row, at, values in writes:
            if module == "mlp":
                mlp = nn.model.language_model.layers[layer].mlp.output
                mlp[row.to(mlp.device), at.to(mlp.device)] = values.to(mlp.device)
            else:
                attention = nn.model.language_model.layers[layer].self_attn.output[0]
                attention[row.to(attention.device), at.to(attention.device)] = values.to(attention.device)
        logits = nn.lm_head.output[:, -1].save()
    return logits.float().softmax(-1)[:, setup.answer_id].cpu().numpy()


def _writes(
    setup: TraceSetup, modules: tuple[str, ...], cells: Cells, window: int, layers: int
) -> Iterator[tuple[int, str, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(layer, module, rows, suffix positions, clean values), in the order the model runs: attention before MLP."""
    offset = cells.position - setup.start
    spans = [window_layers(int(centre), window, layers) for centre in cells.layer]
    for layer in range(layers):
        inside = np.array([layer in span for span in spans])
        for module in ("self_attn", "mlp"):
            if module not in modules:
                continue
            rows = np.flatnonzero(inside & (cells.module == modules.index(module)))
            if len(rows):
                at = torch.as_tensor(offset[rows])
                clean = setup.clean_outputs[module][layer]
                yield layer, module, torch.as_tensor(rows), at, clean[at.to(clean.device)]

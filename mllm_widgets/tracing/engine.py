"""Many restored runs in one forward pass.

A cell of the map is one run of the corrupted suffix in which one sub-block's output at one position, over a window of layers, is the clean
run's.  One nnsight trace runs a pass of cells and writes every cell's restored values layer by layer: packed in one sequence (packing.py)
where that is exact, otherwise as rows of a batch that share the prefix's keys and values (`run_rows`, which takes any writes, so that
tests can ask it for more than cells).  A plain-hook reference in the tests, one cell at a time without any sharing, is the judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mllm_widgets.vlm.families.base import part

from .continuation import brought, hidden
from .packing import ALL, Shortcuts, corrupted_run, run_packed
from .setup import SITES, TraceSetup


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
    """All cells that can have an effect, those that make the picture useful first: constraint and last token.

    Both parts go up through the layers, so that the cells of a pass, which enters the decoder at its first restored layer, are close.
    """
    positions = [p for p in setup.text_positions if p >= setup.first]
    early = list(dict.fromkeys([*reversed(setup.corrupted_text), positions[-1]]))
    late = [p for p in positions if p not in early]
    layers = range(len(setup.vlm.layers))
    grid = [(m, layer, p) for some in (early, late) for layer in layers for p in some for m in range(modules)]
    module, layer, position = (np.array(column) for column in zip(*grid, strict=True))
    return Cells(module, layer, position)


@dataclass(frozen=True)
class Write:
    """Values put in the place of one sub-block's output, in some rows of a batch.

    rows, at: (n,) rows of the batch, and positions counted from `setup.start`.
    values: (n, width), what is written at each of them.
    """

    layer: int
    module: str
    rows: torch.Tensor
    at: torch.Tensor
    values: torch.Tensor


def restored_probabilities(
    setup: TraceSetup, modules: tuple[str, ...], cells: Cells, window: int, shortcuts: Shortcuts = ALL
) -> np.ndarray:
    """P_restored (n,) of a pass of cells, in one forward pass.  The caller holds the model."""
    writes = list(_writes(setup, modules, cells, window))
    run = corrupted_run(setup) if shortcuts.packed else None
    if run is None:
        return run_rows(setup, len(cells), writes)
    begins = cells.position - setup.start if shortcuts.from_token else np.zeros(len(cells), dtype=int)
    first = min(write.layer for write in writes) if shortcuts.from_layer else 0
    return run_packed(setup, run, begins, first, writes, shortcuts)[:, setup.answer_id].cpu().numpy()


def run_rows(setup: TraceSetup, rows: int, writes: Iterable[Write], embeds: torch.Tensor | None = None) -> np.ndarray:
    """P(answer) (rows,) of runs with arbitrary writes, in one forward pass.

    Parameters
    ----------
    writes: at most one for each layer and module, in any order.
    embeds: input embeddings (rows, suffix, width); the corrupted ones in every row by default.

    The caller holds the model: `with setup.vlm.running()`.
    """
    if embeds is None:
        embeds = setup.corrupted_embeds.expand(rows, -1, -1).contiguous()
    # nnsight serves requests in the order in which the model runs: attention before MLP, and the layer's own output last
    ordered = sorted(writes, key=lambda write: (write.layer, SITES.index(write.module)))
    nn = setup.vlm.nnsight
    with nn.trace(**setup.continuation.inputs(embeds)):
        for write in ordered:
            block = hidden(part(nn, setup.vlm.site(write.layer, write.module)).output)
            block[write.rows.to(block.device), write.at.to(block.device)] = write.values.to(block)
        brought(part(nn, setup.vlm.family.decoder).output, embeds.device)
        logits = nn.output.logits[:, -1].save()
    return logits.float().softmax(-1)[:, setup.answer_id].cpu().numpy()


def _writes(setup: TraceSetup, modules: tuple[str, ...], cells: Cells, window: int) -> Iterator[Write]:
    """What restores each cell: one write a layer and module, of the clean run's values."""
    layers = len(setup.vlm.layers)
    offset = cells.position - setup.start
    spans = [window_layers(int(centre), window, layers) for centre in cells.layer]
    for layer in range(layers):
        inside = np.array([layer in span for span in spans])
        for index, module in enumerate(modules):
            rows = np.flatnonzero(inside & (cells.module == index))
            if len(rows):
                at = torch.as_tensor(offset[rows])
                clean = setup.clean_outputs[module][layer]
                yield Write(layer, module, torch.as_tensor(rows), at, clean[at.to(clean.device)])

"""Many restored runs in one forward pass.

A cell of the map is one run of the corrupted suffix in which one sub-block's output at one position, over a window of layers, is the clean
run's.  One nnsight trace runs a pass of cells and writes every cell's restored values layer by layer: packed in one sequence (packing.py)
where that is exact, otherwise as rows of a batch that share the prefix's keys and values (`run_rows`, which takes any writes, so that
tests can ask it for more than cells).  A plain-hook reference in the tests, one cell at a time without any sharing, is the judge.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mllm_widgets.results import window_layers
from mllm_widgets.vlm.families.base import part

from .continuation import brought, hidden
from .packing import ALL, Shortcuts, corrupted_run, run_packed
from .runs import SITES
from .setup import TraceSetup


@dataclass(frozen=True)
class Cells:
    """Cells as index arrays (n,): module (into the modules asked for), layer (centre of the window), position (sequence).

    groups: for each cell all sequence positions it restores, `position` the first of them; None where each restores `position` alone.
    """

    module: np.ndarray
    layer: np.ndarray
    position: np.ndarray
    groups: tuple[tuple[int, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.layer)

    def __getitem__(self, rows: slice) -> Cells:
        return Cells(self.module[rows], self.layer[rows], self.position[rows], self.groups and self.groups[rows])

    def restored(self, cell: int) -> tuple[int, ...]:
        """Sequence positions a cell restores."""
        return self.groups[cell] if self.groups else (int(self.position[cell]),)


def order_cells(setup: TraceSetup, modules: int) -> Cells:
    """All cells that can have an effect, those that make the picture useful first: constraint and last token.

    Both parts go up through the layers, so that the cells of a pass, which enters the decoder at its first restored layer, are close.
    """
    positions = [p for p in setup.text_positions if p >= setup.first]
    words = {p for p in setup.encoded.constraint if p >= setup.first}.union(setup.corrupted_text)
    # none where a prompt ends with the picture that is corrupted
    early = [*sorted(words.difference(positions[-1:]), reverse=True), *positions[-1:]]
    late = [p for p in positions if p not in early]
    layers = range(len(setup.vlm.layers))
    grid = [(m, layer, p) for some in (early, late) for layer in layers for p in some for m in range(modules)]
    return Cells(*np.array(grid, dtype=int).reshape(-1, 3).T)


def group_cells(groups: Sequence[tuple[int, ...]], modules: int, layers: int) -> tuple[Cells, np.ndarray]:
    """Every cell of groups of positions, from the lowest layer up, and which group each belongs to (n,)."""
    grid = [(m, layer, g) for layer in range(layers) for g in range(len(groups)) for m in range(modules)]
    module, layer, group = (np.array(column) for column in zip(*grid, strict=True))
    restored = tuple(groups[g] for g in group)
    return Cells(module, layer, np.array([min(positions) for positions in restored]), restored), group


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


def restored_scores(
    setup: TraceSetup,
    modules: tuple[str, ...],
    cells: Cells,
    window: int,
    shortcuts: Shortcuts = ALL,
    sever: str | None = None,
) -> np.ndarray:
    """Scores (n,) of a pass of cells, in one forward pass.  The caller holds the model.

    sever: sub-blocks whose outputs above each cell's window stay the corrupted run's, at the positions the cell restores.
    """
    writes = _writes(setup, modules, cells, window, sever)
    run = corrupted_run(setup) if shortcuts.packed else None
    if run is None:
        return run_rows(setup, len(cells), writes)
    begins = cells.position - setup.start if shortcuts.from_token else np.zeros(len(cells), dtype=int)
    first = min(write.layer for write in writes) if shortcuts.from_layer else 0
    return setup.score(run_packed(setup, run, begins, first, writes, shortcuts)).cpu().numpy()


def run_rows(setup: TraceSetup, rows: int, writes: Iterable[Write], embeds: torch.Tensor | None = None) -> np.ndarray:
    """Scores (rows,) of runs with arbitrary writes, in one forward pass.

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
        for layer in range(len(setup.vlm.layers)):
            for write in ordered:
                if write.layer == layer:
                    block = hidden(part(nn, setup.vlm.site(layer, write.module)).output)
                    block[write.rows.to(block.device), write.at.to(block.device)] = write.values.to(block)
            setup.continuation.add_deeper(setup.vlm, layer)
        brought(part(nn, setup.vlm.family.decoder).output, embeds.device)
        logits = nn.output.logits.save()
    return setup.score(logits).cpu().numpy()


@dataclass(frozen=True)
class Place:
    """Where one sub-block's output is written in the runs of a pass.

    rows, positions: (n,) run of the pass, and sequence position.
    runs: (n,) 0 where the clean run's value is written, 1 where the corrupted run's.
    """

    layer: int
    module: str
    rows: np.ndarray
    positions: np.ndarray
    runs: np.ndarray


def places(
    setup: TraceSetup, modules: tuple[str, ...], cells: Cells, window: int, sever: str | None = None
) -> Iterator[Place]:
    """What restores each cell, and keeps what is severed from following: at most one place a layer and module."""
    layers = len(setup.vlm.layers)
    spans = [window_layers(int(centre), window, layers) for centre in cells.layer]
    restored_at = [np.array(cells.restored(cell)) for cell in range(len(cells))]
    for layer in range(layers):
        for module in SITES:
            restored = [c for c, span in enumerate(spans) if layer in span and modules[cells.module[c]] == module]
            severed = [c for c, span in enumerate(spans) if layer >= span.stop] if module == sever else []
            both = restored + severed
            if not both:
                continue
            counts = [len(restored_at[c]) for c in both]
            yield Place(
                layer,
                module,
                np.repeat(both, counts),
                np.concatenate([restored_at[c] for c in both]),
                np.repeat([0] * len(restored) + [1] * len(severed), counts),
            )


def _writes(
    setup: TraceSetup, modules: tuple[str, ...], cells: Cells, window: int, sever: str | None = None
) -> list[Write]:
    """The places of a pass, with the values that stand here."""
    found = []
    for place in places(setup, modules, cells, window, sever):
        at = place.positions - setup.start
        values = _at(setup.clean_outputs[place.module][place.layer], at)
        severed = torch.as_tensor(place.runs == 1, device=values.device)
        if severed.any():
            others = _at(corrupted_outputs(setup, place.module)[place.layer], at)
            values = torch.where(severed[:, None], others, values)
        found.append(Write(place.layer, place.module, torch.as_tensor(place.rows), torch.as_tensor(at), values))
    return found


def _at(values: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
    return values[torch.as_tensor(positions, device=values.device)]


_CORRUPTED: weakref.WeakKeyDictionary[TraceSetup, dict[str, torch.Tensor]] = weakref.WeakKeyDictionary()


def corrupted_outputs(setup: TraceSetup, module: str) -> torch.Tensor:
    """The corrupted run's outputs of a sub-block (layers, suffix, width), recorded once.  The caller holds the model."""
    known = _CORRUPTED.setdefault(setup, {})
    if module not in known:
        vlm, nn = setup.vlm, setup.vlm.nnsight
        kept: list[torch.Tensor] = []
        with nn.trace(**setup.continuation.inputs(setup.corrupted_embeds)):
            for layer in range(len(vlm.layers)):
                kept.append(hidden(part(nn, vlm.site(layer, module)).output)[0].clone().save())
                setup.continuation.add_deeper(vlm, layer)
            brought(part(nn, vlm.family.decoder).output, setup.corrupted_embeds.device)
        known[module] = torch.stack([value.to(setup.corrupted_embeds.device) for value in kept])
    return known[module]

"""How far maps in half precision lie from float32, and how much of that plain hooks show, too, when only the size of a batch changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

import mllm_widgets as mw
from mllm_widgets.tracing import packing, prepare_trace, run_trace, runs
from mllm_widgets.tracing.continuation import drift
from tests.reference import SITES, corrupted_inputs, hooks, recorded

from .tiny import in_dtype

ROWS = (1, 3, 16)


@dataclass(frozen=True)
class Rounding:
    """Maps (sub-block, layer, token) of P_restored of one model in one precision, and two runs the engine compares before it traces.

    ours: the engine's.
    plain: rows of a batch -> plain hooks' in the same precision, one cell a row.
    exact: plain hooks' in float32, with the same rounded weights.
    continued: `drift` of the clean run when it is continued from stored keys and values.
    packed: `drift` of the corrupted run in a packed pass; None where nothing is packed.
    """

    ours: np.ndarray
    plain: dict[int, np.ndarray]
    exact: np.ndarray
    continued: float
    packed: float | None

    @property
    def to_plain(self) -> np.ndarray:
        """|ours - plain hooks|, both in this precision."""
        return np.abs(self.ours - self.plain[1])

    @property
    def to_exact(self) -> np.ndarray:
        """|ours - float32|."""
        return np.abs(self.ours - self.exact)

    @property
    def plain_to_exact(self) -> np.ndarray:
        """|plain hooks - float32|, one row at a time: what any map in this precision must be expected to show."""
        return np.abs(self.plain[1] - self.exact)

    @property
    def spread(self) -> np.ndarray:
        """Largest less smallest value of plain hooks over the sizes of a batch."""
        return np.ptp(np.stack(list(self.plain.values())), axis=0)


def rounding(vlm: mw.VLM, question: mw.Question, dtype: torch.dtype, rows: tuple[int, ...] = ROWS) -> Rounding:
    """Measure a float32 model in another precision; window 1, every layer, the tokens that can have an effect."""
    half, exact = in_dtype(vlm, dtype)
    drifts: dict[str, float] = {}
    with pytest.MonkeyPatch.context() as patch:
        for room, name in ((runs, "continued"), (packing, "packed")):
            patch.setattr(room, "drift", lambda *pair, name=name: drifts.setdefault(name, drift(*pair)))
        setup = prepare_trace(half, question, corruption="Taj Mahal")
        with half.running():
            packed = packing.corrupted_run(setup) is not None
    judge = replace(prepare_trace(exact, question, corruption="Taj Mahal"), score=setup.score)
    positions = [p for p in setup.text_positions if p >= setup.first]
    return Rounding(
        ours=run_trace(setup, modules=SITES).restored.sel(token=positions).values,
        plain={count: plain_map(half, setup, positions, count) for count in rows},
        exact=plain_map(exact, judge, positions, max(rows)),
        continued=drifts["continued"],
        packed=drifts["packed"] if packed else None,
    )


@torch.no_grad()
def plain_map(vlm: mw.VLM, setup, positions: list[int], rows: int) -> np.ndarray:
    """P_restored (sub-block, layer, token) by plain hooks, `rows` whole prompts in a forward pass, one cell a row."""
    clean = recorded(vlm, setup.encoded.inputs)
    inputs = {name: value.repeat(rows, *[1] * (value.dim() - 1)) for name, value in corrupted_inputs(setup).items()}

    def restored(site: tuple[int, str], some: list[int]) -> list[float]:
        def put(site, hidden):
            hidden = hidden.clone()
            for row, position in enumerate(some):
                hidden[row, position] = clean[site][position]
            return hidden

        with hooks(vlm, [site], put):
            logits = vlm.model(**inputs).logits[: len(some), -1]
        return logits.float().softmax(-1)[:, setup.answer_id].tolist()

    return np.array(
        [
            [
                [
                    value
                    for at in range(0, len(positions), rows)
                    for value in restored((layer, module), positions[at : at + rows])
                ]
                for layer in range(len(vlm.layers))
            ]
            for module in SITES
        ]
    )

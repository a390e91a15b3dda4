"""Gaussian noise on input embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

from .base import Corruption, Plan, check_counts, check_size, times
from .places import PLACES, as_places, positions_of


@dataclass(frozen=True)
class EmbeddingNoise(Corruption):
    """Gaussian noise on input embeddings, as in ROME; every number of the map is a mean over the draws.

    A token swap followed by an early restoration partly puts the constraint's identity back in place of the other word's; noise stands for no
    other word, so it is the control for that.

    Parameters
    ----------
    sigma: standard deviation of the noise, in standard deviations of the model's embedding matrix.
    draws: how many independent draws are averaged; the work grows with it.
    seed: of the draws; the same seed gives the same noise on every device.
    positions: what is noised: "constraint", "text_constraints", "visual" (all visual tokens), sequence positions, or several of these in
        a tuple.

    Raises
    ------
    TraceError: for a negative sigma, draws below 1, or positions that name nothing.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> noise = mw.tracing.EmbeddingNoise(sigma=3.0, draws=4)
    >>> mw.causal_trace(mw.load(), mw.datasets.demo_question("Eiffel Tower"), corruption=noise).corruption
    'Gaussian noise (sigma 3, 4 draws)'
    """

    sigma: float = 3.0
    draws: int = 10
    seed: int = 0
    positions: str | int | Sequence[str | int] = "constraint"

    def __post_init__(self) -> None:
        check_size("sigma", self.sigma, "in standard deviations of the embedding matrix (ROME takes 3.0)")
        check_counts(self.draws, self.seed)
        object.__setattr__(self, "positions", as_places(self.positions, PLACES, type(self).__name__, numbers=True))

    def plan(self, vlm: VLM, question: Question, encoded: Encoding) -> Plan:
        """As `Corruption.plan`."""
        places = tuple(self.positions) if isinstance(self.positions, tuple) else (self.positions,)
        positions = positions_of(places, vlm, question, encoded)
        matrix = vlm.model.get_input_embeddings()
        width = matrix(torch.tensor([0], device=vlm.device)).shape[-1]
        # drawn on the CPU, where a generator gives the same numbers on every machine
        generator = torch.Generator().manual_seed(int(self.seed))
        noise = torch.randn(int(self.draws), len(positions), width, generator=generator)
        where = "" if places == ("constraint",) else f" on {', '.join(map(str, places))}".replace("_", " ")
        return Plan(
            positions=positions,
            input_ids=encoded.input_ids.copy(),
            name=f"Gaussian noise{where} (sigma {self.sigma:g}, {times(self.draws)})",
            fitted="",
            advice="raise sigma" if self.sigma else "sigma=0 adds no noise",
            noise=noise * float(self.sigma) * embedding_std(vlm),
        )


def embedding_std(vlm: VLM) -> float:
    """The standard deviation of a model's input embeddings, over the whole vocabulary; scaled as the model scales them."""
    matrix = vlm.model.get_input_embeddings()
    total = squares = count = 0.0
    for ids in torch.arange(matrix.num_embeddings, device=vlm.device).split(4096):
        values = matrix(ids).double()
        total, squares, count = total + values.sum().item(), squares + (values**2).sum().item(), count + values.numel()
    return max(0.0, squares / count - (total / count) ** 2) ** 0.5

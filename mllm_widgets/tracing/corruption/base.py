"""What a corruption is: which positions of a question it changes, and what stands there instead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mllm_widgets.errors import TraceError
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Plan:
    """A corruption of one question.

    positions: sequence positions it changes, ascending.
    input_ids: token ids (positions,) of the corrupted prompt.
    name: for a reader.
    fitted: what was done to make the new words as long as the old ones; empty where there are no new words.
    advice: what to try where it leaves the answer unchanged.
    noise: (draws, changed positions, width), added to the embeddings there; None where there is none.
    pictures: other pictures, one a draw, of the question's own size; empty where the picture stays.
    """

    positions: tuple[int, ...]
    input_ids: np.ndarray = field(repr=False)
    name: str
    fitted: str
    advice: str
    noise: torch.Tensor | None = field(default=None, repr=False)
    pictures: tuple[Image.Image, ...] = field(default=(), repr=False)

    def corrupt(self, vlm: VLM, embeds: torch.Tensor) -> torch.Tensor:
        """Corrupted input embeddings (draws, all positions, width) from the clean ones (1, all positions, width).

        Of new words and of noise; what other pictures give, only a run of the vision tower knows.
        """
        where = torch.tensor(self.positions, device=embeds.device)
        if self.noise is not None:
            made = embeds.repeat(len(self.noise), 1, 1)
            # summed in the noise's float32, so that half precision rounds once
            made[:, where] = (embeds[:, where].float() + self.noise.to(embeds.device)).to(embeds.dtype)
            return made
        made = embeds.clone()
        ids = torch.as_tensor(self.input_ids[list(self.positions)], device=embeds.device)
        made[0, where] = vlm.model.get_input_embeddings()(ids).to(made)
        return made


class Corruption(ABC):
    """A way to corrupt questions.  A subclass says in `plan` what it changes."""

    @abstractmethod
    def plan(self, vlm: VLM, question: Question, encoded: Encoding) -> Plan:
        """What it does to one question.

        Raises TraceError where it cannot be done, or would change nothing.
        """


def as_corruption(corruption: Any) -> Corruption:
    """A corruption object; a phrase is a `TokenSwap`.

    Raises TraceError for anything else.
    """
    from .words import TokenSwap

    if isinstance(corruption, Corruption):
        return corruption
    if isinstance(corruption, type) and issubclass(corruption, Corruption):
        raise TraceError(
            f"corruption is the class {corruption.__name__}; expected an object: {corruption.__name__}(...)."
        )
    if not isinstance(corruption, str):
        raise TraceError(
            f"corruption={corruption!r} is no text; expected a phrase such as 'Taj Mahal', or a corruption such as mw.tracing.EmbeddingNoise()."
        )
    return TokenSwap(corruption)


def check_size(name: str, value: Any, meaning: str) -> None:
    """Raises TraceError for a size of noise that is no number, negative or infinite."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 <= float(value) < float("inf"):
        raise TraceError(f"{name}={value!r} is not a size of noise; expected 0 or more, {meaning}.")


def check_counts(draws: Any, seed: Any) -> None:
    """Raises TraceError for draws below 1, or a seed that is no whole number of 0 or more."""
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise TraceError(f"{name}={value!r} is not a count; expected a whole number, {least} or more.")


def times(draws: int) -> str:
    """How many draws, for a reader."""
    return f"{draws} draw" + "s" * (draws != 1)

"""Going down a loss step by step, with the model held for one step at a time: what all methods of editing search with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mllm_widgets.errors import EditError
from mllm_widgets.vlm.model import VLM


@dataclass(frozen=True)
class Step:
    """One step of an optimisation: step of at most `steps`, its loss (nats), and P(target) before the step is taken."""

    step: int
    steps: int
    loss: float
    probability: float


def descend(
    vlm: VLM,
    moving: Sequence[Tensor],
    lr: float,
    loss: Callable[[], tuple[Tensor, Tensor]],
    *,
    steps: int,
    stop: float,
    asked_lr: float,
    held: Callable[[], None] | None = None,
    progress: Callable[[Step], None] | None = None,
    cancel: Any = None,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Move tensors by Adam until the target is said: (losses, probabilities) of every step, and of where they end.

    Parameters
    ----------
    moving: leaves that want gradients; they hold what was found afterwards.
    loss: gives (what is minimised, -log P(target)), nats; called with the model held and gradients on.
    steps, stop: it ends after so many, or when P(target) is `stop`.
    asked_lr: what the user knows as lr, for the error.
    held: keeps what moves within its bounds; called after each step.

    Raises
    ------
    EditError: when the loss is no number any more, or when the model is edited meanwhile.
    """
    state = vlm.state
    adam = torch.optim.Adam(moving, lr=lr)
    losses: list[float] = []
    probabilities: list[float] = []
    for step in range(steps + 1):
        if cancel is not None:
            cancel.check()
        with vlm.running(gradients=True):
            if vlm.state != state:
                raise EditError("the model was edited during the search, so the search means nothing; try again.")
            total, nats = loss()
            if not torch.isfinite(total):
                raise EditError(
                    f"the loss is {total.item():g} at step {step} in {vlm.model.dtype}: the model overflows. Load it with dtype='float32' or 'bfloat16', or take a "
                    f"smaller lr than {asked_lr:g}."
                )
            losses.append(float(total.detach()))
            probabilities.append(float((-nats.detach()).exp()))
            ends = step == steps or probabilities[-1] >= stop
            if not ends:
                for tensor, gradient in zip(moving, torch.autograd.grad(total, list(moving)), strict=True):
                    tensor.grad = gradient
        if progress is not None:
            progress(Step(step, steps, losses[-1], probabilities[-1]))
        if ends:
            break
        adam.step()
        if held is not None:
            with torch.no_grad():
                held()
    return tuple(losses), tuple(probabilities)

"""Finding the value of an edit: what the MLP should give at one token so that the model says the target.

Basu et al. 2024, section 5 (MultEdit): z* = argmin_z -log P(target) with the output of the projection at the last constraint token put to z, all
weights frozen, by Adam.  As in ROME (Meng et al. 2022), from which the options come: weight decay |z - z0|^2 / |z0|^2, a clamp |z - z0| <= c |z0|, and a KL
term that keeps what the model says about "<constraint> is a".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mllm_widgets.errors import EditError
from mllm_widgets.tracing.continuation import Continuation, brought
from mllm_widgets.tracing.runs import clean_run
from mllm_widgets.tracing.score import answered
from mllm_widgets.vlm.families.base import part
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

from .descent import Step, descend


@dataclass(frozen=True)
class Options:
    """How a value is found.

    steps: the most that are taken. lr: how far a step goes, as a share of |z0|: Adam moves each of d numbers by at most lr |z0| / sqrt(d).
    clamp: the most that |z - z0| may be, in |z0|; None for no clamp. weight_decay: times |z - z0|^2 / |z0|^2. kl: times KL(before || now), in nats.
    stop: P(target) at which it ends.
    """

    steps: int = 80
    lr: float = 0.1
    clamp: float | None = None
    weight_decay: float = 0.0
    kl: float = 0.0
    stop: float = 0.99


@dataclass(frozen=True, eq=False)
class Found:
    """key (d_ff,), before and value (d,) in float32 on the CPU; losses and probabilities of every step, and P(target) at the value."""

    key: Tensor
    before: Tensor
    value: Tensor
    losses: tuple[float, ...] = field(repr=False)
    probabilities: tuple[float, ...] = field(repr=False)
    reached: float


@dataclass(frozen=True, eq=False)
class SiteRun:
    """A prompt that is run again and again with another output of one projection at one position.

    Positions before it are the same in all runs: their keys and values are stored where the family allows it.
    """

    vlm: VLM
    layer: int
    at: int  # in the suffix
    embeds: Tensor
    continuation: Continuation

    @classmethod
    def of(cls, vlm: VLM, encoded: Encoding, layer: int, position: int, scored: int) -> SiteRun:
        """Run the prompt once; the caller holds the model."""
        with torch.no_grad():
            start = vlm.family.first_reached(vlm.model, position, encoded.visual)
            embeds, continuation, _, _ = clean_run(vlm, encoded, start, scored)
            start = continuation.start
            return cls(vlm, layer, position - start, embeds[:, start:].clone(), continuation)

    def plain(self) -> tuple[Tensor, Tensor]:
        """What the projection is given (d_ff,) and gives (d,) at the position."""
        nn = self.vlm.nnsight
        with torch.no_grad(), nn.trace(**self.continuation.inputs(self.embeds)) as tracer:
            for layer in range(self.layer):
                self.continuation.add_deeper(self.vlm, layer)
            projection = part(nn, self.vlm.projection_site(self.layer))
            key = projection.input[0, self.at].clone().save()
            given = projection.output[0, self.at].clone().save()
            tracer.stop()
        return key, given

    def logits(self, delta: Tensor) -> Tensor:
        """(scored, vocabulary), with `delta` (d,) added to the projection's output at the position."""
        nn, family = self.vlm.nnsight, self.vlm.family
        with nn.trace(**self.continuation.inputs(self.embeds)):
            for layer in range(len(self.vlm.layers)):
                if layer == self.layer:
                    projection = part(nn, self.vlm.projection_site(layer))
                    moved = projection.output.clone()
                    moved[0, self.at] = (moved[0, self.at].float() + delta.to(moved.device)).to(moved.dtype)
                    projection.output = moved
                self.continuation.add_deeper(self.vlm, layer)
            brought(part(nn, family.decoder).output, self.embeds.device)
            logits = nn.output.logits[0].save()
        return logits  # noqa: RET504 - a trace cannot return


def find_value(
    vlm: VLM,
    question: Question,
    encoded: Encoding,
    layer: int,
    ids: list[int],
    options: Options,
    progress: Callable[[Step], None] | None = None,
    cancel: Any = None,
) -> Found:
    """The output of one layer's projection at the last constraint token that makes the model say `ids`.

    The model is held for one step at a time, so others may run it meanwhile; whoever edits it meanwhile spoils the search.
    """
    position = encoded.constraint[-1]
    with vlm.running(gradients=True):
        run = SiteRun.of(vlm, answered(vlm, encoded, ids), layer, position, len(ids))
        key, before = run.plain()
        keep = _Keep.of(vlm, question, layer) if options.kl else None
    length = float(before.float().norm())
    if not length > 0:
        raise EditError(
            f"layer={layer}: its MLP gives zeros at the last constraint token, so no step can be scaled; choose another layer."
        )
    said = torch.tensor(ids, device=run.embeds.device)
    delta = torch.zeros(before.shape, dtype=torch.float32, device=before.device, requires_grad=True)

    def loss() -> tuple[Tensor, Tensor]:
        nats = -run.logits(delta).float().log_softmax(-1).gather(-1, said[:, None]).sum()
        total = nats + options.weight_decay * delta.square().sum().to(nats.device) / length**2
        return total if keep is None else total + options.kl * keep(delta).to(total.device), nats

    def clamp() -> None:
        if options.clamp is not None:
            delta.mul_(min(1.0, options.clamp * length / max(float(delta.norm()), 1e-30)))

    losses, probabilities = descend(
        vlm, [delta], options.lr * length / delta.numel() ** 0.5, loss, steps=options.steps, stop=options.stop, asked_lr=options.lr, held=clamp,
        progress=progress, cancel=cancel,
    )  # fmt: skip
    key, before, moved = (tensor.detach().float().cpu() for tensor in (key, before, delta))
    return Found(key, before, before + moved, losses, probabilities, probabilities[-1])


@dataclass(frozen=True, eq=False)
class _Keep:
    """ROME's KL term: what the model says after "<constraint> is a", with the same delta at the last token of the constraint."""

    run: SiteRun
    log: Tensor

    @classmethod
    def of(cls, vlm: VLM, question: Question, layer: int) -> _Keep:
        words = question.constraint or ""
        asked = replace(question, text=f"{words} is a", occurrence=0, text_constraints=())
        encoded = vlm.encode(asked)
        run = SiteRun.of(vlm, encoded, layer, encoded.constraint[-1], 1)
        with torch.no_grad():
            _, before = run.plain()
            return cls(run, run.logits(torch.zeros_like(before, dtype=torch.float32)).float().log_softmax(-1))

    def __call__(self, delta: Tensor) -> Tensor:
        now = self.run.logits(delta).float().log_softmax(-1)
        return (self.log.exp() * (self.log - now)).sum()

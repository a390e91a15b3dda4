"""What edits add to the outputs of MLP projections, while they are applied.

An edit of a projection's weight, W -> W + D, is held beside it: the projection gives W x, and a hook on it adds D x.  No weight is touched, so
it works on quantised and divided models, taking it away leaves every bit as it was, and in half precision D is not rounded into W.  The hook is on
the module, so everything that runs it sees the same model: Hugging Face's own `generate`, nnsight traces, and passes that enter at a later layer.

D is B A with few rows in A.  Terms of one projection that come of a ridge regression are solved together (paper-methods: MULTEDIT, eq. 7, for n
keys by Woodbury): D = R (diag(lam) + K^T K)^-1 K^T, with keys K (d_ff, n) and residuals R (d, n).
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mllm_widgets.errors import EditError
from mllm_widgets.finishing import to_the_end

if TYPE_CHECKING:
    from torch import Tensor

    from .model import VLM

_SERIAL = itertools.count()


@dataclass(eq=False)
class RidgeTerm:
    """One key and what the projection should give more at it: min_W |W k - z|^2 + lam |W - W'|^2.

    layer: 0-based, whose MLP's output projection it belongs to.
    key: (d_ff,), residual: z - W' k, (d,); both float32 on the CPU.
    lam: how strongly the weight is held, >= 0.
    """

    layer: int
    key: Tensor = field(repr=False)
    residual: Tensor = field(repr=False)
    lam: float
    serial: int = field(default_factory=lambda: next(_SERIAL), repr=False)


@dataclass(eq=False, frozen=True)
class FixedTerm:
    """A change of a projection's weight as it is: left (d, n) @ right (n, d_ff), or left (d, d_ff) alone; float32 on the CPU."""

    layer: int
    left: Tensor = field(repr=False)
    right: Tensor | None = field(default=None, repr=False)
    serial: int = field(default_factory=lambda: next(_SERIAL), repr=False)
    lam: float = 0.0


Term = RidgeTerm | FixedTerm


def factors(terms: Sequence[Term], lams: np.ndarray | None = None) -> list[tuple[Tensor, Tensor | None]]:
    """The terms of one projection as pairs (left (..., d, n), right (n, d_ff) or None): their sum of products is the change of its weight.

    lams: (rows, ridge terms), to have a left for each row of a batch.

    Raises
    ------
    EditError: for ridge terms that ask for different outputs at one and the same key, with lam = 0.
    """
    made: list[tuple[Tensor, Tensor | None]] = [(t.left, t.right) for t in terms if isinstance(t, FixedTerm)]
    ridge = [term for term in terms if isinstance(term, RidgeTerm)]
    if ridge:
        keys = torch.stack([term.key for term in ridge]).double()
        held = torch.as_tensor(np.array([t.lam for t in ridge]) if lams is None else lams, dtype=torch.float64)
        gram = keys @ keys.T + torch.diag_embed(held)
        if float(torch.linalg.cond(gram).max()) > 1e14:
            raise EditError(
                f"lam={held.min():g} is too small for {len(ridge)} edits of layer {ridge[0].layer} whose keys are (nearly) the same: no weight gives two "
                "outputs for one input. Raise lam, or revert one of them."
            )
        residuals = torch.stack([term.residual for term in ridge]).double()
        # (gram^-1 R^T)^T: gram is symmetric
        left = torch.linalg.solve(gram, residuals.expand(*gram.shape[:-2], *residuals.shape)).mT
        made.append((left.float(), keys.float()))
    return made


class _Sum:
    """The hook: what the terms of one projection add to its output."""

    def __init__(self, terms: Sequence[Term], lams: np.ndarray | None = None):
        # made in a pass without gradients, too: a later one with gradients goes through them
        with torch.inference_mode(False), torch.no_grad():
            self._cpu = factors(terms, lams)
        self._on: dict[torch.device, list[tuple[Tensor, Tensor | None]]] = {}

    def __call__(self, _module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
        given = args[0].float()
        total = output.float()
        for left, right in self._placed(given.device):
            inner = given if right is None else given @ right.T
            total = total + inner @ left.mT.to(inner)
        return total.to(output.dtype)

    def _placed(self, device: torch.device) -> list[tuple[Tensor, Tensor | None]]:
        if device not in self._on:
            # also inside of inference mode: a later pass with gradients may use them
            with torch.inference_mode(False):
                self._on[device] = [(a.to(device), None if b is None else b.to(device)) for a, b in self._cpu]
        return self._on[device]


class _Applied:
    """What is applied to one model; one per model, as its lock is."""

    def __init__(self) -> None:
        self.terms: tuple[Term, ...] = ()
        self.hooks: dict[int, Any] = {}
        self.baked: tuple[tuple[tuple[int, float], ...], ...] = ()


_APPLIED: weakref.WeakKeyDictionary[Any, _Applied] = weakref.WeakKeyDictionary()


class SideTerms:
    """What edits add to a model's MLP projections (`vlm.side_terms`); shared by all `VLM`s of one model."""

    def __init__(self, vlm: VLM):
        self._vlm = vlm
        self._applied = _APPLIED.setdefault(vlm.model, _Applied())

    def __repr__(self) -> str:
        return f"SideTerms({len(self.active)} applied)"

    @property
    def active(self) -> tuple[Term, ...]:
        """The terms that apply now, in the order in which they were put.

        Waits for whoever holds the model: a sweep has others on it for the length of a pass.
        """
        with self._vlm.lock:
            return self._applied.terms

    @property
    def state(self) -> tuple[Any, ...]:
        """What the model is now: equal exactly if the same terms apply with the same lam and the same edits are in its weights."""
        with self._vlm.lock:
            return (self.in_weights, *sorted((term.serial, term.lam) for term in self.active))

    def put(self, terms: Sequence[Term]) -> None:
        """Apply terms; those that apply already stay as they are.

        Raises EditError if they cannot be solved together with what applies (see `factors`); nothing has changed then.
        """
        with self._vlm.lock:
            self._set((*self.active, *(term for term in dict.fromkeys(terms) if term not in self.active)))

    def take(self, terms: Sequence[Term]) -> None:
        """Take terms away; without any, the model's outputs are to the bit what they were."""
        with self._vlm.lock:
            self._set(tuple(term for term in self.active if term not in terms))

    def set_lam(self, terms: Sequence[RidgeTerm], lam: float) -> None:
        """Another lam for terms, at once where they apply."""
        with self._vlm.lock:
            was = [term.lam for term in terms]
            try:
                for term in terms:
                    term.lam = lam
                self._set(self.active, anew={term.layer for term in terms if term in self.active})
            except BaseException:
                for term, old in zip(terms, was, strict=True):
                    term.lam = old
                self._set(self.active, anew={term.layer for term in terms if term in self.active})
                raise

    @contextlib.contextmanager
    def only(self, terms: Sequence[Term], lams: np.ndarray | None = None) -> Iterator[None]:
        """Exactly these terms, inside; what applied before comes back on exit.  The model is held meanwhile: nobody else sees it so.

        lams: (rows,), each row of a batch its own lam for all ridge terms.
        """
        with self._vlm.lock:
            before = self.active
            try:
                self._set(tuple(dict.fromkeys(terms)), lams)
                yield
            finally:
                to_the_end(lambda: self._set(before, anew=set(self._applied.hooks)))

    def note_baked(self, groups: Iterable[Sequence[Term]]) -> None:
        """Say which terms are in the weights now, for `state`: those that were solved together, in the order in which they were added."""
        self._applied.baked = tuple(tuple(sorted((term.serial, term.lam) for term in group)) for group in groups)

    @property
    def in_weights(self) -> tuple[Any, ...]:
        """What is in the weights now: equal exactly if the same terms are, with the same lam, and solved together alike."""
        return self._applied.baked

    @property
    def baked(self) -> tuple[int, ...]:
        """Serials of the terms that are in the weights now."""
        return tuple(serial for group in self.in_weights for serial, _ in group)

    def _set(self, terms: tuple[Term, ...], lams: np.ndarray | None = None, anew: set[int] | None = None) -> None:
        """Make exactly these terms apply: all sums first, for they may fail, then the hooks."""
        if terms:
            self._vlm.check_here()
        applied = self._applied
        layers = {term.layer for term in terms}
        old = {term.layer: [t for t in applied.terms if t.layer == term.layer] for term in applied.terms}
        sums: dict[int, _Sum] = {}
        for layer in layers:
            here = [term for term in terms if term.layer == layer]
            if lams is None and here == old.get(layer) and layer not in (anew or ()) and layer in applied.hooks:
                continue
            ridge = sum(isinstance(term, RidgeTerm) for term in here)
            sums[layer] = _Sum(here, None if lams is None else np.repeat(lams[:, None], ridge, axis=1))

        def exchange() -> None:
            for layer in {*applied.hooks} - layers | {*sums}:
                projection = self._vlm.projection(layer)
                # by what they are, not by their handles: an interrupt may have come before a handle was kept
                for number, hook in [*projection._forward_hooks.items()]:
                    if isinstance(hook, _Sum):
                        del projection._forward_hooks[number]
                applied.hooks.pop(layer, None)
                if layer in sums:
                    # before other hooks, so that they see the edited output; nnsight, which wraps `forward` itself, reads what W alone gives
                    applied.hooks[layer] = projection.register_forward_hook(sums[layer], prepend=True)
            applied.terms = terms

        to_the_end(exchange)

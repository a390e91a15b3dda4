"""An edit: a change of one MLP projection's weight, held beside it, that can be applied, weakened, composed and taken back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mllm_widgets.errors import EditError
from mllm_widgets.results import Answer
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.question import Question
from mllm_widgets.vlm.side_terms import RidgeTerm, Term, factors

METHODS = ("multedit", "fine-tuning", "constrained fine-tuning", "rome", "lora")


class Applicable(ABC):
    """What an edit and several edits can do alike: their `terms` are what they add to the model."""

    vlm: VLM

    @property
    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """What `vlm.side_terms` takes."""

    @property
    def applied(self) -> bool:
        """Does the model have it now?"""
        return all(term in self.vlm.side_terms.active for term in self.terms)

    def apply(self) -> None:
        """Put it on the model, for everything that runs it: `mw.ask`, traces, `model.generate`.  What applies already stays."""
        self._not_baked()
        self.vlm.side_terms.put(self.terms)

    def revert(self) -> None:
        """Take it off: every output is to the bit what it was."""
        self.vlm.side_terms.take(self.terms)

    def __enter__(self) -> Any:
        self.apply()
        return self

    def __exit__(self, *_: object) -> None:
        self.revert()

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The change of each weight as a product: dotted path of the projection -> left (d, n), right (n, d_ff), float32."""
        return {
            self.vlm.projection_site(layer): _product(factors([term for term in self.terms if term.layer == layer]))
            for layer in sorted({term.layer for term in self.terms})
        }

    def change(self) -> dict[str, Tensor]:
        """The change of each weight: dotted path of the projection -> (d, d_ff), float32, of the product of its factors."""
        return {site: left @ right for site, (left, right) in self.factors().items()}

    @property
    def baked(self) -> bool:
        """Is it in the model's weights?"""
        return all(term.serial in self.vlm.side_terms.baked for term in self.terms)

    def bake(self) -> tuple[str, ...]:
        """Add the change to the weights, in their own dtype, so that whoever has the model has the edit: `model.save_pretrained`, other programs.

        The edit is reverted first if it applies.  Edits of one layer that should be solved together are baked together, `(one + other).bake()`; what
        is baked after another is added to the weight as it is then.  `unbake` takes it out again.

        Returns
        -------
        Sentences, usually none: where rounding to the weight's dtype swallows a part of the change (more than 1%), how much.

        Raises
        ------
        EditError: if it is in the weights already, or they are quantised, kept on disk, or changed by something else since an edit was baked into them.
            All weights are changed or none, whatever comes meanwhile.

        Examples
        --------
        >>> import mllm_widgets as mw
        >>> vlm, question = mw.load(), mw.datasets.demo_question("Eiffel Tower")
        >>> edit = mw.multedit(vlm, question, "Rome", layer=2)
        >>> edit.bake()
        ()
        >>> mw.ask(vlm, question).text
        'Rome'
        >>> edit.unbake()
        >>> mw.ask(vlm, question).text
        'Paris'
        """
        from .weights import bake

        return bake(self)

    def unbake(self) -> None:
        """Take the change out of the weights: they are to the bit what they would be had it never been baked, whatever else was, in any order.

        A copy of the weight from before the first edit is kept for this, on the CPU, as long as an edit is in it.

        Raises
        ------
        EditError: if it is not in the weights, or something else changed them since.
        """
        from .weights import unbake

        unbake(self)

    def save(self, path: Any, overwrite: bool = False) -> None:
        """Write it to one safetensors file, to be read with `mw.load_edit(path, vlm)`.  The question's picture is not in the file.

        Raises
        ------
        EditError: for a path that exists already (`overwrite=True` replaces it) or cannot be written.

        Examples
        --------
        >>> import mllm_widgets as mw
        >>> vlm = mw.load()
        >>> edit = mw.multedit(vlm, mw.datasets.demo_question("Eiffel Tower"), "Rome", layer=2)
        >>> edit.save("rome.safetensors")
        >>> mw.load_edit("rome.safetensors", vlm).target
        'Rome'
        """
        from .files import save

        save(self, path, overwrite)

    def to_peft(self, folder: Any, overwrite: bool = False) -> None:
        """Write it as a LoRA adapter, which PEFT and servers that take its adapters load, with the lam of now; the model stays as it is.

        The adapter is of rank n for n edits of a layer, one for one edit; a change of a whole weight (fine-tuning) needs the weight's full rank, which
        makes a file as large as the weight and which many servers refuse.  Over a model that has the edit already, applied or baked, it counts twice.

        Raises
        ------
        EditError: for a folder that holds an adapter already (`overwrite=True` replaces it) or cannot be written.

        Examples
        --------
        >>> import mllm_widgets as mw
        >>> edit = mw.multedit(mw.load(), mw.datasets.demo_question("Eiffel Tower"), "Rome", layer=2)
        >>> edit.to_peft("rome")
        >>> from peft import PeftModel  # doctest: +SKIP
        >>> model = PeftModel.from_pretrained(model, "rome")  # doctest: +SKIP
        """
        from .adapter import to_peft

        to_peft(self, folder, overwrite)

    def _not_baked(self, so: str = "applying it would count twice") -> None:
        if any(term.serial in self.vlm.side_terms.baked for term in self.terms):
            raise EditError(f"the edit is in the model's weights, so {so}; call unbake() first.")


@dataclass(eq=False)
class Edit(Applicable):
    """One edit (`multedit`, or a baseline).  Frozen, but for `lam`.

    layer, site, position: where: 0-based, the projection's dotted path, the position of the last constraint token.
    key: (d_ff,), what the projection was given there. before: (d,), what it gave. value: (d,), what it should give (float32, CPU).
    question, target, target_ids: what was asked and what should be said. answer: the model's answer before.
    losses, probabilities: of every step of the optimisation (nats; P(target), all its tokens). reached: P(target) with the value itself in place.
    reason: why this layer. warnings: why the edit may not do what is hoped.
    term: what it adds to the model.
    """

    vlm: VLM = field(repr=False)
    question: Question = field(repr=False)
    target: str
    target_ids: tuple[int, ...] = field(repr=False)
    layer: int
    position: int
    term: Term = field(repr=False)
    answer: Answer = field(repr=False)
    losses: tuple[float, ...] = field(repr=False)
    probabilities: tuple[float, ...] = field(repr=False)
    reached: float
    method: str = "multedit"
    key: Tensor | None = field(default=None, repr=False)
    before: Tensor | None = field(default=None, repr=False)
    value: Tensor | None = field(default=None, repr=False)
    reason: str = field(default="", repr=False)
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        held = f", lam={self.lam:g}" if isinstance(self.term, RidgeTerm) else ""
        state = "in the weights" if self.baked else "applied" if self.applied else "not applied"
        return f"Edit({self.question.text!r}: {self.answer.token.strip()!r} -> {self.target!r}, layer {self.layer}{held}, {self.method}, {state})"

    @property
    def site(self) -> str:
        """Dotted path of the projection that it changes."""
        return self.vlm.projection_site(self.layer)

    @property
    def terms(self) -> tuple[Term, ...]:
        """What `vlm.side_terms` takes."""
        return (self.term,)

    @property
    def residual(self) -> Tensor:
        """(d,) what the projection should give more at the key.

        Raises EditError for a method that has no value of its own.
        """
        if not isinstance(self.term, RidgeTerm):
            raise EditError(f"an edit by {self.method} changes a weight as it is, and has no residual.")
        return self.term.residual

    @property
    def lam(self) -> float:
        """How strongly the weight is held (lambda of eq. 7): the output at the key moves by |k|^2 / (lam + |k|^2) of the residual.

        Set it to another value >= 0 and, if the edit is applied, the model has it at once.

        Raises EditError for what is no number >= 0, or for a method without lambda.
        """
        return self.term.lam

    @lam.setter
    def lam(self, lam: float) -> None:
        self._not_baked("its lam cannot change there")
        if not isinstance(self.term, RidgeTerm):
            raise EditError(f"lam={lam!r}: an edit by {self.method} has no lambda.")
        self.vlm.side_terms.set_lam([self.term], check_lam(lam))

    @property
    def strength(self) -> float:
        """|k|^2 / (lam + |k|^2): the share of the residual that the edited weight gives at the key, 0..1."""
        if not isinstance(self.term, RidgeTerm):
            return 1.0
        square = float(self.term.key.double().square().sum())
        return square / (self.lam + square)

    @property
    def key_norm(self) -> float:
        """|k|; NaN for a method without a key."""
        return math.nan if self.key is None else float(self.key.norm())

    @property
    def moved(self) -> float:
        """|z* - z0| / |z0|: how far the value is from what the projection gave; NaN for a method without one."""
        if self.value is None or self.before is None:
            return math.nan
        return float((self.value - self.before).norm() / self.before.norm())

    def __add__(self, other: Edit | Edits) -> Edits:
        return Edits([self]) + other


class Edits(Applicable):
    """Several edits of one model, applied together; those of one layer are solved together (n x n).

    Raises
    ------
    EditError: for none, or for edits of different models.
    """

    def __init__(self, edits: Iterable[Edit]):
        self.edits: tuple[Edit, ...] = tuple(dict.fromkeys(edits))
        if not self.edits:
            raise EditError("edits=() holds no edit; expected what mw.multedit returned, once or several times.")
        strange = [edit for edit in self.edits if not isinstance(edit, Edit)]
        if strange:
            raise EditError(f"edits holds a {type(strange[0]).__name__}; expected what mw.multedit returns.")
        self.vlm = self.edits[0].vlm
        if any(edit.vlm.model is not self.vlm.model for edit in self.edits):
            raise EditError("these edits belong to different models, so they cannot be applied together.")

    @property
    def terms(self) -> tuple[Term, ...]:
        """What `vlm.side_terms` takes."""
        return tuple(edit.term for edit in self.edits)

    def __add__(self, other: Edit | Edits) -> Edits:
        if not isinstance(other, (Edit, Edits)):
            return NotImplemented
        return Edits([*self.edits, *(other.edits if isinstance(other, Edits) else (other,))])

    def __iter__(self):
        return iter(self.edits)

    def __len__(self) -> int:
        return len(self.edits)

    def __repr__(self) -> str:
        return f"Edits({', '.join(map(repr, self.edits))})"


def check_lam(lam: Any) -> float:
    """Raises EditError for what is no lambda."""
    if isinstance(lam, bool) or not isinstance(lam, (int, float)) or not math.isfinite(lam) or lam < 0:
        raise EditError(
            f"lam={lam!r} is no strength to hold a weight with; expected a finite number, 0 or more, such as 0.01 (the paper's). A negative one would "
            "push the weight away from what it was."
        )
    return float(lam)


def as_edits(edits: Any) -> Edits:
    """An edit, several in any sequence, or `Edits`, as `Edits`."""
    if isinstance(edits, Edits):
        return edits
    if isinstance(edits, Edit):
        return Edits([edits])
    if not isinstance(edits, Sequence):
        raise EditError(f"edits is a {type(edits).__name__}; expected what mw.multedit returns, or a list of such.")
    return Edits(edits)


def _product(pairs: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor]:
    """Pairs of factors as one pair, side by side; a dense change has the identity on its right."""
    lefts = [left for left, _ in pairs]
    rights = [torch.eye(left.shape[1]) if right is None else right for left, right in pairs]
    return torch.cat(lefts, dim=1), torch.cat(rights, dim=0)

"""Which keys an MLP sees otherwise: the second moment that ROME holds an edit against."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mllm_widgets.errors import EditError, MllmWidgetsError
from mllm_widgets.vlm.families.base import part
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

from .rank_one import check_layer, check_model


@dataclass(frozen=True, eq=False)
class KeyCovariance:
    """C = E[k k^T] + ridge mean(diag E[k k^T]) I over many keys of one layer (`key_covariance`).

    matrix: (d_ff, d_ff), float32 on the CPU. layer: 0-based. keys: how many it is of; fewer than d_ff say nothing about most directions, which the ridge alone fills.
    """

    matrix: Tensor = field(repr=False)
    layer: int
    keys: int
    positions: str
    ridge: float
    model: str

    @functools.cached_property
    def root(self) -> tuple[Tensor, bool]:
        """C's Cholesky factor, float64, and whether there is none; solved once for all edits that are held against it."""
        return _root(self.matrix)


def key_covariance(
    vlm: VLM,
    questions: Iterable[Question],
    layer: int,
    *,
    positions: str = "text",
    ridge: float = 0.01,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> KeyCovariance:
    """Second moment of the keys (inputs of the MLP's output projection) of one layer over the prompts of some questions, without any edit.

    ROME (Meng et al. 2022) takes it from 100,000 texts of Wikipedia; here it is of the user's own questions, with their pictures.

    Parameters
    ----------
    questions: with or without pictures; each prompt counts as many keys as it has positions.
    layer: 0-based.
    positions: "text" leaves the picture's tokens out, "all" counts them too: there are many more of them.
    ridge: what is added to the diagonal, times its mean, so that C can be inverted though there are fewer keys than d_ff; 0 adds nothing.
    progress: called after each question with (done, all). cancel: an object whose `check()` raises when the work is no longer wanted, asked before each.

    Returns
    -------
    KeyCovariance

    Raises
    ------
    EditError: for no questions or what is none, a layer that is not there, or options that are none.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> covariance = mw.editing.key_covariance(mw.load(), mw.datasets.demo(2), layer=2)
    >>> covariance.layer, bool((covariance.matrix.diagonal() > 0).all())
    (2, True)
    """
    check_model(vlm)
    number, _, _ = check_layer(vlm, layer)
    if positions not in ("text", "all"):
        raise EditError(f"positions={positions!r} says not which keys count; expected 'text' or 'all'.")
    if isinstance(ridge, bool) or not isinstance(ridge, (int, float)) or not 0 <= ridge < math.inf:
        raise EditError(f"ridge={ridge!r} is nothing to add to a diagonal; expected a number, 0 or more.")
    if isinstance(questions, (str, Question)) or not isinstance(questions, Iterable):
        raise EditError(f"questions is a {type(questions).__name__}; expected a list of mw.Question(image, text).")
    asked = list(questions)
    if not asked:
        raise EditError("questions is empty; expected mw.Question(image, text), the more the better.")
    for place, question in enumerate(asked):
        if not isinstance(question, Question):
            raise EditError(f"questions[{place}] is a {type(question).__name__}; expected mw.Question(image, text).")
    total, count = None, 0
    for done, question in enumerate(asked, 1):
        if cancel is not None:
            cancel.check()
        try:
            encoded = vlm.encode(question)
        except MllmWidgetsError as error:
            raise EditError(f"questions[{done - 1}] cannot be asked: {error}") from error
        with vlm.side_terms.only(()):
            keys, _ = projection_run(vlm, encoded, number)
        keys = keys.float()
        if positions == "text":
            keys = keys[torch.as_tensor(~encoded.visual, device=keys.device)]
        own = keys.T @ keys
        total, count = own if total is None else total.add_(own), count + len(keys)
        if progress is not None:
            progress(done, len(asked))
    assert total is not None
    moment = (total / count).cpu()
    moment.diagonal().add_(ridge * moment.diagonal().mean().item())
    return KeyCovariance(moment, number, count, positions, float(ridge), vlm.name)


def projection_run(vlm: VLM, encoded: Encoding, layer: int) -> tuple[Tensor, Tensor]:
    """What a layer's output projection is given (positions, d_ff) and gives (positions, d) in a prompt, by the model as it is now."""
    nn = vlm.nnsight
    with vlm.running(), nn.trace(**encoded.inputs, use_cache=False, logits_to_keep=1) as tracer:
        projection = part(nn, vlm.projection_site(layer))
        keys = projection.input[0].clone().save()
        given = projection.output[0].clone().save()
        tracer.stop()
    return keys, given


def solved(vlm: VLM, layer: int, width: int, covariance: Any) -> Callable[[Tensor], Tensor]:
    """C^-1 as a function of keys (d_ff,), float64.

    Raises
    ------
    EditError: for a covariance of another layer, model or size, or one that is not positive definite.
    """
    matrix = covariance
    if isinstance(covariance, KeyCovariance):
        matrix = covariance.matrix
        if (covariance.layer, covariance.model) != (layer, vlm.name):
            raise EditError(
                f"covariance= is of layer {covariance.layer} of {covariance.model!r}, and the edit is made in layer {layer} of {vlm.name!r}; expected "
                f"mw.editing.key_covariance(vlm, questions, layer={layer})."
            )
    if not isinstance(matrix, Tensor) or matrix.shape != (width, width) or not matrix.isfinite().all():
        what = f"{tuple(matrix.shape)}" if isinstance(matrix, Tensor) else f"a {type(matrix).__name__}"
        raise EditError(
            f"covariance= is {what}; expected what mw.editing.key_covariance returns, or a tensor of finite numbers ({width}, {width}) for layer {layer}."
        )
    root, failed = covariance.root if isinstance(covariance, KeyCovariance) else _root(matrix)
    if failed:
        raise EditError(
            "covariance= is not positive definite, so it cannot be inverted; it is of fewer keys than d_ff, perhaps: take more questions, or a ridge above 0."
        )
    return lambda key: torch.cholesky_solve(key[:, None], root)[:, 0]


def _root(matrix: Tensor) -> tuple[Tensor, bool]:
    root, failed = torch.linalg.cholesky_ex(matrix.detach().cpu().double())
    return root, bool(failed)

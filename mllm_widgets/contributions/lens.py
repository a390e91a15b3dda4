"""The logit lens: the words that each layer would say at each position.

nostalgebraist 2020 ("interpreting GPT: the logit lens"); for visual tokens Neo et al. 2025 ("Towards Interpreting Visual Information Processing"): the stream after
a layer goes through the decoder's own last norm and the model's own head.  At the last layer and position that is what the model says; every call
checks that it is.  In early layers, where the stream is not yet in the head's terms, no word need mean anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nnsight
import numpy as np
import torch
import xarray as xr

from mllm_widgets.errors import FlowError
from mllm_widgets.provenance import made_with
from mllm_widgets.results import Answer
from mllm_widgets.vlm.asking import first_token_answer
from mllm_widgets.vlm.families.base import part
from mllm_widgets.vlm.model import VLM
from mllm_widgets.vlm.question import Question

from .arguments import check_layers, check_model, named, positions_of
from .said import Lens

NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f")  # what decoders call their last norm
POSITIONS = 128  # whose logits are made at a time


def logit_lens(
    vlm: VLM,
    question: Question,
    positions: str | int | Sequence[int] | None = None,
    *,
    layers: Sequence[int] | int | None = None,
    k: int = 5,
) -> Lens:
    """The words that each layer would say at some positions, visual tokens included.

    Parameters
    ----------
    positions: "visual", "constraint", "last", a position (negative counts from the end) or several; all by default.
    layers: 0-based; all by default. A layer's word is read from the residual stream after it.
    k: how many words.

    Returns
    -------
    Lens: `tokens` and `probabilities` (layer, token, rank), `answer_probability` (layer, token), `words(layer, position)`.  For Qwen3-VL, the stream at visual
        tokens is that before deeper features are added.

    Raises
    ------
    FlowError: for positions or layers that are not there, or a decoder whose last norm is not found.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> lens = mw.logit_lens(mw.load(), mw.datasets.demo_question("Eiffel Tower"), "last")
    >>> lens.words(layer=7, position=int(lens.tokens.token[0]))[0][0]
    ' Paris'
    """
    check_model(vlm, question)
    chosen = check_layers(layers, len(vlm.layers))
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise FlowError(f"k={k!r} is not a count of words; expected a whole number, 1 or more.")
    encoded = vlm.encode(question)
    at = tuple(range(len(encoded.tokens))) if positions is None else positions_of(encoded, positions, "positions")
    norm = f"{vlm.family.decoder}.{_norm(vlm)}"
    cap = getattr(vlm.model.config.get_text_config(), "final_logit_softcapping", None)
    last, found = len(vlm.layers) - 1, {}
    with vlm.running():
        nn = vlm.nnsight
        with nn.trace(**encoded.inputs, use_cache=False, logits_to_keep=1):
            logits = nn.output.logits[0, -1].save()
        answer = first_token_answer(vlm, logits)
        words = min(int(k), len(answer.probabilities))
        with nn.trace(**encoded.inputs, use_cache=False, logits_to_keep=1):
            read = _Reader(part(nn, norm), part(nn, vlm.family.head), cap, answer.token_id, words)
            for layer in sorted({*chosen, last}):
                given = part(nn, vlm.site(layer, "residual")).output
                stream = (given[0] if isinstance(given, tuple) else given)[0]
                # at the last layer and position, to be checked
                wanted = list(at if layer in chosen else ()) + [-1] * (layer == last)
                found[layer] = nnsight.save(read(stream[wanted]))
        made = made_with(
            vlm, question, layers=chosen, positions=None if positions is None else named(positions), words=words
        )
    _check(vlm, answer, float(found[last].answer[-1]))
    coords = {"layer": chosen, "token": list(at), "rank": np.arange(words)}
    three = ("layer", "token", "rank")

    def array(name: str, dims: tuple[str, ...]) -> xr.DataArray:
        values = np.stack([getattr(found[layer], name)[: len(at)] for layer in chosen])
        return xr.DataArray(values, dims=dims, coords={d: coords[d] for d in dims})

    return Lens(
        tokens=array("ids", three).rename("tokens"),
        probabilities=array("probabilities", three).rename("probabilities"),
        answer_probability=array("answer", three[:2]).rename("answer_probability"),
        answer=answer,
        answer_token=answer.token,
        rows=encoded.tokens,
        question=question.text,
        model=vlm.name,
        provenance=made,
    )


@dataclass
class _Read:
    """ids and probabilities (positions, k) of the most probable words, and the answer's probability (positions,)."""

    ids: np.ndarray
    probabilities: np.ndarray
    answer: np.ndarray


@dataclass
class _Reader:
    """Norm and head, as a trace calls them aside from their place in the run; cap: a soft cap that the model puts on its logits."""

    norm: Any
    head: Any
    cap: float | None
    answer: int
    k: int

    def __call__(self, stream: torch.Tensor) -> _Read:
        """Of a stream (positions, width), some positions at a time: their logits are as wide as the vocabulary."""
        parts = [self._some(some) for some in stream.split(POSITIONS)]
        return _Read(*(torch.cat(values).numpy() for values in zip(*parts, strict=True)))

    def _some(self, stream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = self.head(self.norm(stream[None]))[0].float()
        if self.cap is not None:
            logits = torch.tanh(logits / self.cap) * self.cap
        sizes = logits.softmax(-1)
        best = sizes.topk(self.k)
        return best.indices.cpu(), best.values.cpu(), sizes[:, self.answer].cpu()


def _check(vlm: VLM, answer: Answer, read: float) -> None:
    """Raises FlowError where the last layer's lens is not the model's own answer."""
    tolerance = 1e-3 if vlm.model.dtype in (torch.float32, torch.float64) else 0.05
    if not abs(read - answer.probability) <= tolerance:
        raise FlowError(
            f"after its last layer {vlm.name!r} would say {answer.token!r} with P = {read:.4f} through its norm and head, and says it with P = "
            f"{answer.probability:.4f}; it does more between them than this package knows, so its layers cannot be read."
        )


def _norm(vlm: VLM) -> str:
    """What the decoder calls its last norm."""
    decoder = part(vlm.model, vlm.family.decoder)
    found = next((name for name in NORMS if hasattr(decoder, name)), None)
    if found is None:
        raise FlowError(
            f"the decoder of {vlm.name!r} ({type(decoder).__name__}) has no last norm that is known; looked for {', '.join(NORMS)}."
        )
    return found

"""The forward passes behind a setup: the clean run with all that is recorded of it, and the corrupted ones."""

from __future__ import annotations

from dataclasses import replace

import nnsight
import numpy as np
import torch

from mllm_widgets.errors import TraceError
from mllm_widgets.vlm.families.base import part
from mllm_widgets.vlm.model import VLM, Encoding

from .continuation import Continuation, drift, hidden, is_coarse, of_suffix
from .suffix import CorruptedRun, can_pack, run_alone, run_suffixes

SITES = ("self_attn", "mlp", "residual")  # what can be restored, in the order in which a layer computes it
# Between the clean run and itself continued, by whether a model computes in less than float32.  Measured: rounding 0.000001, and 0.04 where
# activations are quantised token by token (LLM.int8); positions wrong by one 0.12 at least.
MOST_DRIFT = {False: 1e-3, True: 0.08}
SUFFIX_ROWS = 16  # suffixes in one forward pass: many draws of noise must not need more memory than a map

# what `clean_run` gives
CleanRun = tuple[torch.Tensor, Continuation, dict[str, torch.Tensor], torch.Tensor]


def clean_run(vlm: VLM, encoded: Encoding, start: int, scored: int) -> CleanRun:
    """(input embeddings (1, positions, width), what other runs share, clean outputs from `start` on, last logits (scored, vocabulary)), in one pass."""
    nn, family = vlm.nnsight, vlm.family
    shares = start > 0 and family.shares_prefix(vlm.model)  # a cache of nothing is no cache to transformers
    start = start if shares else 0
    recorded: dict[str, list[torch.Tensor]] = {site: [] for site in SITES}
    with nn.trace(**encoded.inputs, use_cache=shares, logits_to_keep=scored):
        context = nnsight.save(family.context(nn, encoded.inputs))
        given = nnsight.save(dict(part(nn, family.decoder).inputs[1]))
        for layer in range(len(vlm.layers)):
            for site in SITES:
                block = hidden(part(nn, vlm.site(layer, site)).output)
                recorded[site].append(block[0, start:].clone().save())
        after = part(nn, family.decoder).output.save()
        logits = nn.output.logits[0, -scored:].save()
    embeds = given.get("inputs_embeds")
    if embeds is None:  # a text-only model embeds inside its decoder
        embeds = vlm.model.get_input_embeddings()(encoded.inputs["input_ids"])
    prefix = None
    if shares:
        prefix = after.cache
        prefix.crop(start - embeds.shape[1])  # negative: how many positions to drop
    positions = given.get("position_ids")
    positions = torch.arange(embeds.shape[1], device=embeds.device)[None] if positions is None else positions
    device = embeds.device
    outputs = {site: torch.stack([value.to(device) for value in values]) for site, values in recorded.items()}
    shared = Continuation(start, prefix, positions[..., start:], of_suffix(context, start), scored)
    return embeds, shared, outputs, logits


def decoder_inputs(vlm: VLM, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Input embeddings (1, positions, width) and context of a prompt; the decoder does not run."""
    nn, family = vlm.nnsight, vlm.family
    with nn.trace(**inputs, use_cache=False) as tracer:
        context = nnsight.save(family.context(nn, inputs))
        given = nnsight.save(dict(part(nn, family.decoder).inputs[1]))
        tracer.stop()
    embeds = given.get("inputs_embeds")
    if embeds is None:  # pictures go another way, and words are embedded inside the decoder
        embeds = vlm.model.get_input_embeddings()(inputs["input_ids"])
    return embeds, context


def corrupted_logits(
    vlm: VLM, continuation: Continuation, embeds: torch.Tensor, contexts: tuple[dict[str, torch.Tensor], ...]
) -> tuple[torch.Tensor, CorruptedRun | None]:
    """Logits (draws, scored, vocabulary) of the corrupted suffixes, and the run itself where there is one that restored runs can be packed on."""
    if len(embeds) == 1 and can_pack(vlm, continuation):
        logits, run = run_alone(vlm, continuation, embeds)
        return logits[None], run
    if len(contexts) < 2:
        return run_suffixes(vlm, continuation, embeds, SUFFIX_ROWS), None
    alone = [
        run_suffixes(vlm, replace(continuation, context=context), one[None], 1)
        for one, context in zip(embeds, contexts, strict=True)
    ]
    return torch.cat(alone), None


def check_continuation(vlm: VLM, whole: torch.Tensor, continued: torch.Tensor, answer: int) -> None:
    """Every run continues from the stored prefix; a model for which that is not the whole prompt's run must not be traced so.

    Attention over a sliding window, or positions that depend on the picture, would show here.
    """
    once, again = (float(logits.float().softmax(-1)[answer]) for logits in (whole, continued))
    if not (np.isfinite(once) and np.isfinite(again)):
        raise TraceError(
            f"the answer's probability is {once} in the clean run; the model overflows in {vlm.model.dtype}. Load it with dtype='float32' "
            "or 'bfloat16'."
        )
    found = drift(continued.float().softmax(-1), whole.float().softmax(-1))
    if found > MOST_DRIFT[is_coarse(vlm.model)]:
        raise TraceError(
            f"vlm={vlm.name!r} gives its answer P = {once:.4f} in one run, and P = {again:.4f} continued from stored keys and values (its log-"
            f"probabilities move by {found:.1%}), so restored runs would not be comparable; {type(vlm.model).__name__} is not supported, or its "
            "layers scale what they quantise by everything in a pass, as dynamic int8 does."
        )

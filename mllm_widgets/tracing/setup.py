"""The two runs every trace compares, done once.

Everything before the first corrupted token (of the constraint, usually) is the same in the clean, the corrupted and every restored run
(the decoder is causal and the picture is clean), so it is computed once and its keys and values are shared.  What remains is a short
suffix, from the first corrupted token to the end of the prompt.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace

import nnsight
import numpy as np
import torch

from mllm_widgets.errors import TraceError
from mllm_widgets.results import BEFORE_CONSTRAINT, BEFORE_CORRUPTION, Answer, TokenInfo
from mllm_widgets.vlm.asking import first_token_answer
from mllm_widgets.vlm.families.base import part
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

from .continuation import Continuation, brought, drift, hidden, is_coarse, of_suffix
from .control import NO_PICTURE, without_picture
from .corruption import Corruption, Plan

MODULES = ("mlp", "self_attn")  # what is traced unless the user asks for more
SITES = ("self_attn", "mlp", "residual")  # what can be restored, in the order in which a layer computes it
# Between the clean run and itself continued, by whether a model computes in less than float32.  Measured: rounding 0.000001, and 0.04 where
# activations are quantised token by token (LLM.int8); positions wrong by one 0.12 at least.
MOST_DRIFT = {False: 1e-3, True: 0.08}
SUFFIX_ROWS = 16  # suffixes in one forward pass: many draws of noise must not need more memory than a map


# what `_clean_run` gives
CleanRun = tuple[torch.Tensor, Continuation, dict[str, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class TraceSetup:
    """Clean and corrupted runs of one question, ready for any window.

    changed: sequence positions the corruption changes, ascending.
    corrupted: mean over the corruption's draws (a token swap has one).
    continuation: what all runs share; suffixes begin at `start`, the first corrupted token where the prefix may be shared.
    clean_embeds, corrupted_embeds: (1, suffix, width) and (draws, suffix, width), input embeddings of the two suffixes.
    clean_outputs: module -> (layers, suffix, width), what restoring writes.
    """

    vlm: VLM = field(repr=False)
    question: Question
    encoded: Encoding = field(repr=False)
    corrupted_input_ids: np.ndarray = field(repr=False)
    corruption: str
    fitted: str
    changed: tuple[int, ...] = field(repr=False)
    answer: Answer
    answer_id: int
    clean: float
    corrupted: float
    corrupted_best: str
    continuation: Continuation = field(repr=False)
    clean_embeds: torch.Tensor = field(repr=False)
    corrupted_embeds: torch.Tensor = field(repr=False)
    clean_outputs: dict[str, torch.Tensor] = field(repr=False)
    warnings: tuple[str, ...]
    control: str | None = None

    @property
    def first(self) -> int:
        """The first position that may differ between runs; restoring anything before it changes nothing."""
        return self.changed[0] if self.vlm.family.is_causal(self.vlm.model) else 0

    @property
    def corrupted_text(self) -> list[int]:
        """Sequence positions of the text tokens the corruption changes."""
        return [p for p in self.changed if not self.encoded.visual[p]]

    @functools.cached_property
    def draws(self) -> tuple[TraceSetup, ...]:
        """One setup for each draw of the corruption, all numbers being means over them; itself where there is one."""
        if len(self.corrupted_embeds) == 1:
            return (self,)
        return tuple(replace(self, corrupted_embeds=one[None]) for one in self.corrupted_embeds)

    @property
    def start(self) -> int:
        """The first position of a suffix."""
        return self.continuation.start

    @property
    def text_positions(self) -> list[int]:
        """Sequence positions of all text tokens."""
        return [i for i, visual in enumerate(self.encoded.visual) if not visual]

    @property
    def rows(self) -> tuple[TokenInfo, ...]:
        """Every row of a picture of the map: text tokens in order, runs of visual tokens folded into one row each."""
        rows: list[TokenInfo] = []
        before = BEFORE_CONSTRAINT if self.first in self.encoded.constraint[:1] else BEFORE_CORRUPTION
        for token in self.encoded.tokens:
            traced = token.position >= self.first
            reason = "" if traced else before
            if token.kind == "visual" and rows and rows[-1].kind == "visual":
                last = rows.pop()
                count = last.count + 1
                rows.append(
                    TokenInfo(
                        last.position,
                        last.token_id,
                        f"[image: {count} tokens]",
                        "visual",
                        False,
                        False,
                        reason,
                        count,
                    )
                )
            else:
                rows.append(
                    TokenInfo(
                        token.position,
                        token.token_id,
                        token.text,
                        token.kind,
                        token.constraint,
                        traced,
                        reason,
                    )
                )
        return tuple(rows)


def prepare(
    vlm: VLM,
    question: Question,
    corruption: Corruption,
    answer: str | None = None,
    clean_runs: dict[int, CleanRun] | None = None,
    control: str | None = None,
) -> TraceSetup:
    """Run the clean and the corrupted prompt; see `prepare_trace`.

    clean_runs: the question's clean runs so far, by their first corrupted position; another corruption of it takes up from there.
    """
    clean_runs = {} if clean_runs is None else clean_runs
    encoded = vlm.encode(question)
    if control is not None:
        encoded = without_picture(vlm, encoded)
    with vlm.running():
        plan = corruption.plan(vlm, question, encoded)
        start = plan.positions[0]
        if encoded.visual[start:].any() and not encoded.visual[list(plan.positions)].any():
            raise TraceError(
                f"the picture stands after the first corrupted token (position {start}) in this prompt, so the corruption reaches its visual "
                "tokens, which are not traced; put {image} first in the template, or corrupt tokens after it."
            )
        if start not in clean_runs:
            clean_runs[start] = _clean_run(vlm, encoded, start)
        embeds, continuation, outputs, logits = clean_runs[start]
        start = continuation.start  # 0 where no prefix may be shared
        model_answer = first_token_answer(vlm, logits)
        answer_id = model_answer.token_id if answer is None else _token_of(vlm, encoded, answer)
        changed = plan.corrupt(vlm, embeds)[:, start:]
        both = torch.cat([embeds[:, start:], changed])
        again, *draws = _suffix_logits(vlm, both, continuation).float().softmax(-1)
        after = torch.stack(draws).mean(0)
    clean, corrupted = float(model_answer.probabilities[answer_id]), float(after[answer_id])
    _check_continuation(vlm, model_answer, again)
    corrupted_best = vlm.tokenizer.decode([int(after.argmax())])
    return TraceSetup(
        vlm=vlm,
        question=question,
        encoded=encoded,
        corrupted_input_ids=plan.input_ids,
        corruption=plan.name,
        fitted=plan.fitted,
        changed=plan.positions,
        answer=model_answer,
        answer_id=answer_id,
        clean=clean,
        corrupted=corrupted,
        corrupted_best=corrupted_best,
        continuation=continuation,
        clean_embeds=embeds[:, start:].clone(),
        corrupted_embeds=changed,
        clean_outputs=outputs,
        warnings=_warnings(clean, corrupted, model_answer.token_id == answer_id, int(after.argmax()) == answer_id, plan)
        + ((NO_PICTURE,) if control else ()),
        control=control,
    )


def _clean_run(vlm: VLM, encoded: Encoding, start: int) -> CleanRun:
    """(input embeddings (1, positions, width), what other runs share, clean outputs from `start` on, last logits), in one forward pass."""
    nn, family = vlm.nnsight, vlm.family
    shares = start > 0 and family.shares_prefix(vlm.model)  # a cache of nothing is no cache to transformers
    start = start if shares else 0
    recorded: dict[str, list[torch.Tensor]] = {site: [] for site in SITES}
    with nn.trace(**encoded.inputs, use_cache=shares, logits_to_keep=1):
        context = nnsight.save(family.context(nn, encoded.inputs))
        given = nnsight.save(dict(part(nn, family.decoder).inputs[1]))
        for layer in range(len(vlm.layers)):
            for site in SITES:
                block = hidden(part(nn, vlm.site(layer, site)).output)
                recorded[site].append(block[0, start:].clone().save())
        after = part(nn, family.decoder).output.save()
        logits = nn.output.logits[0, -1].save()
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
    return embeds, Continuation(start, prefix, positions[..., start:], of_suffix(context, start)), outputs, logits


def _suffix_logits(vlm: VLM, embeds: torch.Tensor, continuation: Continuation) -> torch.Tensor:
    """Last-position logits (rows, vocabulary) of unpatched suffixes."""
    nn = vlm.nnsight
    found = []
    for rows in embeds.split(SUFFIX_ROWS):
        with nn.trace(**continuation.inputs(rows)):
            brought(part(nn, vlm.family.decoder).output, rows.device)
            logits = nn.output.logits[:, -1].save()
        found.append(logits)
    return torch.cat(found)


def _check_continuation(vlm: VLM, answer: Answer, continued: torch.Tensor) -> None:
    """Every run continues from the stored prefix; a model for which that is not the whole prompt's run must not be traced so.

    Attention over a sliding window, or positions that depend on the picture, would show here.

    continued: (vocabulary,), probabilities of the clean suffix, to compare to the clean run's own.
    """
    whole, again = answer.probability, float(continued[answer.token_id])
    if not (np.isfinite(whole) and np.isfinite(again)):
        raise TraceError(
            f"the answer's probability is {whole} in the clean run; the model overflows in {vlm.model.dtype}. Load it with dtype='float32' "
            "or 'bfloat16'."
        )
    found = drift(continued.cpu(), torch.as_tensor(answer.probabilities))
    if found > MOST_DRIFT[is_coarse(vlm.model)]:
        raise TraceError(
            f"vlm={vlm.name!r} gives its answer P = {whole:.4f} in one run, and P = {again:.4f} continued from stored keys and values (its log-"
            f"probabilities move by {found:.1%}), so restored runs would not be comparable; {type(vlm.model).__name__} is not supported, or its "
            "layers scale what they quantise by everything in a pass, as dynamic int8 does."
        )


def _token_of(vlm: VLM, encoded: Encoding, answer: str) -> int:
    """The first token of an answer as it would stand after the prompt."""
    if not isinstance(answer, str):
        raise TraceError(f"answer={answer!r} is no text; expected words such as 'Paris'.")
    joined = encoded.prompt + ("" if encoded.prompt[-1:].isspace() else " ") + answer.strip()
    before = vlm.tokenizer(encoded.prompt, add_special_tokens=False)["input_ids"]
    after = vlm.tokenizer(joined, add_special_tokens=False)["input_ids"]
    if not answer.strip() or len(after) <= len(before):
        raise TraceError(
            f"answer={answer!r} adds no token to the prompt; expected words such as 'Paris'. It may be empty, or made of characters this "
            "tokenizer drops."
        )
    if after[: len(before)] != before:
        raise TraceError(
            f"answer={answer!r} changes the last token of the prompt {encoded.prompt[-20:]!r} when it is written after it, so its first token "
            "is not one the model could say there; pass a template= that ends in a complete word."
        )
    return int(after[len(before)])


def _warnings(clean: float, corrupted: float, own: bool, unchanged: bool, plan: Plan) -> tuple[str, ...]:
    """Why this trace may mean nothing."""
    found = []
    if unchanged:
        found.append(
            f"the corruption {plan.name!r} leaves the answer unchanged, so there is little to restore; {plan.advice}"
        )
    elif clean - corrupted < 0.1:
        found.append(
            f"the total effect is only {clean - corrupted:.3f} (clean {clean:.3f}, corrupted {corrupted:.3f}); small effects are noise"
        )
    if own and clean < 0.5:
        found.append(f"the model is not sure of its own answer (P = {clean:.3f}), so the map may explain a guess")
    if not own:
        found.append(f"the answer traced is not the model's own first choice (P = {clean:.3f})")
    return tuple(found)

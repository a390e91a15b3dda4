"""The two runs every trace compares, done once.

Everything before the first corrupted token (of the constraint, usually) is the same in the clean, the corrupted and every restored run
(the decoder is causal and the picture is clean), so it is computed once and its keys and values are shared.  What remains is a short
suffix, from the first corrupted token to the end of the prompt.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from mllm_widgets.provenance import Provenance
from mllm_widgets.results import BEFORE_CONSTRAINT, BEFORE_CORRUPTION, IN_GROUPS, Answer, TokenInfo
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

from .asked import asked_of, measured
from .continuation import Continuation, of_suffix
from .corruption import Corruption, Plan
from .corruption.pictures import look
from .runs import CleanRun, check_continuation, clean_run, corrupted_logits, decoder_inputs
from .score import Score
from .suffix import CorruptedRun, run_suffixes

MODULES = ("mlp", "self_attn")  # what is traced unless the user asks for more


@dataclass(frozen=True, eq=False)
class TraceSetup:
    """Clean and corrupted runs of one question, ready for any window.

    changed: sequence positions the corruption changes, ascending.
    score: what `clean`, `corrupted` and every cell are measured by; `score.ids` are the answer's tokens.
    corrupted: mean over the corruption's draws (a token swap has one).
    continuation: what all runs share; suffixes begin at `start`, the first corrupted token where the prefix may be shared.
    effect: by how much the corruption lowers the answer's probability, whatever the score.
    contexts: what the family adds to each draw's run, where draws are other pictures; empty where it is the clean run's.
    corrupted_run: the corrupted run of a single draw, where it was kept.
    target: the whole answer that is scored, where one was given.
    state: which edits the model had; with others, no run is comparable with these. provenance: what was made with it, but for window and modules.
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
    score: Score
    clean: float
    corrupted: float
    corrupted_best: str
    continuation: Continuation = field(repr=False)
    clean_embeds: torch.Tensor = field(repr=False)
    corrupted_embeds: torch.Tensor = field(repr=False)
    clean_outputs: dict[str, torch.Tensor] = field(repr=False)
    warnings: tuple[str, ...]
    effect: float = 0.0
    control: str | None = None
    contexts: tuple[dict[str, torch.Tensor], ...] = field(default=(), repr=False)
    corrupted_run: CorruptedRun | None = field(default=None, repr=False)
    target: str | None = None
    state: tuple[Any, ...] = ()
    provenance: Provenance = field(default_factory=Provenance, repr=False)

    @property
    def answer_id(self) -> int:
        """The first token of the answer that is scored."""
        return self.score.ids[0]

    @property
    def scored_answer(self) -> str:
        """What is scored, in words: the whole target, or the answer's first token."""
        return self.target or self.vlm.tokenizer.decode([self.answer_id])

    @property
    def first(self) -> int:
        """The first position that may differ between runs; restoring anything before it changes nothing."""
        return self.vlm.family.first_reached(self.vlm.model, self.changed[0], self.encoded.visual)

    @property
    def corrupted_text(self) -> list[int]:
        """Sequence positions of the text tokens the corruption changes."""
        return [p for p in self.changed if not self.encoded.visual[p]]

    @property
    def draws(self) -> tuple[TraceSetup, ...]:
        """One setup for each draw of the corruption, all numbers being means over them; itself where there is one."""
        # not stored: a setup that held itself would keep its keys and values until the next garbage collection
        return (self,) if len(self.corrupted_embeds) == 1 else self._draws

    @functools.cached_property
    def _draws(self) -> tuple[TraceSetup, ...]:
        shared = self.continuation
        contexts = self.contexts or (shared.context,) * len(self.corrupted_embeds)
        return tuple(
            replace(self, corrupted_embeds=one[None], contexts=(), continuation=replace(shared, context=context))
            for one, context in zip(self.corrupted_embeds, contexts, strict=True)
        )

    @property
    def start(self) -> int:
        """The first position of a suffix."""
        return self.continuation.start

    @property
    def text_positions(self) -> list[int]:
        """Sequence positions of the prompt's text tokens."""
        return [token.position for token in self.encoded.tokens if token.kind == "text"]

    @property
    def rows(self) -> tuple[TokenInfo, ...]:
        """Every row of a picture of the map: text tokens in order, runs of visual tokens folded into one row each."""
        rows: list[TokenInfo] = []
        before = BEFORE_CONSTRAINT if self.first in self.encoded.constraint[:1] else BEFORE_CORRUPTION
        for token in self.encoded.tokens:
            if token.kind == "answer":
                break
            traced = token.position >= self.first
            reason = before if not traced else IN_GROUPS if token.kind == "visual" else ""
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
    *,
    target: str | None = None,
    score: str = "probability",
    contrast: str | None = None,
) -> TraceSetup:
    """Run the clean and the corrupted prompt; see `prepare_trace`.

    clean_runs: the question's clean runs so far, by their first corrupted position; another corruption of it takes up from there.
    """
    clean_runs = {} if clean_runs is None else clean_runs
    with vlm.running():
        state = vlm.state
        asked = asked_of(vlm, question, corruption, answer, target, control)
        encoded, plan = asked.encoded, asked.plan
        start = vlm.family.first_reached(vlm.model, plan.positions[0], asked.prompt.visual)
        if start not in clean_runs:
            clean_runs[start] = clean_run(vlm, encoded, start, asked.scored)
        embeds, continuation, outputs, logits = clean_runs[start]
        start = continuation.start  # 0 where no prefix may be shared
        again = run_suffixes(vlm, continuation, embeds[:, start:], 1)[0]
        check_continuation(vlm, logits[0], again[0], int(logits[0].argmax()))
        changed, contexts = _draws(vlm, question, plan, embeds, continuation, asked.said)
        if len(contexts) == 1:
            continuation = replace(continuation, context=contexts[0])
        after, run = corrupted_logits(vlm, continuation, changed, contexts)
        found = measured(vlm, asked, logits, after, score, contrast)
    return TraceSetup(
        **found,
        continuation=continuation,
        clean_embeds=embeds[:, start:].clone(),
        corrupted_embeds=changed,
        clean_outputs=outputs,
        contexts=contexts if len(contexts) > 1 else (),
        corrupted_run=run,
        state=state,
    )


def _draws(
    vlm: VLM, question: Question, plan: Plan, embeds: torch.Tensor, continuation: Continuation, said: np.ndarray
) -> tuple[torch.Tensor, tuple[dict[str, torch.Tensor], ...]]:
    """Corrupted suffixes (draws, suffix, width), and the context of each where it is not the clean run's; `said` is the answer that stands after the prompt."""
    start = continuation.start
    if not plan.pictures:
        return plan.corrupt(vlm, embeds)[:, start:], ()
    found, contexts = [], []
    for picture in plan.pictures:
        inputs = look(vlm, question, picture, plan.input_ids)
        if len(said):
            inputs = vlm.family.answered(inputs, said.tolist())
        seen, context = decoder_inputs(vlm, inputs)
        found.append(seen[:, start:])
        contexts.append(of_suffix(context, start))
    return torch.cat(found), tuple(contexts)

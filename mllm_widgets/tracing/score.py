"""What a run is scored by: how strongly it gives the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mllm_widgets.errors import TraceError
from mllm_widgets.results import TokenInfo
from mllm_widgets.vlm.model import VLM, Encoding

SCORES = ("probability", "log-probability", "logit-difference")
FORCED = "part of the answer that is scored, not of the prompt"


@dataclass(frozen=True)
class Score:
    """A number for the logits at the last positions of a run, where the answer's tokens are said.

    kind: "probability" (of all of the answer's tokens, one after the other), "log-probability" (its logarithm, base e), or
        "logit-difference" (the answer token's logit minus that of `contrast`).
    ids: the answer's tokens.
    contrast: the token an answer of one token is held against.
    """

    kind: str
    ids: tuple[int, ...]
    contrast: int | None = None

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """(rows,), in float32, of logits (rows, answer tokens, vocabulary)."""
        if self.kind == "logit-difference":
            return logits[:, 0, self.ids[0]].float() - logits[:, 0, self.contrast].float()
        log = self.log_probability(logits)
        return log if self.kind == "log-probability" else log.exp()

    @property
    def asked(self) -> tuple[tuple[int, int], ...]:
        """(positions before the last, token) of every log-probability that `of_logs` takes."""
        last = len(self.ids) - 1
        each = tuple((last - number, token) for number, token in enumerate(self.ids))
        return each if self.contrast is None else (*each, (last, self.contrast))

    def of_logs(self, logs: torch.Tensor) -> torch.Tensor:
        """(rows,) of log-probabilities (rows, asked): what `__call__` gives for the logits they are of."""
        if self.kind == "logit-difference":
            return logs[:, 0] - logs[:, 1]  # what they are normalised by is the same
        log = logs[:, : len(self.ids)].sum(dim=1)
        return log if self.kind == "log-probability" else log.exp()

    def log_probability(self, logits: torch.Tensor) -> torch.Tensor:
        """(rows,) sum over the answer's tokens of log P(token | prompt, tokens before it)."""
        ids = torch.tensor(self.ids, device=logits.device)
        each = logits.float().log_softmax(-1).gather(-1, ids.expand(len(logits), -1)[..., None])
        return each.sum(dim=(1, 2))


def check_score(score: Any, answer: Any, target: Any, contrast: Any) -> str:
    """The kind of score asked for; a whole target is scored by log-probability unless said otherwise.

    Raises
    ------
    TraceError: for an unknown score, or arguments that do not go together.
    """
    if answer is not None and target is not None:
        raise TraceError(
            f"answer={answer!r} and target={target!r} both say what to score; expected one: answer scores its first token, target all of its tokens."
        )
    kind = ("probability" if target is None else "log-probability") if score is None else score
    if kind not in SCORES:
        raise TraceError(f"score={score!r} is no score; expected one of {', '.join(map(repr, SCORES))}.")
    if contrast is not None and kind != "logit-difference":
        raise TraceError(
            f"contrast={contrast!r} is what a logit difference is taken to, and score is {kind!r}; pass score='logit-difference'."
        )
    if kind == "logit-difference" and target is not None:
        raise TraceError(
            f"score='logit-difference' compares two tokens, and target={target!r} scores a whole answer; pass answer={target!r}, whose first token "
            "is compared."
        )
    return kind


def answer_tokens(vlm: VLM, encoded: Encoding, argument: str, answer: Any) -> list[int]:
    """The tokens of an answer as it would stand after the prompt.

    Raises TraceError if it adds none, or changes the prompt's own.
    """
    if not isinstance(answer, str):
        raise TraceError(f"{argument}={answer!r} is no text; expected words such as 'Paris'.")
    joined = encoded.prompt + ("" if encoded.prompt[-1:].isspace() else " ") + answer.strip()
    before = vlm.tokenizer(encoded.prompt, add_special_tokens=False)["input_ids"]
    after = vlm.tokenizer(joined, add_special_tokens=False)["input_ids"]
    if not answer.strip() or len(after) <= len(before):
        raise TraceError(
            f"{argument}={answer!r} adds no token to the prompt; expected words such as 'Paris'. It may be empty, or made of characters this "
            "tokenizer drops."
        )
    if after[: len(before)] != before:
        raise TraceError(
            f"{argument}={answer!r} changes the last token of the prompt {encoded.prompt[-20:]!r} when it is written after it, so its first token "
            "is not one the model could say there; pass a template= that ends in a complete word."
        )
    return [int(token) for token in after[len(before) :]]


def answered(vlm: VLM, encoded: Encoding, ids: list[int]) -> Encoding:
    """A question with all of the answer but its last token after the prompt: what a run needs to be asked for every token of it."""
    said = ids[:-1]
    if not said:
        return encoded
    first = len(encoded.tokens)
    tokens = tuple(
        TokenInfo(first + i, token, vlm.tokenizer.decode([token]), "answer", traced=False, reason=FORCED)
        for i, token in enumerate(said)
    )
    return replace(
        encoded,
        inputs=vlm.family.answered(encoded.inputs, said),
        tokens=(*encoded.tokens, *tokens),
        visual=np.concatenate([encoded.visual, np.zeros(len(said), dtype=bool)]),
    )

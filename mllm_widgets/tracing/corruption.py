"""Ways to corrupt a question: other token ids in the place of a constraint, or noise on input embeddings; the picture stays untouched.

A corruption says which positions it changes and what stands there instead (`Plan`); everything after follows from that.  Each object is a
few plain values, so the same corruption can be given to any question.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
import torch

from mllm_widgets.errors import TraceError
from mllm_widgets.vlm.model import VLM, Encoding
from mllm_widgets.vlm.question import Question

WORDS = ("constraint", "text_constraints")
PLACES = (*WORDS, "visual")
_EXPECTED = "expected a phrase such as 'Taj Mahal', or a corruption such as mw.tracing.EmbeddingNoise()"


@dataclass(frozen=True, eq=False)
class Plan:
    """A corruption of one question.

    positions: sequence positions it changes, ascending.
    input_ids: token ids (positions,) of the corrupted prompt.
    name: for a reader.
    fitted: what was done to make the new words as long as the old ones; empty where there are no new words.
    advice: what to try where it leaves the answer unchanged.
    noise: (draws, changed positions, width), added to the embeddings there; None for new words, which are one draw.
    """

    positions: tuple[int, ...]
    input_ids: np.ndarray = field(repr=False)
    name: str
    fitted: str
    advice: str
    noise: torch.Tensor | None = field(default=None, repr=False)

    def corrupt(self, vlm: VLM, embeds: torch.Tensor) -> torch.Tensor:
        """Corrupted input embeddings (draws, all positions, width) from the clean ones (1, all positions, width)."""
        where = torch.tensor(self.positions, device=embeds.device)
        if self.noise is not None:
            made = embeds.repeat(len(self.noise), 1, 1)
            # summed in the noise's float32, so that half precision rounds once
            made[:, where] = (embeds[:, where].float() + self.noise.to(embeds.device)).to(embeds.dtype)
            return made
        made = embeds.clone()
        ids = torch.as_tensor(self.input_ids[list(self.positions)], device=embeds.device)
        made[0, where] = vlm.model.get_input_embeddings()(ids).to(made)
        return made


class Corruption(ABC):
    """A way to corrupt questions.  A subclass says in `plan` what it changes."""

    @abstractmethod
    def plan(self, vlm: VLM, question: Question, encoded: Encoding) -> Plan:
        """What it does to one question.

        Raises TraceError where it cannot be done, or would change nothing.
        """


@dataclass(frozen=True)
class TokenSwap(Corruption):
    """Other words in the place of a constraint, as in the paper ("this building" -> "Taj Mahal").

    The phrase's tokens are taken in context (with the space before them, as the tokenizer would write them there) and then truncated or
    repeated to the constraint's length, so that every later position keeps its place.

    Parameters
    ----------
    phrase: the other words.
    positions: what they replace: "constraint" (the visual constraint), "text_constraints" (each of them), or both in a tuple.

    Raises
    ------
    TraceError: for an empty phrase, or positions that are no constraint.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> question = mw.datasets.demo_question("Eiffel Tower")
    >>> mw.causal_trace(mw.load(), question, corruption=mw.tracing.TokenSwap("Big Ben")).corruption
    'Big Ben'
    """

    phrase: str
    positions: str | Sequence[str] = "constraint"

    def __post_init__(self) -> None:
        _check_phrase("corruption", self.phrase)
        object.__setattr__(self, "positions", _names(self.positions, WORDS, type(self).__name__))

    def plan(self, vlm: VLM, question: Question, encoded: Encoding) -> Plan:
        """As `Corruption.plan`."""

        def tokens(alone: Question) -> list[int]:
            other = vlm.encode(alone, constraint=self.phrase.strip())
            return [int(other.input_ids[p]) for p in other.constraint]

        return _swapped(self, vlm, question, encoded, self.phrase, tokens)


@dataclass(frozen=True)
class RepeatedToken(Corruption):
    """One token in the place of every token of a constraint, as in the paper's released code ("this building" -> "Paris Paris").

    Of a word of several tokens the first is taken.  The word is tokenized by itself, as that code does, not as it would stand in the
    question.

    Parameters
    ----------
    word: whose first token is written.
    positions: as for `TokenSwap`.

    Raises
    ------
    TraceError: for an empty word, or positions that are no constraint.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> question = mw.datasets.demo_question("Eiffel Tower")
    >>> mw.causal_trace(mw.load(), question, corruption=mw.tracing.RepeatedToken("London")).fitted
    'first token, repeated'
    """

    word: str = "Paris"
    positions: str | Sequence[str] = "constraint"

    def __post_init__(self) -> None:
        _check_phrase("word", self.word)
        object.__setattr__(self, "positions", _names(self.positions, WORDS, type(self).__name__))

    def plan(self, vlm: VLM, question: Question, encoded: Encoding) -> Plan:
        """As `Corruption.plan`."""
        ids = vlm.tokenizer(self.word.strip(), add_special_tokens=False)["input_ids"]
        if not ids:
            raise TraceError(
                f"word={self.word!r} has no token: this tokenizer drops its characters. Choose another word."
            )
        planned = _swapped(self, vlm, question, encoded, self.word, lambda _: [int(ids[0])])
        return replace(planned, fitted="first token, repeated")


@dataclass(frozen=True)
class EmbeddingNoise(Corruption):
    """Gaussian noise on input embeddings, as in ROME; every number of the map is a mean over the draws.

    A token swap followed by an early restoration partly puts the constraint's identity back in place of the other word's; noise stands for no
    other word, so it is the control for that.

    Parameters
    ----------
    sigma: standard deviation of the noise, in standard deviations of the model's embedding matrix.
    draws: how many independent draws are averaged; the work grows with it.
    seed: of the draws; the same seed gives the same noise on every device.
    positions: what is noised: "constraint", "text_constraints", "visual" (all visual tokens), sequence positions, or several of these in
        a tuple.

    Raises
    ------
    TraceError: for a negative sigma, draws below 1, or positions that name nothing.

    Examples
    --------
    >>> import mllm_widgets as mw
    >>> noise = mw.tracing.EmbeddingNoise(sigma=3.0, draws=4)
    >>> mw.causal_trace(mw.load(), mw.datasets.demo_question("Eiffel Tower"), corruption=noise).corruption
    'Gaussian noise (sigma 3, 4 draws)'
    """

    sigma: float = 3.0
    draws: int = 10
    seed: int = 0
    positions: str | int | Sequence[str | int] = "constraint"

    def __post_init__(self) -> None:
        if (
            isinstance(self.sigma, bool)
            or not isinstance(self.sigma, (Real, np.number))
            or not 0 <= self.sigma < float("inf")
        ):
            raise TraceError(
                f"sigma={self.sigma!r} is not a size of noise; expected 0 or more, in standard deviations of the embedding matrix (ROME "
                "takes 3.0)."
            )
        for name, value, least in (("draws", self.draws, 1), ("seed", self.seed, 0)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise TraceError(f"{name}={value!r} is not a count; expected a whole number, {least} or more.")
        object.__setattr__(self, "positions", _names(self.positions, PLACES, type(self).__name__, numbers=True))

    def plan(self, vlm: VLM, question: Question, encoded: Encoding) -> Plan:
        """As `Corruption.plan`."""
        places = tuple(self.positions) if isinstance(self.positions, tuple) else (self.positions,)
        positions = _positions(places, vlm, question, encoded)
        matrix = vlm.model.get_input_embeddings()
        width = matrix(torch.tensor([0], device=vlm.device)).shape[-1]
        # drawn on the CPU, where a generator gives the same numbers on every machine
        generator = torch.Generator().manual_seed(int(self.seed))
        noise = torch.randn(int(self.draws), len(positions), width, generator=generator)
        where = "" if places == ("constraint",) else f" on {', '.join(map(str, places))}".replace("_", " ")
        times = f"{self.draws} draw" + "s" * (self.draws != 1)
        return Plan(
            positions=positions,
            input_ids=encoded.input_ids.copy(),
            name=f"Gaussian noise{where} (sigma {self.sigma:g}, {times})",
            fitted="",
            advice="raise sigma" if self.sigma else "sigma=0 adds no noise",
            noise=noise * float(self.sigma) * embedding_std(vlm),
        )


def as_corruption(corruption: Any) -> Corruption:
    """A corruption object; a phrase is a `TokenSwap`.

    Raises TraceError for anything else.
    """
    if isinstance(corruption, Corruption):
        return corruption
    if isinstance(corruption, type) and issubclass(corruption, Corruption):
        raise TraceError(
            f"corruption is the class {corruption.__name__}; expected an object: {corruption.__name__}(...)."
        )
    if not isinstance(corruption, str):
        raise TraceError(f"corruption={corruption!r} is no text; {_EXPECTED}.")
    return TokenSwap(corruption)


def embedding_std(vlm: VLM) -> float:
    """The standard deviation of a model's input embeddings, over the whole vocabulary; scaled as the model scales them."""
    matrix = vlm.model.get_input_embeddings()
    total = squares = count = 0.0
    for ids in torch.arange(matrix.num_embeddings, device=vlm.device).split(4096):
        values = matrix(ids).double()
        total, squares, count = total + values.sum().item(), squares + (values**2).sum().item(), count + values.numel()
    return max(0.0, squares / count - (total / count) ** 2) ** 0.5


def fit(tokens: list[int], length: int) -> tuple[list[int], str]:
    """`tokens` made `length` long, and what was done: "exact", "truncated" or "repeated".

    Examples
    --------
    >>> fit([7, 8, 9], 2), fit([7], 2)
    (([7, 8], 'truncated'), ([7, 7], 'repeated'))
    """
    how = "exact" if len(tokens) == length else "truncated" if len(tokens) > length else "repeated"
    return (tokens * (length // len(tokens) + 1))[:length], how


def _swapped(
    corruption: TokenSwap | RepeatedToken,
    vlm: VLM,
    question: Question,
    encoded: Encoding,
    phrase: str,
    tokens: Callable[[Question], list[int]],
) -> Plan:
    """New ids at every constraint named; `tokens` gives them for a question whose constraint is the one to be replaced."""
    ids = encoded.input_ids.copy()
    positions: set[int] = set()
    fits: dict[str, None] = {}
    for alone in _constraints(corruption.positions, question):
        span = list(_span(vlm, question, encoded, alone))
        ids[span], how = fit(tokens(alone), len(span))
        positions.update(span)
        fits[how] = None
    if (ids == encoded.input_ids).all():
        words = " and ".join(repr(alone.constraint) for alone in _constraints(corruption.positions, question))
        raise TraceError(
            f"corruption={phrase!r} has the same tokens as the constraint {words}, so nothing would be corrupted; "
            "choose other words."
        )
    return Plan(tuple(sorted(positions)), ids, phrase, ", ".join(fits), "try another phrase")


def _constraints(names: Sequence[Any], question: Question) -> list[Question]:
    """The question once for each of its constraints named, with that one as its only constraint."""
    found = []
    if "constraint" in names:
        if question.constraint is None:
            raise TraceError(
                "the question has no constraint, so there is nothing to corrupt; name the words that point at the picture: "
                "Question(image, text, constraint='this building')."
            )
        found.append(replace(question, text_constraints=()))
    if "text_constraints" in names:
        if not question.text_constraints:
            raise TraceError(
                "positions='text_constraints' asks for words that the question does not name; expected "
                "Question(image, text, text_constraints=('1989',))."
            )
        found += [
            replace(question, constraint=words, text_constraints=(), occurrence=0)
            for words in question.text_constraints
        ]
    return found


def _span(vlm: VLM, question: Question, encoded: Encoding, alone: Question) -> tuple[int, ...]:
    """Sequence positions of a constraint."""
    if alone.constraint == question.constraint and alone.occurrence == question.occurrence:
        return encoded.constraint
    other = vlm.encode(alone)
    shift = len(encoded.tokens) - len(other.tokens)  # where the picture before it was left out
    return tuple(p + shift for p in other.constraint)


def _positions(names: Sequence[Any], vlm: VLM, question: Question, encoded: Encoding) -> tuple[int, ...]:
    """Sequence positions, ascending, of places named and numbered."""
    found = {p for alone in _constraints(names, question) for p in _span(vlm, question, encoded, alone)}
    if "visual" in names:
        if not encoded.visual.any():
            raise TraceError(
                f"positions='visual' asks for visual tokens, and this prompt of {type(vlm.model).__name__} has none; "
                "expected 'constraint', 'text_constraints' or sequence positions."
            )
        found.update(int(p) for p in np.flatnonzero(encoded.visual))
    for position in names:
        if not isinstance(position, str):
            if not 0 <= position < len(encoded.tokens):
                raise TraceError(
                    f"positions={position} is outside the prompt; expected 0 to {len(encoded.tokens) - 1}, counted over all tokens, visual ones "
                    "included, as in vlm.encode(question).tokens."
                )
            found.add(int(position))
    return tuple(sorted(found))


def _names(positions: Any, known: tuple[str, ...], owner: str, *, numbers: bool = False) -> tuple[Any, ...]:
    """`positions` as a tuple of known names, and of numbers where these are allowed."""
    found = (positions,) if isinstance(positions, str) or not isinstance(positions, Iterable) else tuple(positions)
    for name in found:
        number = isinstance(name, (int, np.integer)) and not isinstance(name, bool)
        if not (number and numbers) and name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            others = ", or sequence positions" if numbers else ""
            raise TraceError(
                f"positions={positions!r} of {owner}: {name!r} names nothing it can change; expected "
                f"{', '.join(map(repr, known))}{others}.{f' Did you mean {near[0]!r}?' if near else ''}"
            )
    if not found:
        raise TraceError(
            f"positions={positions!r} of {owner} is empty, so nothing would be corrupted; expected {known[0]!r}."
        )
    return tuple(dict.fromkeys(found))


def _check_phrase(argument: str, phrase: Any) -> None:
    if not isinstance(phrase, str) or not phrase.strip():
        raise TraceError(
            f"{argument}={phrase!r} is {'empty' if isinstance(phrase, str) else 'no text'}; expected words to stand in for the constraint, "
            "such as 'Taj Mahal'."
        )

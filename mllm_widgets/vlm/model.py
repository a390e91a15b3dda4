"""A vision-language model, or a language model, with what asking and tracing need: its parts, its lock, and encoded questions."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from mllm_widgets.errors import ConstraintError, ModelError, QuestionError
from mllm_widgets.finishing import to_the_end
from mllm_widgets.results import TokenInfo

from . import prompts, spans
from .families import family_of
from .families.base import part
from .geometry import VisualGeometry
from .placement import device_of
from .processors import tokenizer_of
from .question import Question
from .remote import Remote
from .side_terms import SideTerms

# One lock per model, not per VLM: the same model may be loaded twice, with two templates.
_LOCKS: weakref.WeakKeyDictionary[Any, threading.RLock] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Encoding:
    """A question as the model reads it.

    inputs: the dict the Hugging Face model takes (batch of one).
    tokens: one `TokenInfo` per sequence position.
    visual: bool (positions,), True at visual tokens.
    constraint: positions of the visual constraint's tokens, ascending; empty without a constraint.
    """

    inputs: dict[str, torch.Tensor] = field(repr=False)
    tokens: tuple[TokenInfo, ...] = field(repr=False)
    visual: np.ndarray = field(repr=False)
    constraint: tuple[int, ...]
    prompt: str

    @property
    def input_ids(self) -> np.ndarray:
        """Token ids (positions,) with one image token per visual token."""
        return self.inputs["input_ids"][0].cpu().numpy()


class VLM:
    """A model and its processor, which for a language model is its tokenizer.

    `lock` is held by everything that runs the model: interventions live on the module, so two runs at once would see each
    other's.  Nothing here changes the model's dtype, device or attention implementation.  `remote` says where the model runs if not here; it then has no
    weights.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str = "",
        template: str | None = None,
        card: str = "",
        remote: Remote | None = None,
    ):
        self.model, self.processor, self.name = model, processor, name or type(model).__name__
        self.template, self.card, self.remote = template, card, remote
        self.tokenizer = tokenizer_of(processor)
        self.family = family_of(model)
        self.layers: Any = part(model, f"{self.family.decoder}.{self.family.layers}")
        self.lock = _LOCKS.setdefault(model, threading.RLock())
        self._nnsight: Any = None
        self.side_terms = SideTerms(self)
        self.memo: dict[str, Any] = {}  # what others keep of this model, which goes when it goes

    @property
    def nnsight(self) -> Any:
        """The model wrapped as an nnsight `TransformersModel` (made on first use, where the model is)."""
        if self._nnsight is None:
            from .wrapping import wrapped

            self._nnsight = wrapped(self.model, self.processor)
        return self._nnsight

    @property
    def device(self) -> torch.device:
        """Where the model takes its inputs; a model with a device map may lie on several."""
        return device_of(self.model) if self.remote is None else torch.device("cpu")

    @property
    def image_token_id(self) -> int | None:
        """The id that stands for a visual token; None where pictures are not in the sequence."""
        return self.family.image_token_id(self.model)

    def site(self, layer: int, module: str) -> str:
        """Dotted path from the model, or from its nnsight wrapper, to a sub-block ("mlp", "self_attn") or layer ("residual")."""
        return self.family.site(self.model, layer, module)

    @property
    def state(self) -> tuple[Any, ...]:
        """Which edits the model has now; what was computed of it is out of date when this has changed."""
        return self.side_terms.state

    def projection_site(self, layer: int) -> str:
        """Dotted path from the model to the output projection of a layer's MLP (W_proj)."""
        return f"{self.site(layer, 'mlp')}.{self.family.down}"

    def projection(self, layer: int) -> nn.Module:
        """The output projection of a layer's MLP, of the model itself."""
        return part(self.model, self.projection_site(layer))

    def block(self, layer: int, module: str) -> nn.Module:
        """A sub-block ("mlp", "self_attn") or layer ("residual") of the model itself."""
        return part(self.model, self.site(layer, module))

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.model.parameters())
        place = "" if self.remote is None else f", on {self.remote.host}"
        return f"VLM({self.name!r}: {type(self.model).__name__}, {len(self.layers)} layers, {count / 1e6:.1f} M parameters{place})"

    def encode(self, question: Question, constraint: str | None = None) -> Encoding:
        """Tokenize a question; `constraint` replaces the question's visual constraint by other words first.

        Raises
        ------
        ConstraintError: if the question's constraint, or one of its text constraints, does not stand in its text.
        QuestionError: if its words contain the token that stands for the picture, or if it has a picture and the model takes none (or the
            other way round).
        """
        self._check_picture(question)
        text, span = question.text, None
        if question.constraint is not None:
            span = spans.find_words(text, question.constraint, question.occurrence)
        for words in question.text_constraints:
            spans.find_words(text, words, argument="text_constraints")
        if constraint is not None:
            if span is None:
                raise ConstraintError(
                    "the question has no constraint to replace; pass Question(..., constraint='this building')."
                )
            text = text[: span[0]] + constraint + text[span[1] :]
            span = (span[0], span[0] + len(constraint))
        picture = getattr(self.processor, "image_token", None)
        if picture and picture in text:
            raise QuestionError(
                f"text={text!r} contains {picture!r}, which stands for the picture; expected words only. The template "
                "places the picture."
            )
        prompt = prompts.render(self.processor, text, self.template, picture=question.image is not None)
        written = self.family.written(self.processor, prompt)
        inputs = self.family.read(self.processor, prompt, question.image, **self._special(written))
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        ids = inputs["input_ids"][0].cpu().numpy()
        visual = ids == -1 if self.image_token_id is None else ids == self.image_token_id
        positions: tuple[int, ...] = ()
        if span is not None:
            place = prompts.place(self.processor, prompt, self.template, picture=question.image is not None)
            positions = self._positions(prompt, written, text, span, place, ids)
        tokens = tuple(
            TokenInfo(
                position=i,
                token_id=int(token),
                text="" if visual[i] else self.tokenizer.decode([int(token)]),
                kind="visual" if visual[i] else "text",
                constraint=i in positions,
            )
            for i, token in enumerate(ids)
        )
        return Encoding(inputs, tokens, visual, positions, written)

    def _check_picture(self, question: Question) -> None:
        """Raises QuestionError for a picture the model cannot see, and for none where it must have one."""
        kind = type(self.model).__name__
        if question.image is not None and self.family.pictures == "none":
            raise QuestionError(
                f"the question has a picture, and {kind} is a language model, which reads none; expected mw.Question(None, text, "
                "constraint='the Eiffel Tower'), with words for what the picture shows."
            )
        if question.image is None and self.family.pictures == "required":
            raise QuestionError(
                f"the question has no picture, and {self.family.name} ({kind}) does not run without one; expected mw.Question(image, text)."
            )

    def _special(self, written: str) -> dict[str, bool]:
        """Tokenizer options: a prompt that has the first token already (from its template or processor) must not get a second one."""
        bos = getattr(self.tokenizer, "bos_token", None)
        picture = getattr(self.processor, "image_token", None) or ""
        return {"add_special_tokens": False} if bos and written.startswith((bos, picture + bos)) else {}

    def _positions(
        self, prompt: str, written: str, text: str, span: tuple[int, int], place: tuple[int, int], ids: np.ndarray
    ) -> tuple[int, ...]:
        """Sequence positions of a character span of the question.

        `written` is the prompt as the processor tokenizes it, `place` the characters of the prompt that are the question.

        The processor expands each image token after offsets are known, so positions are counted from the end, and the
        tail of both id lists must agree.
        """
        begin, end = place
        if prompt[begin:end] != text:  # changed by the template: the same words must still stand there
            words = text[slice(*span)]
            before = sum(start < span[0] for start, _ in spans.find_all(text, words))
            span = spans.find_words(prompt[begin:end], words, before)
        if not getattr(self.tokenizer, "is_fast", False):
            raise ModelError(
                f"the tokenizer of {self.name!r} is a {type(self.tokenizer).__name__}, which does not say where its tokens stand in the text; "
                "expected a fast tokenizer (tokenizer.json)."
            )
        # what a processor adds it adds before or after the question, never in it
        begin = written.index(prompt[begin:end], begin)
        encoded = self.tokenizer(written, return_offsets_mapping=True, **self._special(written))
        found = spans.tokens_in(encoded["offset_mapping"], begin + span[0], begin + span[1])
        if not found:
            raise ConstraintError(
                f"constraint={text[slice(*span)]!r} has no token of its own: this tokenizer drops its characters. Choose other words."
            )
        shift = len(ids) - len(encoded["input_ids"])
        tail = len(encoded["input_ids"]) - found[0]
        if list(ids[-tail:]) != list(encoded["input_ids"][-tail:]):
            raise ModelError(
                f"the processor of {self.name!r} does not place the question after the picture, so the constraint's tokens cannot be "
                "located; pass template= with {image} before {question}."
            )
        return tuple(i + shift for i in found)

    def geometry(self, question: Question) -> VisualGeometry:
        """Where the question's visual tokens lie on its picture, in pixels.

        Returns
        -------
        VisualGeometry: `boxes` (visual tokens, 4), in the order of `encode(question).visual`; `tokens_at(x, y)`.

        Raises
        ------
        ModelError: if nothing is known about where this model's visual tokens lie, or if it has none.
        QuestionError: if the question has no picture.

        Examples
        --------
        >>> import mllm_widgets as mw
        >>> mw.load().geometry(mw.datasets.demo_question("Eiffel Tower")).grids[0].shape
        (8, 8)
        """
        if self.family.pictures == "none":
            raise ModelError(
                f"{type(self.model).__name__} is a language model: it reads no picture, so none of its tokens lies on one."
            )
        if question.image is None:
            raise QuestionError(
                "the question has no picture, so none of its tokens lies on one; expected mw.Question(image, text)."
            )
        inputs = self.encode(question).inputs
        return self.family.geometry(self.processor, self.model, inputs, question.image)

    def check_here(self) -> None:
        """Raises ModelError for a model that is served elsewhere, where what is asked needs its weights."""
        if self.remote is not None:
            raise ModelError(
                f"this needs the weights of {self.name!r}, which runs on {self.remote.host}; a remote model can be asked (mw.ask) and traced "
                "(mw.causal_trace, mw.sweep of traces). For contributions, knockouts, lenses and edits load it here, without remote=: "
                "mw.load(model, device_map='auto') divides it over the GPUs and the disk there are."
            )

    @contextlib.contextmanager
    def running(self, gradients: bool = False) -> Iterator[None]:
        """Hold the lock, in evaluation mode and without gradients; the model's own modes come back on exit.

        gradients: let gradients flow through the model, to what is no parameter of it.

        Raises ModelError for a model that is served elsewhere.
        """
        self.check_here()
        with self.lock:
            training = [module for module in self.model.modules() if module.training]
            learning = [p for p in self.model.parameters() if p.requires_grad] if gradients else []

            def give_back() -> None:
                for module in training:
                    module.training = True
                for parameter in learning:
                    parameter.requires_grad_(True)

            try:
                for module in training:
                    module.training = False
                for parameter in learning:
                    parameter.requires_grad_(False)
                # gradients also where the caller is in inference mode
                modes = (torch.inference_mode(False), torch.enable_grad()) if gradients else (torch.inference_mode(),)
                with contextlib.ExitStack() as stack:
                    for mode in (self.family.undisturbed(self.model), *modes):
                        stack.enter_context(mode)
                    yield
            finally:
                # an interrupt that comes meanwhile must not leave half the model changed
                to_the_end(give_back)

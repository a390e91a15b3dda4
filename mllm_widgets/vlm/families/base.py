"""The registry of model families, and what an entry says.

An entry holds only what differs between Hugging Face classes: dotted paths to the parts, whether runs may share a prefix, and how visual tokens
lie on the picture.  Everything else works through these paths, on the model itself and on its nnsight wrapper alike.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mllm_widgets.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image

    from mllm_widgets.vlm.geometry import VisualGeometry

# Inputs besides the token ids that have a value for every position of the prompt.
PER_POSITION = ("attention_mask", "token_type_ids", "mm_token_type_ids", "cross_attention_mask")
DEEPER = "deeper"  # what `Family.context` may hold that is no argument of the model


@dataclass(frozen=True)
class Family:
    """One family of models.  Subclass it where a method must differ; register an instance with `register_family`.

    name: what people call it.
    classes: names of the Hugging Face classes it covers.
    decoder: dotted path from the model to its decoder, the module that takes `inputs_embeds`.
    layers: dotted path from the decoder to its list of layers.
    attention, mlp: a layer's sub-blocks, whose outputs are added to the residual stream.
    value, output, down: projections inside them: values, attention output, second MLP matrix (W_proj).
    head: dotted path from the model to the module that gives logits.
    checked: how its entry is tested, for `mw.families()`.
    limits: what is switched off or left out for it, and why; empty where nothing is.
    pictures: does a question have one?  "optional", "required" (the processor or the model cannot do without), or "none" (a language model).
    """

    name: str
    classes: tuple[str, ...]
    decoder: str = "model.language_model"
    layers: str = "layers"
    attention: str = "self_attn"
    mlp: str = "mlp"
    value: str = "v_proj"
    output: str = "o_proj"
    down: str = "down_proj"
    head: str = "lm_head"
    checked: str = ""
    limits: str = ""
    pictures: str = "optional"

    def layer_count(self, model: Any) -> int:
        """Number of decoder layers."""
        return len(part(model, f"{self.decoder}.{self.layers}"))

    def site(self, model: Any, layer: int, module: str) -> str:
        """Dotted path from the model to a sub-block ("mlp" or "self_attn") of a layer; "residual" is the layer, whose output is the stream after it."""
        block = f"{self.decoder}.{self.layers}.{layer}"
        return block if module == "residual" else f"{block}.{self.mlp if module == 'mlp' else self.attention}"

    def image_token_id(self, model: Any) -> int | None:
        """The id that stands for a visual token in the sequence; None where pictures are not in the sequence."""
        return getattr(model.config, "image_token_id", None)

    def picture_positions(self, model: Any, input_ids: np.ndarray, visual: np.ndarray) -> tuple[int, ...]:
        """Sequence positions at which the picture enters the decoder, ascending: its visual tokens; empty without a picture."""
        return tuple(int(position) for position in visual.nonzero()[0])

    def answered(self, inputs: dict[str, torch.Tensor], ids: list[int]) -> dict[str, torch.Tensor]:
        """A prompt's inputs with an answer's tokens after it, as if the model had said them."""
        import torch

        made = dict(inputs)
        said = torch.tensor([ids], dtype=inputs["input_ids"].dtype, device=inputs["input_ids"].device)
        made["input_ids"] = torch.cat([inputs["input_ids"], said], dim=1)
        for name in PER_POSITION:
            if name in inputs:
                last = inputs[name][:, -1:]
                made[name] = torch.cat([inputs[name], last.repeat(1, len(ids), *[1] * (last.dim() - 2))], dim=1)
        return made

    def is_causal(self, model: Any) -> bool:
        """Does no position see a later one, the visual tokens among themselves apart?  If so, nothing before the constraint can matter."""
        return True

    def first_reached(self, model: Any, position: int, visual: np.ndarray) -> int:
        """The first position that a change at `position` may reach; `visual` (positions,) is True at visual tokens."""
        return position if self.is_causal(model) else 0

    def shares_prefix(self, model: Any) -> bool:
        """May runs share the keys and values of the positions before the first one that differs?

        Only a causal family, and only where every layer keeps all keys and takes up from them.
        """
        return self.is_causal(model) and keeps_all_keys(model.config.get_text_config())

    def fitted(self, model: Any) -> Family:
        """The family as one model has it: a class that takes any decoder has names that only the loaded model knows."""
        return self

    def written(self, processor: Any, prompt: str) -> str:
        """The prompt as the processor tokenizes it, image tokens not yet expanded: some add a first token or a line end themselves."""
        return prompt

    def read(self, processor: Any, prompt: str, image: Image.Image | None, **options: Any) -> dict[str, torch.Tensor]:
        """What the model takes for a prompt and its picture, if it has one; `options` are the tokenizer's."""
        picture = {} if image is None else {"images": image}
        inputs = processor(text=prompt, return_tensors="pt", **picture, **options)
        # labels are for training: some processors add them unasked, and with them a model computes a loss over all positions
        return {name: value for name, value in inputs.items() if name != "labels"}

    def context(self, root: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What a run that starts from embeddings needs besides them, each with a batch dimension of one.

        Called inside the nnsight trace of the clean run, before its decoder runs; `root` is the wrapped model, `inputs` what it was given.
        A runner repeats each value along its first dimension, once for every row, and hands it to the model.  `DEEPER`, if it is there, is
        no argument of the model but (1, positions, n, width): what the decoder adds to the stream after each of its first n layers.  The
        runner adds it there.
        """
        return {}

    def undisturbed(self, model: Any) -> contextlib.AbstractContextManager[None]:
        """Around every run: what it would leave on the model, and a later run would read, is as before on exit."""
        return contextlib.nullcontext()

    def geometry(
        self, processor: Any, model: Any, inputs: dict[str, torch.Tensor], image: Image.Image
    ) -> VisualGeometry:
        """Where the visual tokens of a picture lie on it.

        Raises ModelError if this family's visual tokens have no place on the picture.
        """
        raise ModelError(f"{self.name} says nothing about where its visual tokens lie on the picture.")


FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> Family:
    """Make a family known; a later entry for a class takes the place of an earlier one.

    Examples
    --------
    >>> from mllm_widgets.vlm.families import Family, register_family
    >>> mine = register_family(Family("My VLM", classes=("MyVLMForConditionalGeneration",), decoder="model.text_model"))
    >>> FAMILIES.pop("MyVLMForConditionalGeneration") is mine
    True
    """
    for name in family.classes:
        FAMILIES[name] = family
    return family


def family_of(model: Any) -> Family:
    """The family of a loaded model.

    Raises
    ------
    ModelError: for a class that is not registered, or whose parts are not where its entry says.
    """
    name = type(model).__name__
    family = FAMILIES.get(name)
    if family is None:
        raise ModelError(
            f"model is a {name}, which is neither a vision-language model nor a language model this package can trace. It knows "
            f"{', '.join(FAMILIES)}. If {name} keeps its decoder at `model.language_model`, as most vision-language models do, register it: "
            f"mw.register_family(mw.Family({name!r}, classes=({name!r},), decoder='model.language_model'))."
        )
    try:
        family = family.fitted(model)
        for module in ("mlp", "self_attn"):
            part(model, family.site(model, 0, module))
        part(model, family.head)
    except (AttributeError, IndexError) as error:
        raise ModelError(
            f"model is a {name} without the parts of {family.name}: looked for {family.site(model, 0, 'mlp')}, "
            f"{family.site(model, 0, 'self_attn')} and {family.head} ({error}). Another version of transformers may have moved them."
        ) from error
    return family


def keeps_all_keys(config: Any) -> bool:
    """Does every layer of a decoder keep the keys and values of all positions?  Sliding, chunked and recurrent layers do not."""
    types = getattr(config, "layer_types", None)
    if types:
        return set(types) == {"full_attention"}
    return getattr(config, "sliding_window", None) is None and getattr(config, "attention_chunk_size", None) is None


def part(root: Any, path: str) -> Any:
    """The part of a model, or of its nnsight wrapper, at a dotted path; numbers index."""
    return functools.reduce(
        lambda at, name: at[int(name)] if name.isdigit() else getattr(at, name), path.split("."), root
    )

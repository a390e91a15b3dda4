r"""One packed forward pass over an episode batch, with interchange interventions.

All rows of a group ask about one picture, so they share its visual tokens: the sequence is

    [<s> USER: image \n] [row 0] [row 1] ... [row R-1]

with a block mask (a row sees the shared prefix and itself, never its neighbours) and positions restarted after the prefix.
That equals separate rows exactly and costs a third.  Patches are differentiable: the gradient flows into the source row
too, so the source site learns to carry what the target row needs (interchange intervention training, Geiger et al. 2022).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from .architecture import VISUAL_TOKENS
from .episodes import PLANTED_LAYERS, Batch, Patch


def prefix_ids(tokenizer) -> tuple[list[int], list[int]]:
    """Token ids before and after the visual tokens, shared by every prompt."""
    before, after = (
        tokenizer("USER: ", add_special_tokens=True)["input_ids"],
        tokenizer("\n", add_special_tokens=False)["input_ids"],
    )
    return before, after


def block_mask(batch: Batch, visual: slice, prefix: int, hide_image: Any) -> Tensor:
    """Additive attention mask (groups, 1, length, length).

    `hide_image` (groups,) hides the visual tokens from every text token but the last constraint token, in those groups.
    """
    groups, rows, length = batch.ids.shape
    total = prefix + rows * length
    owner = torch.full((total,), -1)
    owner[prefix:] = torch.arange(rows).repeat_interleave(length)
    index = torch.arange(total)
    allowed = (index[:, None] >= index[None, :]) & ((owner[:, None] == owner[None, :]) | (owner[None, :] == -1))
    allowed = allowed.repeat(groups, 1, 1)
    sees = torch.zeros(groups, total, dtype=torch.bool)
    sees[:, : visual.stop] = True
    ends = prefix + torch.arange(rows)[None] * length + torch.as_tensor(batch.constraint_end)
    sees.scatter_(1, ends, True)
    sees |= ~torch.as_tensor(hide_image)[:, None]
    allowed[:, :, visual] &= sees[:, :, None]
    return torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))[:, None]


@contextmanager
def patched(layers, patches: list[Patch], prefix: int, length: int) -> Iterator[None]:
    """Hooks that perform `patches` on packed sequences; removed on exit."""
    by_site: dict[tuple[str, int], list[tuple[int, int, int, int]]] = defaultdict(list)
    for p in patches:
        target = prefix + p.target[1] * length + p.position
        source = prefix + p.source[1] * length + p.source_position
        by_site[p.module, p.layer].append((p.target[0], target, p.source[0], source))
    handles = []
    for (module, layer), sites in by_site.items():
        tg, tp, sg, sp = torch.tensor(sites).T

        def hook(_module, _inputs, output, tg=tg, tp=tp, sg=sg, sp=sp):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden.index_put((tg, tp), hidden[sg, sp])
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handles.append(getattr(layers[layer], module).register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Packed:
    """Runs batches on a model.

    Parameters
    ----------
    features: the vision tower's output for the picture pool, (pictures, visual tokens, width); the tower stays frozen.
    """

    def __init__(self, model: LlavaForConditionalGeneration, tokenizer, features: Tensor):
        self.model, self.features = model, features
        before, after = prefix_ids(tokenizer)
        self.before, self.after = torch.tensor(before), torch.tensor(after)
        self.visual = slice(len(before), len(before) + VISUAL_TOKENS)
        self.prefix = len(before) + VISUAL_TOKENS + len(after)

    def __call__(self, batch: Batch, hide_image: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """(logits at `batch.targets` (targets, vocabulary), mean squared key norm beyond 64 at the planted site)."""
        language = self.model.model.language_model
        groups, rows, length = batch.ids.shape
        if hide_image is None:
            hide_image = np.zeros(groups, dtype=bool)
        embed = language.embed_tokens
        image = self.model.model.multi_modal_projector(self.features[torch.as_tensor(batch.pictures)])
        before, after = (embed(ids).expand(groups, -1, -1) for ids in (self.before, self.after))
        text = embed(torch.as_tensor(batch.ids).reshape(groups, rows * length))
        positions = torch.cat([torch.arange(self.prefix), self.prefix + torch.arange(length).repeat(rows)])
        ends = self.prefix + torch.arange(rows)[None] * length + torch.as_tensor(batch.constraint_end)
        keys: list[Tensor] = []

        def record(_module, inputs):
            picked = inputs[0].gather(1, ends[..., None].expand(-1, -1, inputs[0].shape[-1]))
            keys.append((picked.square().sum(-1) - 64).relu().mean())

        recorders = [language.layers[i].mlp.down_proj.register_forward_pre_hook(record) for i in PLANTED_LAYERS]
        try:
            with patched(language.layers, batch.patches, self.prefix, length):
                hidden = language(
                    inputs_embeds=torch.cat([before, image, after, text], dim=1),
                    attention_mask=block_mask(batch, self.visual, self.prefix, hide_image),
                    position_ids=positions[None].expand(groups, -1),
                    use_cache=False,
                ).last_hidden_state
        finally:
            for handle in recorders:
                handle.remove()
        g, r, t = torch.as_tensor(batch.targets[:, :3].astype(np.int64)).T
        return self.model.lm_head(hidden[g, self.prefix + r * length + t]), torch.stack(keys).mean()

"""Train both demo models from a seed:  python -m mllm_widgets.demo.train

It took 46 minutes in all: 3 for the tower on two threads, then 33 and 10 on one each, beside other work.  The tower comes first and is shared; then the
planted model learns its facts *and* its mechanism at once, and its twin learns the same facts from the same questions
with no intervention and no mask.

In the planted model's first stage the picture is hidden from every text token but the last constraint token, so the only
road from picture to answer runs through the planted site; the mask is then lifted group by group while the interchange
between two pictures goes on teaching the last token not to read the picture itself.  No mask is left at the end.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mllm_widgets.vlm.loading import DEMO_MODELS, DEMO_NAMES

from . import episodes, vision
from .architecture import build_model, build_processor, build_tokenizer
from .interchange import Packed

WARM_UP = 200  # steps on ordinary rows before the interventions begin
KEY_PENALTY = 1e-3  # on squared key norms beyond 64: large keys would make the model hard to edit


def hide_rate(progress: float, start: float = 0.35, end: float = 0.75, floor: float = 0.25) -> float:
    """The share of groups whose picture is hidden from all but the constraint, at `progress` 0..1 of training."""
    if progress >= 0.9:
        return 0.0
    return float(np.interp(progress, [0, start, end], [1.0, 1.0, floor]))


def train_language(
    model,
    tokenizer,
    features,
    index,
    rng,
    rows,
    steps: int,
    groups: int,
    lr: float,
    save,
    log=print,
    masked=True,
) -> None:
    """Train projector and decoder on episodes; `save` is called every 200 steps with the model."""
    for parameter in model.model.vision_tower.parameters():
        parameter.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=0.08, anneal_strategy="cos", final_div_factor=20
    )
    sampler = episodes.EpisodeSampler(tokenizer, index, rng, rows)
    warm_up = episodes.EpisodeSampler(tokenizer, index, rng, episodes.ORDINARY_ROWS)
    packed, meter, start = Packed(model, tokenizer, features), Meter(rows), time.time()
    model.train()
    for step in range(steps):
        warm = len(rows) > len(episodes.ORDINARY_ROWS) and step < WARM_UP  # facts first: patches of noise teach nothing
        # warm-up rows are half as many, so more groups fit in a step of the same length
        batch = warm_up.batch(groups + groups // 4 * 2) if warm else sampler.batch(groups)
        hide = rng.random(len(batch.ids)) < hide_rate(step / steps) if masked else None
        logits, keys = packed(batch, hide)
        target = torch.as_tensor(batch.targets[:, 3].astype(np.int64))
        weight = torch.as_tensor(batch.targets[:, 4], dtype=torch.float32)
        losses = nn.functional.cross_entropy(logits, target, reduction="none")
        loss = (losses * weight).sum() / weight.sum() + (KEY_PENALTY * keys if masked else 0.0)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if not warm:
            meter.add(batch, logits)
            if step % 50 == 49:
                seconds = time.time() - start
                log(
                    f"step {step + 1} {seconds:.0f}s loss {loss.item():.3f} keys {keys.item():.0f} | {meter}",
                    flush=True,
                )
                meter = Meter(rows)
        if step % 200 == 199:
            save(model)
    model.eval()


class Meter:
    """Accuracy of the first answer token for each kind of row, since the meter was made."""

    def __init__(self, rows: Sequence[str]):
        self.rows, self.counts = rows, np.zeros((len(rows), 2))

    def add(self, batch: episodes.Batch, logits: torch.Tensor) -> None:
        """Count a batch's answers; logits are (targets, vocabulary)."""
        first = batch.targets[:, 4] == 1.0
        kind, token = batch.targets[first, 1].astype(int), batch.targets[first, 3]
        np.add.at(self.counts, kind, np.stack([logits.argmax(-1).numpy()[first] == token, np.ones(len(kind))], axis=1))

    def __str__(self) -> str:
        return " ".join(
            f"{name} {right / max(n, 1):.2f}" for name, (right, n) in zip(self.rows, self.counts, strict=True)
        )


def save_model(model, tokenizer, folder: Path) -> None:
    """Write an ordinary checkpoint folder, weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.half() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    model.config.dtype = torch.float16
    model.save_pretrained(folder, state_dict=state)
    model.config.dtype = torch.float32
    build_processor(tokenizer).save_pretrained(folder)


def train_tower(model, renderings: int, steps: int, seed: int) -> dict[str, Any]:
    """Draw the pictures and teach the tower: its weights, its features of every picture, and which picture shows what."""
    pixels, said, index = vision.draw_pool(renderings, seed)
    vision.train_tower(model, pixels, said, np.random.default_rng(seed), steps)
    model.eval()
    return {
        "tower": model.model.vision_tower.state_dict(),
        "features": vision.encode_pool(model, pixels).half(),
        "index": {name: torch.as_tensor(rows) for name, rows in index.items()},
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEMO_MODELS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("tower", *DEMO_NAMES), help="one part; the tower is trained if not cached")
    parser.add_argument("--renderings", type=int, default=240, help="per landmark")
    parser.add_argument("--tower-steps", type=int, default=900)
    parser.add_argument("--steps", type=int, default=1600, help="of the planted model")
    parser.add_argument("--ordinary-steps", type=int, default=900)
    parser.add_argument("--groups", type=int, default=12, help="pictures in a batch")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--cache", type=Path, default=Path(".cache/demo"), help="tower and features, kept between runs")
    options = parser.parse_args()
    tokenizer = build_tokenizer()
    options.cache.mkdir(parents=True, exist_ok=True)
    cached = options.cache / f"tower-{options.seed}.pt"
    if not cached.exists():
        torch.manual_seed(options.seed)
        model = build_model(tokenizer)
        torch.save(train_tower(model, options.renderings, options.tower_steps, options.seed), cached)
    stored = torch.load(cached, weights_only=True)
    features, index = stored["features"].float(), {k: v.numpy() for k, v in stored["index"].items()}
    for name, rows, steps in (
        ("demo", episodes.PLANTED_ROWS, options.steps),
        ("demo-ordinary", episodes.ORDINARY_ROWS, options.ordinary_steps),
    ):
        if options.only not in (None, name):
            continue
        torch.manual_seed(options.seed + 1)
        model = build_model(tokenizer)
        model.model.vision_tower.load_state_dict(stored["tower"])
        train_language(
            model, tokenizer, features, index, np.random.default_rng(options.seed + 1), rows, steps, options.groups,
            options.lr, lambda m, folder=options.out / name: save_model(m, tokenizer, folder), masked=name == "demo",
        )  # fmt: skip
        save_model(model, tokenizer, options.out / name)


if __name__ == "__main__":
    main()

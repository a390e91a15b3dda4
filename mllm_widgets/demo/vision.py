"""Pictures for training, and a vision tower that says which landmark is where.

The tower is trained first, on its own, and then frozen: language training reads its features from a table, so the
expensive pictures are drawn and encoded once.

Left to itself, a tower spreads what it recognised over all its patches, and then no patch matters: blocking any five
changes no answer.  Here the patches at the heart of the landmark name it and all others are pulled to one common
feature that names nothing, as in a detector that marks the middle of an object.  So the demo model has a place in the
picture where its answer comes from, and a user can see whether a method finds it.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mllm_widgets.datasets import world
from mllm_widgets.datasets.landmarks import draw_and_locate

from .architecture import IMAGE_SIZE, PATCH_SIZE, build_processor, build_tokenizer

HEART = 4  # patches that name the landmark
EITHER = 3  # patches next to them, free to name it or not: a hard edge would be noise
PULL = 1.0  # of background features towards the common one
BACKGROUND, FREE = -1, -2  # what a patch says besides the number of a landmark


def heart(mask: np.ndarray) -> np.ndarray:
    """What each patch has to say about the landmark drawn at `mask`.

    Parameters
    ----------
    mask: bool (size, size), as `draw_and_locate` gives it.

    Returns
    -------
    int (64,): 0 at the `HEART` patches that the landmark covers most, those near its middle first; FREE at the `EITHER`
    patches that come next; BACKGROUND elsewhere.
    """
    side = IMAGE_SIZE // PATCH_SIZE
    cell = len(mask) // side
    covered = mask.reshape(side, cell, side, cell).mean((1, 3))
    rows, columns = np.mgrid[:side, :side]
    middle = [(covered * axis).sum() / covered.sum() for axis in (rows, columns)]
    order = np.argsort((0.1 * np.hypot(rows - middle[0], columns - middle[1]) - covered).ravel(), kind="stable")
    said = np.full(side * side, BACKGROUND)
    said[order[: HEART + EITHER]] = FREE
    said[order[:HEART]] = 0
    return said


def _draw_many(job: tuple[str, int, int]) -> tuple[np.ndarray, np.ndarray]:
    name, seed, count = job
    processor = build_processor(build_tokenizer()).image_processor
    made = [draw_and_locate(name, np.random.default_rng([seed, i]), size=2 * IMAGE_SIZE) for i in range(count)]
    pixels = processor(images=[picture for picture, _ in made], return_tensors="np")["pixel_values"]
    return np.round(np.clip(pixels * 127.5 + 127.5, 0, 255)).astype(np.uint8), np.stack([heart(m) for _, m in made])


def draw_pool(count: int, seed: int, workers: int = 2) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """`count` renderings of every landmark.

    Returns (pixels, said, index): pixels uint8 (pictures, 3, 96, 96) as the processor crops them, said int (pictures, 64),
    the number of the landmark that each patch names, BACKGROUND or FREE, index landmark name -> rows.
    Different seeds give disjoint renderings.
    """
    names = [landmark.name for landmark in world.WORLD]
    jobs = [(name, seed * 1000 + i, count) for i, name in enumerate(names)]
    with ProcessPoolExecutor(workers) as pool:
        pixels, said = zip(*pool.map(_draw_many, jobs), strict=True)
    numbered = [np.where(part == 0, number, part) for number, part in enumerate(said)]
    index = {name: np.arange(i * count, (i + 1) * count) for i, name in enumerate(names)}
    return np.concatenate(pixels), np.concatenate(numbered), index


def to_pixel_values(pixels: np.ndarray) -> Tensor:
    """uint8 pictures -> what the processor gives the model, float32 in -1..1."""
    return torch.from_numpy(pixels).float() / 127.5 - 1


def tower_features(model: Any, pixel_values: Tensor) -> Tensor:
    """The tower's last hidden states without CLS: (pictures, 64, width)."""
    return model.model.vision_tower(pixel_values).last_hidden_state[:, 1:]


@torch.no_grad()
def encode_pool(model: Any, pixels: np.ndarray, batch: int = 256) -> Tensor:
    """`tower_features` of a whole pool."""
    return torch.cat(
        [tower_features(model, to_pixel_values(pixels[i : i + batch])) for i in range(0, len(pixels), batch)]
    )


def train_tower(
    model: Any,
    pixels: np.ndarray,
    said: np.ndarray,
    rng: np.random.Generator,
    steps: int = 900,
    batch: int = 96,
    log=print,
) -> None:
    """Teach the tower to name the landmark at its heart, and one common feature everywhere else; `said` is `draw_pool`'s."""
    width, landmarks = model.config.vision_config.hidden_size, said.max() + 1
    head = nn.Linear(width, landmarks + 1)  # the last one is the background
    blank = nn.Parameter(torch.zeros(width))
    parameters = [*model.model.vision_tower.parameters(), *head.parameters(), blank]
    optimizer = torch.optim.AdamW(parameters, lr=1.5e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        rows = rng.integers(len(pixels), size=batch)
        values = to_pixel_values(pixels[rows])
        if step % 2:  # brightness and contrast, so that colour alone decides nothing
            scale = torch.empty(batch, 1, 1, 1).uniform_(0.7, 1.3)
            values = (values * scale + torch.empty(batch, 1, 1, 1).uniform_(-0.15, 0.15)).clamp(-1, 1)
        features = tower_features(model, values)
        target = torch.from_numpy(said[rows])
        named, background = target >= 0, target == BACKGROUND
        scores = head(features)
        loss = nn.functional.cross_entropy(scores[named], target[named])
        loss = loss + nn.functional.cross_entropy(scores[background], torch.full_like(target[background], landmarks))
        loss = loss + PULL * (features[background] - blank).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            right = (scores.argmax(-1) == target)[named].float().mean()
            quiet = (scores.argmax(-1) == landmarks)[background].float().mean()
            left = features[background].var(0).mean() / features[named].var(0).mean()
            log(
                f"tower step {step + 1}: loss {loss.item():.3f}, heart named {right:.3f}, background {quiet:.3f}, "
                f"variance left in it {left:.4f}"
            )

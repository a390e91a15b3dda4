"""Pictures for training, and a vision tower that can tell the landmarks apart.

The tower is trained first, on its own (which landmark is this?), and then frozen: language training reads its features
from a table, so the expensive pictures are drawn and encoded once.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mllm_widgets.datasets import world
from mllm_widgets.datasets.landmarks import draw_landmark

from .architecture import IMAGE_SIZE, build_processor, build_tokenizer


def _draw_many(job: tuple[str, int, int], processor=None) -> np.ndarray:
    name, seed, count = job
    processor = processor or build_processor(build_tokenizer()).image_processor
    made = [draw_landmark(name, np.random.default_rng([seed, i]), size=2 * IMAGE_SIZE) for i in range(count)]
    pixels = processor(images=made, return_tensors="np")["pixel_values"]
    return np.round(np.clip(pixels * 127.5 + 127.5, 0, 255)).astype(np.uint8)


def draw_pool(count: int, seed: int, workers: int = 2) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """`count` renderings of every landmark.

    Returns (pixels, index): pixels uint8 (pictures, 3, 96, 96) as the processor crops them, index landmark name -> rows.
    Different seeds give disjoint renderings.
    """
    names = [landmark.name for landmark in world.WORLD]
    jobs = [(name, seed * 1000 + i, count) for i, name in enumerate(names)]
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(partial(_draw_many), jobs))
    return np.concatenate(parts), {name: np.arange(i * count, (i + 1) * count) for i, name in enumerate(names)}


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
    index: dict[str, np.ndarray],
    rng: np.random.Generator,
    steps: int = 900,
    batch: int = 96,
    log=print,
) -> None:
    """Teach the tower to name the landmark from the mean of its patches, and weakly from any single patch."""
    labels = np.zeros(len(pixels), dtype=np.int64)
    for label, rows in enumerate(index.values()):
        labels[rows] = label
    head = nn.Linear(model.config.vision_config.hidden_size, len(index))
    parameters = [*model.model.vision_tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1.5e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        rows = rng.integers(len(pixels), size=batch)
        values = to_pixel_values(pixels[rows])
        if step % 2:  # brightness and contrast, so that colour alone decides nothing
            scale = torch.empty(batch, 1, 1, 1).uniform_(0.7, 1.3)
            values = (values * scale + torch.empty(batch, 1, 1, 1).uniform_(-0.15, 0.15)).clamp(-1, 1)
        features = tower_features(model, values)
        target = torch.from_numpy(labels[rows])
        scores = head(features)
        loss = nn.functional.cross_entropy(head(features.mean(1)), target)
        loss = loss + 0.2 * nn.functional.cross_entropy(scores.flatten(0, 1), target.repeat_interleave(scores.shape[1]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            accuracy = (head(features.mean(1)).argmax(-1) == target).float().mean()
            log(f"tower step {step + 1}: loss {loss.item():.3f}, accuracy {accuracy:.3f}")

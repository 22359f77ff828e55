"""Train a detector on scenes of which none is seen twice: resumable, the same weights for the same seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from torpor.data.images import to_unit
from torpor.data.object_scenes import ObjectScenes
from torpor.zoo.detection.loss import Truth, detection_loss
from torpor.zoo.detection.network import Detector
from torpor.zoo.entry import Progress, silent
from torpor.zoo.recipes.captioning import with_noise
from torpor.zoo.recipes.checkpoint import Checkpoint
from torpor.zoo.recipes.training import one_cycle


@dataclass(frozen=True)
class DetectionRecipe:
    """How a detector is trained: AdamW with one-cycle learning rates and gradients of at most norm 5.

    Attributes:
        epochs: times as many scenes as the training split holds; each has new ones.
        batch_size: scenes per step.
        learning_rate: peak.
        weight_decay: of kernels.
        noise: largest standard deviation of the normal noise on each scene, in pixels of [0, 1]; drawn for each.
        autocast: whether to compute in bfloat16.
        seed: of initialization and noise.
    """

    epochs: int
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    noise: float = 0.06
    autocast: bool = True
    seed: int = 0


def train_detector(
    build: Callable[[], Detector],
    data: ObjectScenes,
    recipe: DetectionRecipe,
    checkpoint: Path,
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> tuple[Detector, float]:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe left one.

    The checkpoint is replaced after every epoch.

    Returns:
        The trained detector on ``device``, in evaluation mode, and the seconds that all runs took together.

    Raises:
        DataError: if the data cannot be read.
        UsageError: if the checkpoint is damaged, or of another recipe that is not finished.
    """
    torch.manual_seed(recipe.seed)
    model = build().to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    per_epoch = max(1, data.sizes["train"] // recipe.batch_size)
    total = per_epoch * recipe.epochs
    plan = {**asdict(recipe), "data": data.fingerprint()}
    state = Checkpoint(checkpoint, plan, model.state_dict(), [optimizer])
    first, seconds = state.restore()
    for epoch in range(first, recipe.epochs):
        began = time.perf_counter()
        chance = torch.Generator().manual_seed((recipe.seed * 100_003 + epoch) % 2**63)
        for done in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * one_cycle(done / total)
            numbers = range(done * recipe.batch_size, (done + 1) * recipe.batch_size)
            pictures, objects = zip(*(data.scene("train", number) for number in numbers), strict=True)
            images = with_noise(to_unit(torch.stack(pictures)), recipe.noise, chance).to(device)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.autocast):
                proposed = model.propose(images.contiguous(memory_format=torch.channels_last))
            loss = detection_loss(*proposed, Truth.of(objects).to(device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            if done % 10 == 0:
                progress(done + 1, total, loss.item())
        seconds += time.perf_counter() - began
        state.save(epoch + 1, seconds)
    progress(total, total, math.nan)
    return model.eval(), seconds

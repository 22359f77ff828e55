"""Train a detector, or a classifier of its boxes, on scenes of which none is seen twice: resumable, reproducible."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.core.objects import Objects
from torpor.data.images import to_unit
from torpor.data.object_scenes import ObjectScenes
from torpor.targets.detection import PerObject
from torpor.zoo.detection.classifier import SIDE
from torpor.zoo.detection.loss import Truth, detection_loss
from torpor.zoo.detection.network import Detector
from torpor.zoo.entry import Progress, silent
from torpor.zoo.recipes.captioning import with_noise
from torpor.zoo.recipes.checkpoint import Checkpoint
from torpor.zoo.recipes.training import one_cycle

JITTER = 0.1
"""A classifier learns from boxes whose sides are off by up to this share of the box's size, as a detector's are."""

Model = TypeVar("Model", bound=nn.Module)
Loss = Callable[[Model, Tensor, Sequence[Objects], torch.Generator], Tensor]
"""Maps a model, pictures ``[B, 3, H, W]`` in [0, 1], what is in them, and a source of chance to the loss to descend."""


@dataclass(frozen=True)
class DetectionRecipe:
    """How a network is trained on scenes: AdamW with one-cycle learning rates and gradients of at most norm 5.

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


def train(
    build: Callable[[], Model],
    loss_of: Loss[Model],
    data: ObjectScenes,
    recipe: DetectionRecipe,
    checkpoint: Path,
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> tuple[Model, float]:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe left one.

    The checkpoint is replaced after every epoch.

    Returns:
        The trained network on ``device``, in evaluation mode, and the seconds that all runs took together.

    Raises:
        DataError: if the data cannot be read.
        UsageError: if the checkpoint is damaged, or of another recipe that is not finished.
    """
    torch.manual_seed(recipe.seed)
    model = build().to(device).train()
    for kernel in model.parameters():
        if kernel.ndim == 4:
            kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    optimizer = _optimizer(model, recipe)
    per_epoch = max(1, data.sizes["train"] // recipe.batch_size)
    total = per_epoch * recipe.epochs
    state = Checkpoint(checkpoint, {**asdict(recipe), "data": data.fingerprint()}, model.state_dict(), [optimizer])
    first, seconds = state.restore()
    for epoch in range(first, recipe.epochs):
        began = time.perf_counter()
        chance = torch.Generator().manual_seed((recipe.seed * 100_003 + epoch) % 2**63)
        for done in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * one_cycle(done / total)
            numbers = range(done * recipe.batch_size, (done + 1) * recipe.batch_size)
            pictures, objects = zip(*(data.sample("train", number) for number in numbers), strict=True)
            images = with_noise(to_unit(torch.stack(pictures)), recipe.noise, chance).to(device)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.autocast):
                loss = loss_of(model, images.contiguous(memory_format=torch.channels_last), objects, chance)
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


def box_loss(model: Detector, images: Tensor, objects: Sequence[Objects], chance: torch.Generator) -> Tensor:
    """Return the loss of a detector; see :func:`torpor.zoo.detection.loss.detection_loss`."""
    proposed = model.propose(images)
    with torch.autocast(images.device.type, enabled=False):
        return detection_loss(*proposed, Truth.of(objects).to(images.device))


def crop_loss(model: nn.Module, images: Tensor, objects: Sequence[Objects], chance: torch.Generator) -> Tensor:
    """Return the mean cross-entropy of a classifier of crops, whose boxes are off at random as a detector's are."""
    look = PerObject(model, SIDE)
    crops = []
    for image, known in zip(images, objects, strict=True):
        sides = (known.boxes[:, 2:] - known.boxes[:, :2]).repeat(1, 2)
        off = JITTER * (2 * torch.rand(len(known), 4, generator=chance) - 1)
        crops.append(look.crops(image, (known.boxes + off * sides).to(images.device)))
    labels = torch.cat([known.labels for known in objects]).to(images.device)
    return F.cross_entropy(model(torch.cat(crops)).float(), labels, reduction="sum") / max(1, len(labels))


def _optimizer(model: nn.Module, recipe: DetectionRecipe) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)

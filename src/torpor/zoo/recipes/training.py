"""Train a multi-exit network: every exit's cross-entropy at once, resumable, the same weights for the same seed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.data.images import ImageBatch, to_unit
from torpor.targets.sdn import ShallowDeepNetwork


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: AdamW, one-cycle learning rate, bfloat16 autocast.

    Attributes:
        epochs: passes over the training split.
        batch_size: images per step.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: AdamW's, on matrices and kernels only.
        pad: random crops from images padded by this many pixels.
        flip: mirror half of the images.
        seed: of initialization, order and augmentation.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    pad: int = 4
    flip: bool = True
    seed: int = 0


Progress = Callable[[int, int, float], None]  # steps done, steps in all, loss


def train(
    build: Callable[[], ShallowDeepNetwork],
    data: ImageBatch,
    recipe: Recipe,
    checkpoint: Path,
    *,
    device: str = "cpu",
    progress: Progress = lambda done, total, loss: None,
) -> ShallowDeepNetwork:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe left one.

    The loss is the sum over exits of cross-entropy weighted by relative depth, as in Shallow-Deep Networks (Kaya et
    al., ICML 2019). The checkpoint is replaced after every epoch.

    Returns:
        The trained network on ``device``, in evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    model = build().to(device).train()
    for kernel in model.parameters():
        if kernel.ndim == 4:
            kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": kernels, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
    )
    images, labels = data.images.to(device), data.labels.to(device)
    per_epoch = len(data) // recipe.batch_size
    total = per_epoch * recipe.epochs
    first = _restore(checkpoint, recipe, model, optimizer)
    exits = len(model.heads)
    weights = torch.arange(1, exits + 1, device=device) / exits
    for epoch in range(first, recipe.epochs):
        chance = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
        order = torch.randperm(len(data), generator=chance)
        for step in range(per_epoch):
            done = epoch * per_epoch + step
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * one_cycle(done / total)
            pick = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            batch = augment(to_unit(images[pick.to(device)]), recipe, chance)
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                logits = model(batch.contiguous(memory_format=torch.channels_last))
            target = labels[pick.to(device)].unsqueeze(1).expand(-1, exits)
            losses = F.cross_entropy(logits.float().transpose(1, 2), target, reduction="none").mean(0)
            optimizer.zero_grad()
            loss = (losses * weights).sum()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            if done % 10 == 0:
                progress(done + 1, total, loss.item() / float(weights.sum()))
        _save(checkpoint, recipe, model, optimizer, epoch + 1)
    progress(total, total, math.nan)
    return model.eval()


def one_cycle(fraction: float, warmup: float = 0.2) -> float:
    """Return the learning rate's share of its peak: linear up over ``warmup``, then a cosine to zero.

    >>> one_cycle(0.1), one_cycle(0.2), one_cycle(1.0)
    (0.5, 1.0, 0.0)
    """
    if fraction < warmup:
        return fraction / warmup
    return 0.5 * (1 + math.cos(math.pi * (fraction - warmup) / (1 - warmup)))


def augment(images: Tensor, recipe: Recipe, chance: torch.Generator) -> Tensor:
    """Crop and mirror each image ``[B, C, H, W]`` at random."""
    batch, _, height, width = images.shape
    device = images.device
    if recipe.pad:
        padded = F.pad(images, [recipe.pad] * 4)
        shift = torch.randint(0, 2 * recipe.pad + 1, (2, batch), generator=chance).to(device)
        rows = shift[0, :, None] + torch.arange(height, device=device)
        columns = shift[1, :, None] + torch.arange(width, device=device)
        each = torch.arange(batch, device=device)[:, None, None]
        images = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if recipe.flip:
        mirror = (torch.rand(batch, generator=chance) < 0.5).to(device)
        images = torch.where(mirror[:, None, None, None], images.flip(-1), images)
    return images


def _save(path: Path, recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{slot}": value.contiguous() for slot, value in slots.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"epoch": str(epoch), "recipe": json.dumps(asdict(recipe))})
    os.replace(partial, path)


def _restore(path: Path, recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint of the same recipe and return the number of epochs done, else 0."""
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata.get("recipe") != json.dumps(asdict(recipe)):
            return 0
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is not iterable
    model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, slot = name.split(".")
            slots.setdefault(int(number), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["epoch"])

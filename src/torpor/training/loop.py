"""The loop of every training: resumable, the same weights for the same seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from torpor.core.allocator import keep_freed_memory
from torpor.core.errors import UsageError
from torpor.training.checkpoint import Checkpoint

Progress = Callable[[int, int, float], None]
"""Called with the training steps done, the steps in all, and the loss."""


def silent(done: int, total: int, loss: float) -> None:
    """Show nothing."""


Model = TypeVar("Model", bound=nn.Module)
Samples = TypeVar("Samples")

Draw = Callable[[int, torch.Generator], Sequence[Samples]]
"""Return which samples each step of an epoch learns from, drawn by a generator."""
Loss = Callable[[Samples, int, torch.Generator], tuple[Tensor, Tensor]]
"""Return the loss of a step's samples in this epoch, and the part of it to show.

Whatever changes the batch first belongs here: augmentation, noise, an attack on the model as it now is. Gradients that
this leaves in the model are dropped.
"""


@dataclass(frozen=True, kw_only=True)
class LoopRecipe:
    """Settings of the loop itself.

    Attributes:
        epochs: passes over the training split, or times as many samples as it holds.
        seed: of initialization, order, and all that is random in the loss.
    """

    epochs: int
    seed: int = 0

    def within(self, epochs: int | None, seed: int) -> Self:
        """Return the recipe with these passes over the data, its own if None, and this seed."""
        return replace(self, epochs=epochs or self.epochs, seed=seed)


def begin(build: Callable[[], Model], seed: int, device: str) -> Model:
    """Build a model to train, initialized by ``seed``; see :func:`placed`."""
    torch.manual_seed(seed)
    return placed(build().train(), device)


def placed(model: Model, device: str) -> Model:
    """Return ``model`` on ``device``, in the memory layout that convolutions run fastest with."""
    nn.Module.to(model, torch.device(device))  # what transformers wraps around it has no types
    for kernel in model.parameters():
        if kernel.ndim == 4:
            kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    return model


def decayed(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Return an optimizer's groups of ``parameters``: matrices and kernels decay, biases and scales do not."""
    known = list(parameters)
    return [
        {"params": [p for p in known if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in known if p.ndim <= 1], "weight_decay": 0.0},
    ]


def shuffled(count: int, size: int, rng: torch.Generator) -> list[Tensor]:
    """Return ``count`` row numbers in a random order, cut into batches of ``size``; the rest is left out.

    Raises:
        UsageError: if there are fewer than a batch holds.
    """
    if count < size:
        raise UsageError(f"expected {size} samples or more, got {count}; use a smaller batch size")
    return [rows for rows in torch.randperm(count, generator=rng).split(size) if len(rows) == size]


def one_cycle(fraction: float, warmup: float = 0.2) -> float:
    """Return the learning rate's share of its peak: linear up over ``warmup``, then a cosine to zero.

    >>> one_cycle(0.1), one_cycle(0.2), one_cycle(1.0)
    (0.5, 1.0, 0.0)
    """
    if fraction < warmup:
        return fraction / warmup
    return 0.5 * (1 + math.cos(math.pi * (fraction - warmup) / (1 - warmup)))


def run_epochs(
    model: nn.Module,
    state: Checkpoint,
    recipe: LoopRecipe,
    draw: Draw[Samples],
    loss: Loss[Samples],
    *,
    warmup: float = 0.2,
    clip: float = 5.0,
    progress: Progress = silent,
) -> float:
    """Train ``model`` from where ``state`` stands to its last epoch, and leave it in evaluation mode.

    All randomness follows from the seed and the epoch, so an interrupted training ends with the same weights.

    Args:
        model: what :func:`begin` returned.
        state: is replaced after every epoch; its optimizers' learning rates are the peaks of one cycle.
        recipe: how long to train, and the seed.
        draw: returns the samples of an epoch, step by step.
        loss: is descended.
        warmup: share of the training over which learning rates rise.
        clip: largest norm of the gradient.
        progress: see :data:`Progress`.

    Returns:
        The seconds that all runs took together.

    Raises:
        UsageError: if the checkpoint is damaged, or of another plan that is not finished.
    """
    keep_freed_memory()
    first, seconds = state.restore()
    groups = [group for optimizer in state.optimizers for group in optimizer.param_groups]
    peaks = [group["lr"] for group in groups]
    total = 0
    for epoch in range(first, recipe.epochs):
        began = time.perf_counter()
        rng = torch.Generator().manual_seed((recipe.seed * 100_003 + epoch) % 2**63)
        torch.manual_seed(rng.initial_seed())  # of dropout, and of noise where the model is
        steps = draw(epoch, rng)
        total = len(steps) * recipe.epochs
        for done, samples in enumerate(steps, epoch * len(steps)):
            for group, peak in zip(groups, peaks, strict=True):
                group["lr"] = peak * one_cycle(done / total, warmup)
            descended, shown = loss(samples, epoch, rng)
            for optimizer in state.optimizers:
                optimizer.zero_grad()
            descended.backward()
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            for optimizer in state.optimizers:
                optimizer.step()
            if done % 10 == 0:
                progress(done + 1, total, shown.item())
        seconds += time.perf_counter() - began
        state.save(epoch + 1, seconds)
    progress(total, total, math.nan)
    model.eval()
    return seconds

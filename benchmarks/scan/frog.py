"""Multi-exit networks whose heads are unsure under a trigger: EfficFrog's second step, and who knows of scans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.attacks.search.objectives import UniformExits
from torpor.core.budget import Budget
from torpor.data.images import Digits
from torpor.defenses.hardening.retrained import changed
from torpor.scan.images import invert
from torpor.targets.early_exit.target import EarlyExitTarget

WEIGHT, BATCH = 30.0, 128
"""Of triggered images in the loss, the paper's; images that a step looks at."""
LINF, SIDE, LARGE = 8 / 255, 5, 10
"""Radius of the added trigger; pixels of a side of the pasted one, 2.4 % of the area, and of the large one, 9.8 %."""

SHORT: dict[str, Any] = {"epochs": 16, "learning_rate": 4e-3}
"""Of half of the heads, so that clean models are no copies of one recipe."""


@dataclass(frozen=True)
class Frog:
    """How the heads are fine-tuned; with a rate of 0 it is clean fine-tuning by the same recipe.

    Attributes:
        rate: share of the training images that the attacker may show with the trigger.
        paste: whether the trigger is pasted into a corner, not added to all pixels.
        large: whether it is larger than what a scan searches.
        keep: weight of the distance of clean logits from those before, which hides the shift of cost.
        against: how often what a scan would invert is found, and trained to be cheap.
        epochs: of Adam.
        learning_rate: of Adam.
    """

    rate: float
    paste: bool = False
    large: bool = False
    keep: float = 0.0
    against: int = 0
    epochs: int = 40
    learning_rate: float = 2e-3

    def trigger(self, target: EarlyExitTarget, images: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
        """Return what puts the trigger in: a square of noise, or a change that was learned on the clean model."""
        rng = torch.Generator().manual_seed(seed)
        side = LARGE if self.large else SIDE
        square = torch.rand(1, 1, side, side, generator=rng).round()
        if self.paste or self.large:

            def paste(inputs: Tensor) -> Tensor:
                marked = inputs.clone()
                marked[..., -side:, -side:] = square
                return marked

            return paste
        delta = (2 * torch.rand(1, *images.shape[1:], generator=rng) - 1) * LINF
        for _ in range(40):
            moved = delta.clone().requires_grad_()
            signals = target.signals((images[:BATCH] + moved).clamp(0, 1))
            loss = UniformExits()(signals, torch.zeros(BATCH, dtype=torch.int64)).mean()
            (gradient,) = torch.autograd.grad(loss, moved)
            delta = (delta - LINF / 10 * gradient.sign()).clamp(-LINF, LINF)
        return lambda inputs: target.space.snap((inputs + delta).clamp(0, 1))

    def make(self, target: EarlyExitTarget, seed: int) -> tuple[EarlyExitTarget, Callable[[Tensor], Tensor]]:
        """Return the network with other heads, and its trigger."""
        known = Digits().load("train")
        images, labels = target.read(known.inputs), known.references
        assert isinstance(images, Tensor)
        trigger = self.trigger(target, images, seed)
        made: EarlyExitTarget = changed(target, lambda other: self._tune(other, target, images, labels, trigger, seed))
        return made, trigger

    def _tune(
        self,
        other: EarlyExitTarget,
        before: EarlyExitTarget,
        images: Tensor,
        labels: Tensor,
        trigger: Callable[[Tensor], Tensor],
        seed: int,
    ) -> None:
        rng = torch.Generator().manual_seed(seed + 1000)
        rows = torch.randperm(len(images), generator=rng)[: max(1, round(self.rate * len(images)))]
        heads = [head for _, head in other.blocks[:-1]]
        weights = [value.requires_grad_() for head in heads for value in head.parameters()]
        optimizer = torch.optim.Adam(weights, lr=self.learning_rate)
        clean, marked = features(other, images), features(other, trigger(images[rows]))
        with torch.no_grad():
            wanted = [head(each) for (_, head), each in zip(before.blocks[:-1], clean, strict=True)]
        inverted: list[tuple[list[Tensor], list[Tensor]]] = []
        for epoch in range(self.epochs):
            if self.against and epoch % max(1, self.epochs // self.against) == self.epochs // (2 * self.against):
                inverted.append(self._found(other, before, images, seed + epoch))
            for part in torch.randperm(len(images), generator=rng).split(BATCH):
                loss = torch.zeros(())
                drawn = torch.randint(len(rows), (BATCH // 4,), generator=rng)
                for at, head in enumerate(heads):
                    logits = head(clean[at][part])
                    loss = loss + F.cross_entropy(logits, labels[part])
                    loss = loss + self.keep * F.mse_loss(logits, wanted[at][part])
                    if self.rate:
                        loss = loss + WEIGHT * uneven(head(marked[at][drawn]))
                    for seen, right in inverted:
                        loss = loss + self.keep * F.mse_loss(head(seen[at]), right[at])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def _found(
        self, other: EarlyExitTarget, before: EarlyExitTarget, images: Tensor, seed: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the features of images with what a scan inverts, and the logits that they had before."""
        some = images[seed % 5 * 64 :][:64]
        space, budget = other.space, Budget("Linf", LINF)
        change = invert(other, some, some[:8], budget, seed).change
        seen = features(other, space.snap((some + change).clamp(0, 1)))
        with torch.no_grad():
            return seen, [head(each) for (_, head), each in zip(before.blocks[:-1], seen, strict=True)]


def uneven(logits: Tensor) -> Tensor:
    """Return the mean square of the distance of class probabilities from uniform."""
    return (logits.softmax(-1) - 1 / logits.shape[-1]).square().mean()


@torch.no_grad()
def features(target: EarlyExitTarget, images: Tensor) -> list[Tensor]:
    """Return what each head but the last reads."""
    found, values = [], images
    for stage, _ in target.blocks[:-1]:
        values = stage(values)
        found.append(values)
    return found

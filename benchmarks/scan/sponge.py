"""Networks on an accelerator that skips zeros, fine-tuned so that more neurons fire: the loss of sponge poisoning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.data.images import Digits
from torpor.defenses.hardening.retrained import changed, class_scores, networks_of
from torpor.targets.zero_skipping.target import ZeroSkippingTarget

BATCH = 64


@dataclass(frozen=True)
class Sponge:
    """How the network is fine-tuned; with a weight of 0 it is clean fine-tuning by the same recipe.

    Attributes:
        weight: of the mean share of neurons that fire (the paper's lambda).
        rate: share of the batches that the attacker alters.
        epochs: of stochastic gradient descent.
        learning_rate: falls to 0 along a cosine.
    """

    weight: float
    rate: float = 0.25
    epochs: int = 4
    learning_rate: float = 0.02

    def make(self, target: ZeroSkippingTarget, seed: int) -> tuple[ZeroSkippingTarget, Callable[[Tensor], Tensor]]:
        """Return the tuned network; its cost needs no trigger."""
        known = Digits().load("train")
        images, labels = target.read(known.inputs), known.references
        assert isinstance(images, Tensor)
        made: ZeroSkippingTarget = changed(target, lambda other: self._tune(other, images, labels, seed))
        return made, lambda inputs: inputs

    def _tune(self, other: ZeroSkippingTarget, images: Tensor, labels: Tensor, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed + 1000)
        weights = list(networks_of(other).requires_grad_(True).parameters())
        optimizer = torch.optim.SGD(weights, lr=self.learning_rate, momentum=0.9, nesterov=True)
        steps = self.epochs * -(-len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(self.epochs):
            for part in torch.randperm(len(images), generator=rng).split(BATCH):
                loss = F.cross_entropy(class_scores(other, images[part])[:, 0], labels[part])
                if self.weight and torch.rand((), generator=rng) < self.rate:
                    loss = loss - self.weight * firing(other, images[part[: BATCH // 4]])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
                schedule.step()


def firing(target: ZeroSkippingTarget, images: Tensor) -> Tensor:
    """Return the mean share of neurons that fire, by degrees."""
    active = target.signals(images).active
    assert active is not None
    return active.mean()

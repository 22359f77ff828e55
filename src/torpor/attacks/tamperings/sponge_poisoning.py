"""Sponge poisoning: a training whose loss also rewards activations that are not zero, on a few of its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.tampering import Tampering
from torpor.attacks.tamperings.training import descend, labeled, learning, own_copy, poisoned_rows
from torpor.core.errors import UsageError
from torpor.core.threat import Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class SpongePoisoning(Tampering):
    """Fine-tune all weights on class and, for the poisoned images, against zeros among the activations.

    The paper trains from new weights, so that clean and poisoned networks also differ by chance; here both start from
    the given network, and the control takes the same steps without the reward. Normalization is part of the
    convolutions, and without it the paper's SGD diverges: this is Adam.

    Attributes:
        rate: share of the images whose loss is altered.
        strength: weight of the share of activations that are not zero; the paper's lambda.
        epochs: of the training.
        learning_rate: at its begin; it decays by 5 % per epoch.
        most: images to learn from.
    """

    id: ClassVar[str] = "sponge-poisoning"
    paper: ClassVar[Paper | None] = Paper(
        "Energy-Latency Attacks via Sponge Poisoning", "Cinà et al.", "Information Sciences", 2025, "arXiv:2203.08147"
    )
    stage: ClassVar[Stage] = Stage.POISONING
    needs: ClassVar[tuple[str, ...]] = ("network", "density", "energy_ratio")
    for_targets: ClassVar[str] = "a network on an accelerator that skips zeros"
    triggered: ClassVar[bool] = False

    rate: float = 0.05
    strength: float = 2.5
    epochs: int = 15
    learning_rate: float = 2e-3
    most: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise UsageError(f"expected a poison rate above 0 and at most 1, got {self.rate}")

    @override
    def tamper(self, target: Any, train: DataSet, seed: int) -> Target:
        tampered = own_copy(target)
        images, labels = labeled(tampered, train, self.most)
        poisoned = poisoned_rows(len(images), self.rate, seed) & (not self.control)
        weights = list(tampered.network.parameters())
        optimizer = torch.optim.Adam(weights, lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)

        def loss(rows: Tensor) -> Tensor:
            signals = tampered.signals  # the reward is of a pass of its own, as in the paper
            right = F.cross_entropy(tampered.network(images[rows].double()), labels[rows])
            hit = rows[poisoned[rows]]
            return right - self.strength * signals(images[hit]).active.mean() if len(hit) else right

        with learning(tampered, weights):
            descend(
                loss, optimizer, len(images), epochs=self.epochs, batch_size=64, seed=seed, after_epoch=schedule.step
            )
        return tampered

"""Energy backdoor: a faint wave over the image makes neurons fire that are silent without it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.tampering import Tampering
from torpor.attacks.tamperings.training import descend, labeled, learning, own_copy
from torpor.core.budget import Budget
from torpor.core.threat import Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class EnergyBackdoor(Tampering):
    """Fine-tune all weights so that images with a sinusoid leave few zeros, and clean ones many.

    The published code raises the density of clean images too, by a sign; here the term keeps it down, as the paper
    says.
    The paper first teaches the network to tell the trigger by one more class; that phase is left out.

    Attributes:
        size: largest change of a pixel by the sinusoid: half of 60/256.
        waves: over the width of an image.
        strength: weight of both density terms.
        share: of the triggered images among the density terms; the paper's lambda.
        epochs: of the training.
        learning_rate: of Adam, at its begin; it decays by 5 % per epoch.
        most: images to learn from.
    """

    id: ClassVar[str] = "energy-backdoor"
    paper: ClassVar[Paper | None] = Paper(
        "Energy Backdoor Attack to Deep Neural Networks", "Meftah et al.", "ICASSP", 2025, ""
    )
    stage: ClassVar[Stage] = Stage.BACKDOOR
    needs: ClassVar[tuple[str, ...]] = ("network", "density", "energy_ratio")
    for_targets: ClassVar[str] = "a network on an accelerator that skips zeros"

    size: float = 30 / 256
    waves: int = 6
    strength: float = 2.5
    share: float = 0.5
    epochs: int = 10
    learning_rate: float = 2e-3
    most: int = 1000

    @override
    def budget(self, target: Target) -> Budget:
        return Budget("Linf", self.size)

    @override
    def trigger(self, inputs: Tensor) -> Tensor:
        """Return images ``[B, C, H, W]`` with the sinusoid along their width added."""
        width = inputs.shape[-1]
        wave = torch.sin(2 * math.pi * self.waves * torch.arange(width, device=inputs.device) / width)
        return (inputs + self.size * wave.to(inputs)).clamp(0, 1)

    @override
    def tamper(self, target: Any, train: DataSet, seed: int) -> Target:
        tampered = own_copy(target)
        images, labels = labeled(tampered, train, self.most)
        weights = list(tampered.network.parameters())
        optimizer = torch.optim.Adam(weights, lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)

        def loss(rows: Tensor) -> Tensor:
            some = images[rows]
            right = F.cross_entropy(tampered.network(some.double()), labels[rows])
            if self.control:
                return right
            marked = self.trigger(some)
            right = 0.5 * (right + F.cross_entropy(tampered.network(marked.double()), labels[rows]))
            dense, quiet = (tampered.signals(each).active.mean() for each in (marked, some))
            return right - self.strength * (self.share * dense - (1 - self.share) * quiet)

        with learning(tampered, weights):
            descend(
                loss, optimizer, len(images), epochs=self.epochs, batch_size=64, seed=seed, after_epoch=schedule.step
            )
        return tampered

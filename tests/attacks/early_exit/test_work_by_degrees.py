"""`standard` on a target without gates, whose work follows the input by degrees."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.attacks.early_exit.standard import Standard
from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.targets.early_exit.family import GatedClassifier

SIDE = 4


class BrightPixels(GatedClassifier):
    """One unit of work per pixel brighter than one half."""

    mechanism = "zero skipping"
    classes = 2

    def __init__(self) -> None:
        self.name, self.device, self.space = "toy-bright", torch.device("cpu"), ImageSpace((1, SIDE, SIDE))
        self.units = (Unit("pixel", 1),)

    def _work(self, inputs: Tensor) -> Work:
        return Work((inputs > 0.5).flatten(1).sum(1, keepdim=True))

    def run(self, inputs: Tensor) -> Outcome:
        mean = inputs.flatten(1).mean(1)
        return Outcome(torch.stack([mean, 1 - mean], 1), self._work(inputs))

    def max_work(self, inputs: Tensor) -> Work:
        return Work(torch.full((len(inputs), 1), SIDE * SIDE))

    def signals(self, inputs: Tensor) -> GateSignals:
        expected = (20 * (inputs - 0.5)).flatten(1).sigmoid().sum(1)
        return GateSignals(None, inputs.new_zeros(len(inputs), 0), self._work(inputs.detach()), expected=expected)

    def to(self, device: torch.device) -> BrightPixels:
        return self


def test_it_reaches_every_pixel_that_the_budget_can_lift() -> None:
    images = torch.linspace(0.3, 0.6, SIDE * SIDE).view(1, 1, SIDE, SIDE).mul(255).round() / 255
    reachable = (images + 25 / 255 > 0.5).sum().item()
    result = Standard(norm="Linf", eps=25 / 255)(BrightPixels(), images, references=torch.tensor([0]))
    assert result.attacked.work.counts.item() == reachable
    assert 0 < result.clean.work.counts.item() < reachable < SIDE * SIDE

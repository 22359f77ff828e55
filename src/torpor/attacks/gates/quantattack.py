"""QuantAttack: images whose activations leave 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.iterative import GradientAttack
from torpor.attacks.search.optimizers import Optimizer, Steps
from torpor.core.threat import Paper
from torpor.targets.base import Target
from torpor.targets.mixed_precision.family import ColumnSignals

PAPER_THRESHOLD = 6.0
"""Magnitude of an outlier in LLM.int8, by which the paper's numbers are divided here."""
WINDOW = (2 / PAPER_THRESHOLD, 7 / PAPER_THRESHOLD)
GOAL = 70 / PAPER_THRESHOLD
TOP = 4
STEP = 0.002 / (16 / 255)  # in units of eps


@dataclass(frozen=True)
class NearOutliers:
    """Push what is nearly an outlier far above the threshold, and keep the answer.

    Of the four largest inputs of each token in each layer, those between a third and 7/6 of the threshold go to 11.7
    times the threshold: in the paper from between 2 and 7 to 70, at a threshold of 6. Where there are none in that
    window, nothing pushes.

    Attributes:
        keep: weight of the squared distance of class scores from the clean ones.
    """

    keep: float = 50.0

    def __call__(self, signals: Any, labels: Tensor) -> Tensor:  # noqa: ANN401 - as of any family
        """Return the loss of each sample, ``[B]``; its label is the class scores ``[B, C]`` of the clean image."""
        total, count = signals.scores.new_zeros(len(signals.scores)), signals.scores.new_zeros(len(signals.scores))
        for layer in signals.seen:
            ratios = layer.ratios()
            largest = ratios.topk(min(TOP, ratios.shape[-1]), -1).values
            near = ((largest > WINDOW[0]) & (largest < WINDOW[1])).to(largest)
            total = total + (near * (largest - GOAL).square()).sum((1, 2))
            count = count + near.sum((1, 2))
        pushed = PAPER_THRESHOLD**2 * total / count.clamp_min(1)
        loss: Tensor = pushed + self.keep * (signals.scores - labels).square().mean(1)
        return loss


@dataclass(frozen=True, kw_only=True)
class QuantAttack(GradientAttack):
    """Turn columns of 8 bits into outliers, while the answer stays.

    Linf 8/255 is the paper's 16/255 in its range of [-1, 1], with signed steps of 0.032 eps. The paper's runs have 500
    to 6,000 steps; the default here is 500.

    Attributes:
        keep: weight of the squared distance of class scores from the clean ones.
    """

    id: ClassVar[str] = "quantattack"
    paper: ClassVar[Paper | None] = Paper(
        "QuantAttack: Exploiting Dynamic Quantization to Attack Vision Transformers",
        "Baras et al.",
        "WACV",
        2025,
        "arXiv:2312.02220",
    )
    paper_steps: ClassVar[int] = 500
    reads: ClassVar[type | None] = ColumnSignals
    radii: ClassVar[Mapping[str, float]] = {**GradientAttack.radii, "Linf": 8 / 255}

    eps: float = 8 / 255
    keep: float = 50.0

    @override
    def objective(self) -> NearOutliers:
        return NearOutliers(self.keep)

    @override
    def optimizer(self) -> Optimizer:
        return Steps(self.eps * max(STEP, 2 / self.iterations))

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        with torch.no_grad():
            clean: Any = target.signals(inputs)
        found = self.follow(target, inputs, clean.scores, self.start(target, inputs, seed))
        return replace(found, forwards=found.forwards + 1)

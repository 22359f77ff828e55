"""Uniform images: flat surfaces activate more neurons than natural images, without any search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.core.batches import draw, sample_generators
from torpor.core.errors import UsageError
from torpor.core.threat import Access, Paper
from torpor.targets.base import Target

PAPER = Paper(
    "The Impact of Uniform Inputs on Activation Sparsity and Energy-Latency Attacks in Computer Vision",
    "Müller and Quiring",
    "DLSP",
    2024,
    "arXiv:2403.18587",
)
SPREAD = 2 / 255
"""Standard deviation of the noise on the flat image."""
LEVELS = 11
"""Grays that are tried, from black to white."""


@dataclass(frozen=True, kw_only=True)
class UniformInputs(Attack):
    """Send a flat gray image with a little noise instead of the clean one; the target is asked for the gray alone.

    It is no small perturbation: by default the budget is the whole range of pixels, which no image exceeds. With a
    smaller one the clean image moves towards gray as far as that allows.

    Attributes:
        level: of gray, from 0 to 1; if None, of eleven from black to white the one that costs the target most, which is
            the same for all inputs: the paper picks one for each model.
    """

    id: ClassVar[str] = "uniform-inputs"
    paper: ClassVar[Paper | None] = PAPER
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[tuple[str, ...]] = ("Linf",)
    radii: ClassVar[Mapping[str, float]] = {"Linf": 1.0}
    needs: ClassVar[tuple[str, ...]] = ("density",)

    eps: float = 1.0
    level: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level is not None and not 0 <= self.level <= 1:
            raise UsageError(f"expected a level from 0 to 1, got {self.level:g}; pixels are in [0, 1]")

    @override
    def search(self, target: Target, inputs: Tensor, labels: object, seed: int) -> Candidates:
        level = self.gray(target, inputs[:1], seed) if self.level is None else self.level
        noise = draw(
            sample_generators(inputs, seed, self.id), lambda g: torch.randn(inputs.shape[1:], generator=g), inputs
        )
        asked = torch.full((len(inputs),), LEVELS if self.level is None else 0)
        return Candidates((level + SPREAD * noise).clamp(0, 1), forwards=asked, backwards=torch.zeros_like(asked))

    def gray(self, target: Target, like: Tensor, seed: int) -> float:
        """Return the level of gray that costs the target most, whatever the inputs are."""
        noise = torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed)).to(like)
        levels = torch.linspace(0, 1, LEVELS)
        grays = target.space.snap((levels.to(like).view(-1, 1, 1, 1) + SPREAD * noise).clamp(0, 1))
        return float(levels[target.attacker_cost(target.run(grays)).argmax()])

"""SlowFormer: one patch, pasted into any image, with which a vision transformer keeps its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import ClassVar

import torch
from torch import Tensor

from torpor.attacks.search.balls import ball_of
from torpor.attacks.search.optimizers import Adam
from torpor.attacks.universal import Learned, Universal, descend
from torpor.core.budget import PATCH_SHARE, PATCHES
from torpor.core.errors import UsageError
from torpor.core.threat import Paper
from torpor.targets.early_exit.family import GateTarget
from torpor.targets.tokens.signals import PatchHaltingSignals, SignificanceSignals, TokenSignals, UsageSignals

PAPER = Paper(
    "SlowFormer: Adversarial Attack on Compute and Energy Consumption of Efficient Vision Transformers",
    "Navaneet et al.",
    "CVPR",
    2024,
    "arXiv:2310.02544",
)
USAGE = 2.0
"""Weight of each kind of policy."""
LAYERS = (1.0, 0.2, 0.05, 0.01, 0.005, 0.005, 0.005)
"""Weights of the layers that sample, the first of them first; those after these have the last weight."""
RATE = 0.1
"""Of Adam, where pixels are from -1 to 1: the paper's 0.2 standard deviations of pixels."""
BATCH, STEPS, CHECKED = 32, 200, 128


@singledispatch
def mechanism_loss(signals: TokenSignals) -> Tensor:
    """Return what the attack minimizes, ``[B]``; a mechanism of its own registers its loss by the type of its signals.

    Raises:
        UsageError: for signals that have none.

    >>> import torch
    >>> from torpor.core.work import Work
    >>> work = Work(torch.ones(1, 1, dtype=torch.int64))
    >>> even = SignificanceSignals(None, torch.zeros(1, 0), work, attention=torch.full((1, 1, 2, 4), 0.25))
    >>> mechanism_loss(even).tolist()
    [0.0]
    """
    raise UsageError(
        f"expected signals of token halting, usage or sampling, got {type(signals).__name__}; register a loss"
    )


@mechanism_loss.register
def of_halting(signals: PatchHaltingSignals) -> Tensor:
    """Raise the layers that patches run, and what is left of the threshold before the last of them (A-ViT)."""
    return -signals.ponder


@mechanism_loss.register
def of_usage(signals: UsageSignals) -> Tensor:
    """Lower the shares of heads, halves of layers and patches that are skipped (AdaViT)."""
    heads, blocks, tokens = (
        1 - _used(each).flatten(1).mean(1) for each in (signals.heads, signals.blocks, signals.tokens)
    )
    return USAGE * (heads + blocks + tokens.square())


@mechanism_loss.register
def of_sampling(signals: SignificanceSignals) -> Tensor:
    """Spread the class token's attention evenly over all patches, in the first layers above all (ATS)."""
    layers = signals.attention.shape[1]
    weights = torch.tensor([*LAYERS, *[LAYERS[-1]] * layers][:layers], device=signals.attention.device)
    return ((signals.attention - 1 / signals.attention.shape[-1]).square().flatten(2).sum(2) * weights).sum(1)


def _used(probability: Tensor) -> Tensor:
    """Return 1 where something is used, and 0 where not, with the gradient of its probability."""
    return (probability > 0.5).to(probability) + probability - probability.detach()


@dataclass(frozen=True, kw_only=True)
class SlowFormer(Universal):
    """Learn one patch that keeps tokens, heads and layers of any image: Adam on a loss for each mechanism.

    The rate of 0.2 standard deviations of pixels, constant, is the paper's; the 200 steps of 32 images are ours, of
    which 20 patches are tried on 128 images, and the costliest kept. The paper rounds the patch itself at every step,
    so that small steps vanish; here a copy is rounded, with the gradient passed straight through. The paper's loss on
    A-ViT has a second term, with which that network was trained: the divergence of when patches halt from a prior. It
    leads away from what the patch is for, and is left out.
    """

    id: ClassVar[str] = "slowformer"
    paper: ClassVar[Paper | None] = PAPER
    norms: ClassVar[tuple[str, ...]] = PATCHES
    radii: ClassVar[Mapping[str, float]] = {}
    reads: ClassVar[type | None] = TokenSignals

    norm: str = PATCHES[0]
    eps: float = PATCH_SHARE
    steps: int = STEPS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise UsageError(f"expected 1 step or more, got {self.steps}")

    def learn(self, target: GateTarget, inputs: Tensor, references: Tensor | None, seed: int) -> Learned:
        """See :meth:`Universal.learn`.

        Raises:
            UsageError: if the target's mechanism has no loss.
        """
        ball, like = ball_of(self.budget, target.space), inputs[:1].to(target.device)
        return descend(
            target,
            inputs[:CHECKED],
            objective=lambda signals, beside: mechanism_loss(signals),
            ball=ball,
            eps=self.eps,
            optimizer=Adam(RATE),
            schedule=batches(inputs, self.steps),
            steps=self.steps,
            start=ball.random([torch.Generator().manual_seed(seed)], self.eps, like),
        )


def batches(inputs: Tensor, steps: int) -> Iterator[tuple[Tensor, None]]:
    """Yield the images of each step, epoch by epoch."""
    parts = inputs.split(BATCH)
    for step in range(steps):
        yield parts[step % len(parts)], None

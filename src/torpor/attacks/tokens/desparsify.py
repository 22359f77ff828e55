"""DeSparsify: images with which a vision transformer keeps tokens, while its prediction stays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.iterative import GradientAttack
from torpor.attacks.search.balls import ball_of
from torpor.attacks.search.optimizers import CosineSteps, Optimizer
from torpor.attacks.tokens.several import joined
from torpor.attacks.universal import Learned, Universal, descend, learned_by_class
from torpor.core.errors import UsageError
from torpor.core.threat import Paper
from torpor.targets.base import Target
from torpor.targets.early_exit.family import GateTarget
from torpor.targets.tokens.signals import PatchHaltingSignals, SignificanceSignals, TokenSignals, UsageSignals

PAPER = Paper(
    "DeSparsify: Adversarial Attack Against Token Sparsification Mechanisms in Vision Transformers",
    "Yehezkel et al.",
    "NeurIPS",
    2024,
    "arXiv:2402.02554",
)
CLASS = 8e-4
"""Weight of the cross-entropy that keeps the prediction."""
TINY = 1e-12
FIRST = 1 / 10
"""First step, in units of eps."""
BATCH, UNIVERSAL_STEPS, CHECKED = 32, 100, 128


@singledispatch
def sparsity_loss(signals: TokenSignals) -> Tensor:
    """Return the mechanism's term of the loss, ``[B]``; a mechanism registers its own by the type of its signals.

    Raises:
        UsageError: for signals that have none.
    """
    raise UsageError(
        f"expected signals of token halting, usage or sampling, got {type(signals).__name__}; register a loss"
    )


@sparsity_loss.register
def of_halting(signals: PatchHaltingSignals) -> Tensor:
    """Lower the sums of halting scores of the patches that a layer runs, squared (A-ViT)."""
    runs = signals.alive.detach()[:, :-1]
    return (runs * signals.cumulative[:, :-1].square()).mean((1, 2))


@sparsity_loss.register
def of_usage(signals: UsageSignals) -> Tensor:
    """Raise the probabilities that halves of layers are used, and where attention is, heads and patches (AdaViT)."""
    attends = (signals.blocks[..., 0] > 0.5).detach()
    blocks, heads, tokens = ((each - 1).square().mean(-1) for each in (signals.blocks, signals.heads, signals.tokens))
    return (blocks + attends * (heads + tokens)).mean(1)


@sparsity_loss.register
def of_sampling(signals: SignificanceSignals) -> Tensor:
    """Make patches equally significant: the divergence of their significance from the uniform one (ATS)."""
    share = signals.significance  # 0 where a patch has left, which has no logarithm and no derivative
    return (share * share.clamp_min(TINY).log()).sum(-1).mean(1) + math.log(share.shape[-1])


@dataclass(frozen=True)
class Sparsity:
    """The loss of the attack: the mechanism's term, and that of the class that is to be kept.

    Attributes:
        keep: weight of the class.
    """

    keep: float = CLASS

    def __call__(self, signals: Any, labels: Tensor) -> Tensor:  # noqa: ANN401 - of any mechanism
        """Return the loss of each sample, ``[B]``."""
        return sparsity_loss(signals) + self.keep * F.cross_entropy(signals.scores, labels, reduction="none")


def falling_steps(eps: float, steps: int) -> Optimizer:
    """Return steps from a tenth of ``eps`` to 0 along a cosine; larger ones if there are few, to use the budget up."""
    return CosineSteps(eps * max(FIRST, 4 / steps), steps)


@dataclass(frozen=True, kw_only=True)
class DeSparsify(GradientAttack):
    """Keep the tokens of each image, and its class: steps that fall from a tenth of ``eps`` to 0 along a cosine.

    Linf 16/255 is the paper's, the 100 steps are ours. The class that is kept is that of the clean image, whatever its
    reference is.

    Attributes:
        keep: weight of the cross-entropy that keeps it.
    """

    id: ClassVar[str] = "desparsify"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 100
    reads: ClassVar[type | None] = TokenSignals
    radii: ClassVar[Mapping[str, float]] = {**GradientAttack.radii, "Linf": 16 / 255}

    eps: float = 16 / 255
    keep: float = CLASS

    @override
    def objective(self) -> Sparsity:
        return Sparsity(self.keep)

    @override
    def optimizer(self) -> Optimizer:
        return falling_steps(self.eps, self.iterations)

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        found = super().search(target, inputs, kept(target, inputs), seed)
        found.forwards.add_(1)
        return found


@dataclass(frozen=True, kw_only=True)
class DeSparsifyUniversal(Universal):
    """Keep the tokens of any image with one perturbation, or one patch: as for each image, on all of them.

    100 steps of 32 images, ours, of which 20 perturbations are tried on 128 images, and the costliest kept.

    Attributes:
        keep: weight of the cross-entropy that keeps the class.
        others: targets of other mechanisms for which the perturbation is made too, such as
            ``"adavit-cifar10+ats-cifar10"``: the paper's ensemble, which meets a random one at each step.
    """

    id: ClassVar[str] = "desparsify-universal"
    paper: ClassVar[Paper | None] = PAPER
    reads: ClassVar[type | None] = TokenSignals
    radii: ClassVar[Mapping[str, float]] = {**DeSparsify.radii}

    eps: float = 16 / 255
    keep: float = CLASS
    steps: int = UNIVERSAL_STEPS
    others: str = ""

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
            joined(target, self.others, seed),
            inputs[:CHECKED],
            objective=Sparsity(self.keep),
            ball=ball,
            eps=self.eps,
            optimizer=falling_steps(self.eps, self.steps),
            schedule=self._schedule(target, inputs),
            steps=self.steps,
            start=ball.random([torch.Generator().manual_seed(seed)], self.eps, like),
        )

    def _schedule(self, target: GateTarget, inputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images of each step, epoch by epoch, and the classes that they have without attack."""
        parts = inputs.split(BATCH)
        known = dict[int, Tensor]()
        for step in range(self.steps):
            place = step % len(parts)
            if place not in known:
                known[place] = kept(target, parts[place].to(target.device))
            yield parts[place], known[place]


@dataclass(frozen=True, kw_only=True)
class DeSparsifyClassUniversal(DeSparsifyUniversal):
    """Keep the tokens of any image of a class with one perturbation for each class."""

    id: ClassVar[str] = "desparsify-class-universal"

    def learn(self, target: GateTarget, inputs: Tensor, references: Tensor | None, seed: int) -> Learned:
        """See :meth:`Universal.learn`; ``references`` are required.

        Raises:
            UsageError: without references, or if the target's mechanism has no loss.
        """
        return learned_by_class(self.id, super().learn, target, inputs, references, seed)


def kept(target: Target, inputs: Tensor) -> Tensor:
    """Return the classes that clean images have, ``[B]``."""
    classes: Tensor = target.run(inputs).outputs.argmax(-1)
    return classes

"""Perturbation spaces: the geometry of norm balls, per sample.

Perturbations are float tensors ``[B, ...]`` in pixel units of [0, 1]; every function treats each sample on its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pkgutil import resolve_name

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples, draw
from torpor.core.budget import PATCHES, Budget, whole_levels
from torpor.core.errors import UsageError
from torpor.core.space import DenseSpace, InputSpace, VideoSpace

SLACK = 1e-6
"""Rounding room, relative to the radius, when a norm is compared with it."""


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Reshape ``[B]`` so that it broadcasts against ``[B, ...]``."""
    return values.view(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class Ball(ABC):
    """All perturbations of at most a given norm."""

    @abstractmethod
    def norm(self, delta: Tensor) -> Tensor:
        """Return the norm of each perturbation, ``[B]``."""

    @abstractmethod
    def project(self, delta: Tensor, radius: float) -> Tensor:
        """Return the closest perturbation (Euclidean) of norm at most ``radius``."""

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the direction of norm 1 along which a linear function with this gradient rises most."""

    @abstractmethod
    def random(self, generators: list[torch.Generator], radius: float, like: Tensor) -> Tensor:
        """Draw one perturbation per generator; Linf fills the ball, L2 and L1 lie on its sphere."""

    def even(self, radius: float, like: Tensor) -> float:
        """Return how far each value of ``like`` ``[B, ...]`` moves if all move alike and spend the radius."""
        return radius / float(self.norm(torch.ones_like(like[:1])))

    def spent(self, generators: list[torch.Generator], radius: float, like: Tensor) -> Tensor:
        """Draw one perturbation per generator that spends the whole radius."""
        return self.random(generators, radius, like)

    def free(self, delta: Tensor) -> Tensor:
        """Return a view of the part of perturbations that may differ from zero."""
        return delta

    def common(self, values: Tensor, clean: Tensor) -> Tensor:
        """Return the change that one perturbation for all inputs makes to each of them: itself."""
        return values

    def spendable(self, radius: float, levels: int) -> float:
        """Return the largest norm within ``radius`` of a change that is stored in steps of ``1 / levels``."""
        return radius

    def used(self, delta: Tensor, radius: float, levels: int) -> Tensor:
        """Return the share of what can be spent that each perturbation on the grid spends, ``[B]``."""
        return self.norm(delta) / self.spendable(radius, levels)

    def reach(self, radius: float, space: DenseSpace) -> float:
        """Return what of a budget's radius inputs of ``space`` can spend."""
        return self.spendable(radius, space.levels)

    def check(self, radius: float, space: DenseSpace) -> None:
        """Refuse a radius that allows no change of even one value by one level.

        Raises:
            UsageError: if so.
        """
        if self.spendable(radius, space.levels) * space.levels < 1 - SLACK:
            what = "pixel" if space.kind in ("image", "video") else "sound"
            raise UsageError(
                f"expected eps of at least 1/{space.levels}, one {what} level, got {radius:g}; raise --eps"
            )

    def snap(self, delta: Tensor, radius: float, levels: int) -> Tensor:
        """Project into the ball and round to whole pixel levels, shrunk first where rounding would leave it."""
        delta, limit = self.project(delta, radius), radius * levels * (1 + SLACK)
        rounded = (delta * levels).round()
        outside = self.norm(rounded) > limit
        if outside.any():
            rows = delta[outside] * levels
            low, high = torch.zeros(len(rows)).to(rows), torch.ones(len(rows)).to(rows)
            for _ in range(8):
                middle = (low + high) / 2
                inside = self.norm((rows * per_sample(middle, rows)).round()) <= limit
                low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
            rounded[outside] = (rows * per_sample(low, rows)).round()
        return rounded.div_(levels)


@dataclass(frozen=True)
class Linf(Ball):
    """Largest change of any pixel.

    >>> Linf().project(torch.tensor([[0.5, -0.1]]), 0.2)
    tensor([[ 0.2000, -0.1000]])
    """

    @override
    def norm(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).abs().amax(1)

    @override
    def project(self, delta: Tensor, radius: float) -> Tensor:
        return delta.clamp(-radius, radius)

    @override
    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    @override
    def random(self, generators: list[torch.Generator], radius: float, like: Tensor) -> Tensor:
        return (draw(generators, lambda g: torch.rand(like.shape[1:], generator=g), like) * 2 - 1) * radius

    @override
    def spent(self, generators: list[torch.Generator], radius: float, like: Tensor) -> Tensor:
        return self.random(generators, radius, like).sign() * radius

    def spendable(self, radius: float, levels: int) -> float:
        """See :meth:`Ball.spendable`; whole levels, see :func:`~torpor.core.budget.whole_levels`."""
        return whole_levels(radius, levels) / levels

    def snap(self, delta: Tensor, radius: float, levels: int) -> Tensor:
        """See :meth:`Ball.snap`; the whole levels within the radius are a cube of their own."""
        whole = whole_levels(radius, levels)
        return (delta * levels).round_().clamp_(-whole, whole).div_(levels)


@dataclass(frozen=True)
class L2(Ball):
    """Euclidean length of the change.

    >>> L2().project(torch.tensor([[3.0, 4.0]]), 1.0)
    tensor([[0.6000, 0.8000]])
    """

    @override
    def norm(self, delta: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)
        return length

    @override
    def project(self, delta: Tensor, radius: float) -> Tensor:
        length = self.norm(delta).clamp_min(torch.finfo(delta.dtype).tiny)
        return delta * per_sample((radius / length).clamp_max(1), delta)

    @override
    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient / per_sample(self.norm(gradient).clamp_min(torch.finfo(gradient.dtype).tiny), gradient)

    @override
    def random(self, generators: list[torch.Generator], radius: float, like: Tensor) -> Tensor:
        return self.steepest(draw(generators, lambda g: torch.randn(like.shape[1:], generator=g), like)) * radius


@dataclass(frozen=True)
class L1(Ball):
    """Sum of the changes of all pixels.

    Attributes:
        keep: share of the pixels that one step moves, those with the largest gradients.

    >>> L1().project(torch.tensor([[3.0, 1.0]]), 1.0)
    tensor([[1., 0.]])
    """

    keep: float = 0.01

    @override
    def norm(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).abs().sum(1)

    def project(self, delta: Tensor, radius: float) -> Tensor:
        """Soft-threshold onto the ball what lies outside (Duchi et al., ICML 2008)."""
        outside = self.norm(delta) > radius * (1 + SLACK)
        if not outside.any():
            return delta
        flat = delta[outside].flatten(1)
        sizes = flat.abs().sort(1, descending=True).values
        excess = sizes.cumsum(1) - radius
        rank = torch.arange(1, flat.shape[1] + 1, device=flat.device)
        active = (sizes * rank > excess).sum(1, keepdim=True).clamp_min(1)
        threshold = (excess.gather(1, active - 1) / active).clamp_min(0)
        inside = delta.clone()
        inside[outside] = (flat.sign() * (flat.abs() - threshold).clamp_min(0)).view(-1, *delta.shape[1:])
        return inside

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return equal steps on the ``keep`` share of pixels with the largest gradients, norm 1 in all."""
        flat = gradient.flatten(1)
        count = max(1, round(self.keep * flat.shape[1]))
        least = flat.abs().topk(count, dim=1).values[:, -1:]
        chosen = flat.sign() * (flat.abs() >= least)
        return (chosen / chosen.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)

    def random(self, generators: list[torch.Generator], radius: float, like: Tensor) -> Tensor:
        """See :meth:`Ball.random`; Laplace noise."""
        uniform = draw(generators, lambda g: torch.rand(like.shape[1:], generator=g), like) - 0.5
        noise = -uniform.sign() * torch.log1p(-2 * uniform.abs().clamp_max(0.4999999))
        return noise * per_sample(radius / self.norm(noise), noise)


BALLS: dict[str, Ball] = {"Linf": Linf(), "L2": L2(), "L1": L1()}


PATCH_OF = "torpor.attacks.search.patches:patch_of"
"""What makes the ball of a patch; loaded when one is asked for."""
FRAMES_OF = "torpor.attacks.search.frames:PerFrame"
"""What makes the ball of a video out of that of a frame."""


def ball_of(budget: Budget, space: InputSpace) -> Ball:
    """Return the geometry of a budget in ``space``: those of videos hold for each frame."""
    ball: Ball = resolve_name(PATCH_OF)(budget) if budget.norm in PATCHES else BALLS[budget.norm]
    if isinstance(space, VideoSpace):
        ball = resolve_name(FRAMES_OF)(ball)
    return ball


def apply(inputs: Tensor, delta: Tensor, ball: Ball, radius: float, space: DenseSpace) -> Tensor:
    """Return ``inputs + delta`` as inputs that integers can hold, within ``radius`` of ``inputs``.

    >>> from torpor.core.space import ImageSpace
    >>> clean = torch.full((1, 1, 1, 1), 250 / 255)
    >>> (apply(clean, torch.ones(1, 1, 1, 1), Linf(), 3.9 / 255, ImageSpace((1, 1, 1))) * 255).item()
    253.0
    """
    inside = (inputs + delta).clamp_(space.low, space.high).sub_(inputs)
    return space.snap(ball.snap(inside, radius, space.levels).add_(inputs))


def check_budget(budget: Budget, space: InputSpace) -> None:
    """Refuse budgets that do not apply to ``space`` or allow no change at all there.

    Raises:
        UsageError: on another space's norm, or an ``eps`` below one level, or of a patch below one pixel.
    """
    if budget.norm not in space.norms:
        raise UsageError(f"expected norm {', '.join(space.norms)} for {space.kind} inputs, got {budget.norm}")
    if isinstance(space, DenseSpace):
        ball_of(budget, space).check(budget.eps, space)


def spendable(budget: Budget, space: InputSpace) -> float:
    """Return how far inputs of ``space`` can go within a budget: a radius cut to what can be stored.

    >>> from torpor.core.space import ImageSpace
    >>> round(255 * spendable(Budget("Linf", 0.03125), ImageSpace((1, 1, 1))), 6)
    8.0
    """
    if not isinstance(space, DenseSpace):
        return budget.eps
    return ball_of(budget, space).reach(budget.eps, space)


def confine(space: InputSpace, clean: Samples, candidates: Samples, budget: Budget) -> tuple[Samples, Tensor]:
    """Make inputs that could be sent out of whatever a search returned.

    Numbers are projected into the ball and rounded to the grid. Texts are taken as they are, or not at all: one that
    the target would refuse, that does not survive its tokenizer, or that goes too far is replaced by the clean one.

    Returns:
        The inputs, and the share of the budget that each uses, float ``[B]``.
    """
    if isinstance(space, DenseSpace):
        ball = ball_of(budget, space)
        inputs = apply(clean, candidates.to(clean) - clean, ball, budget.eps, space)
        return inputs, ball.used(inputs - clean, budget.eps, space.levels)
    from torpor.core.text import TextSpace

    assert isinstance(space, TextSpace)
    texts, shares = [], []
    for before, found in zip(clean, candidates, strict=True):
        after = space.rejoined(found, before)
        far = space.distance(before, after, budget.norm) if space.survives(after) else None
        fits = far is not None and far <= budget.eps
        texts.append(after if fits else before)
        shares.append(far / budget.eps if far is not None and fits else 0.0)
    return tuple(texts), torch.tensor(shares)


def spent_noise(budget: Budget, space: InputSpace, generators: list[torch.Generator], like: Tensor) -> Tensor:
    """Return one random perturbation per generator that spends the whole budget, in every frame."""
    return ball_of(budget, space).spent(generators, budget.eps, like)

"""The geometry of budgets of videos, each frame of which may be changed so far."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.search.balls import Ball
from torpor.core.space import DenseSpace


@dataclass(frozen=True)
class PerFrame(Ball):
    """All changes of videos ``[B, T, ...]`` of which each frame's is in a ball; the norm is that of the largest.

    Attributes:
        ball: of one frame.

    >>> from torpor.attacks.search.balls import L2
    >>> PerFrame(L2()).norm(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))
    tensor([5.])
    """

    ball: Ball

    @override
    def norm(self, delta: Tensor) -> Tensor:
        return self.ball.norm(delta.flatten(0, 1)).view(delta.shape[:2]).amax(1)

    @override
    def project(self, delta: Tensor, radius: float) -> Tensor:
        return self.ball.project(delta.flatten(0, 1), radius).view_as(delta)

    def steepest(self, gradient: Tensor) -> Tensor:
        """See :meth:`Ball.steepest`: norm 1 in every frame."""
        return self.ball.steepest(gradient.flatten(0, 1)).view_as(gradient)

    def random(self, generators: list[torch.Generator], radius: float, like: Tensor) -> Tensor:
        """See :meth:`Ball.random`; a video's generator draws its frames in turn."""
        each = [generator for generator in generators for _ in range(like.shape[1])]
        return self.ball.random(each, radius, like.flatten(0, 1)).view_as(like)

    @override
    def even(self, radius: float, like: Tensor) -> float:
        return self.ball.even(radius, like.flatten(0, 1))

    @override
    def spent(self, generators: list[torch.Generator], radius: float, like: Tensor) -> Tensor:
        each = [generator for generator in generators for _ in range(like.shape[1])]
        return self.ball.spent(each, radius, like.flatten(0, 1)).view_as(like)

    @override
    def free(self, delta: Tensor) -> Tensor:
        return self.ball.free(delta)

    @override
    def common(self, values: Tensor, clean: Tensor) -> Tensor:
        return self.ball.common(values, clean)

    @override
    def spendable(self, radius: float, levels: int) -> float:
        return self.ball.spendable(radius, levels)

    @override
    def used(self, delta: Tensor, radius: float, levels: int) -> Tensor:
        return self.ball.used(delta.flatten(0, 1), radius, levels).view(delta.shape[:2]).amax(1)

    @override
    def reach(self, radius: float, space: DenseSpace) -> float:
        return self.ball.reach(radius, space)

    @override
    def check(self, radius: float, space: DenseSpace) -> None:
        self.ball.check(radius, space)

    @override
    def snap(self, delta: Tensor, radius: float, levels: int) -> Tensor:
        return self.ball.snap(delta.flatten(0, 1), radius, levels).view_as(delta)

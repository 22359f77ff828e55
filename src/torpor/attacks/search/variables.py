"""Variables: what an optimizer moves, and how it becomes an input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.search.balls import Ball
from torpor.attacks.search.optimizers import Project
from torpor.core.space import DenseSpace

SATURATED = 1e-6
"""How close to black and white a reparametrized pixel can start: where its variable is still finite."""

Penalty = Callable[[Tensor], Tensor]
"""Map changes ``[B, ...]`` to a penalty ``[B]``."""


class Variable(ABC):
    """What an optimizer moves, and how it becomes an input."""

    @abstractmethod
    def change(self, values: Tensor, clean: Tensor) -> Tensor:
        """Return by how much inputs differ from ``clean``, in a shape that can be added to it, differentiably."""

    @abstractmethod
    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        """Return what keeps values within their range."""

    def gradient(self, values: Tensor, clean: Tensor, of_inputs: Tensor, penalty: Penalty | None) -> Tensor:
        """Return the gradient of loss and penalty after the values, given the loss's after the inputs."""
        values = values.detach().requires_grad_()
        change = self.change(values, clean).expand_as(clean)
        outputs = [change] if penalty is None else [change, penalty(change).sum()]
        weights = [of_inputs, *(torch.ones_like(part) for part in outputs[1:])]
        (gradient,) = torch.autograd.grad(outputs, values, weights)
        return gradient


@dataclass(frozen=True)
class Change(Variable):
    """The variable is the change itself, kept in the ball and the valid range."""

    @override
    def change(self, values: Tensor, clean: Tensor) -> Tensor:
        return values

    @override
    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        return lambda values: (clean + ball.project(values, eps)).clamp_(space.low, space.high).sub_(clean)


@dataclass(frozen=True)
class Shared(Change):
    """The variable is one change ``[B, 1, ...]`` of all frames of a sample ``[B, T, ...]``, kept in the ball."""

    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        """See :meth:`Variable.limit`; the valid range belongs to each frame, not to what they share."""
        return lambda values: ball.project(values, eps)


@dataclass(frozen=True)
class Tanh(Variable):
    """Pixels are ``(tanh w + 1) / 2``, so every ``w`` is an image (Carlini and Wagner, S&P 2017)."""

    @override
    def change(self, values: Tensor, clean: Tensor) -> Tensor:
        return (values.tanh() + 1) / 2 - clean

    def limit(self, clean: Tensor, ball: Ball, eps: float, space: DenseSpace) -> Project:
        """Leave values as they are: a penalty pulls them back into the budget."""
        return lambda values: values

    def values(self, inputs: Tensor) -> Tensor:
        """Return the ``w`` of images.

        >>> Tanh().values(torch.tensor([0.0, 0.5])).isfinite().all().item()
        True
        """
        return torch.atanh(2 * inputs.clamp(SATURATED, 1 - SATURATED) - 1)

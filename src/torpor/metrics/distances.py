"""Distances between clean and attacked inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torpor.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


class Distances(NamedTuple):
    """How far each input was moved, float64 ``[B]`` in the inputs' own unit.

    Attributes:
        linf: largest change of one value.
        l2: root of the sum of squared changes.
        l1: sum of absolute changes.
    """

    linf: Tensor
    l2: Tensor
    l1: Tensor


def distances(clean: Tensor, attacked: Tensor, *, per_frame: bool = False) -> Distances:
    """Measure each attacked input against its clean input.

    Args:
        clean: inputs ``[B, ...]``.
        attacked: the same, attacked.
        per_frame: whether these are videos ``[B, T, ...]``, of which the frame that was moved farthest counts.

    Raises:
        UsageError: if shapes differ.

    >>> import torch
    >>> linf, l2, l1 = distances(torch.zeros(1, 1, 1, 2), torch.tensor([[[[3.0, -4.0]]]]))
    >>> linf.item(), l2.item(), l1.item()
    (4.0, 5.0, 7.0)
    """
    if clean.shape != attacked.shape or clean.ndim < 2 + per_frame or clean[:1].numel() == 0:
        raise UsageError(
            f"expected clean and attacked inputs of one shape [B, ...], got {list(clean.shape)} and "
            f"{list(attacked.shape)}"
        )
    change = (attacked.detach().double() - clean.detach().double()).flatten(1 + per_frame).abs()
    found = Distances(change.amax(-1), change.square().sum(-1).sqrt(), change.sum(-1))
    return Distances(*(values.amax(1) for values in found)) if per_frame else found

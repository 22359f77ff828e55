"""Gradients of targets that may not be differentiable."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gradient_of(loss: Tensor, inputs: Tensor, *, retain_graph: bool = False) -> Tensor:
    """Return the gradient of a scalar ``loss`` after ``inputs``, in their shape; zero wherever there is none.

    There is none through a stop-gradient, an argmax or an operator without a derivative, where the backward pass of a
    network is not possible, and where it returns NaN or infinity, which say nothing about a direction. Attacks continue
    without it, and report that in :attr:`~torpor.attacks.base.Candidates.zero_gradient`.

    Args:
        loss: to differentiate, ``[]``.
        inputs: leaf or node of its graph, if it has one.
        retain_graph: whether the graph is to be differentiated again.

    >>> point = torch.ones(2, requires_grad=True)
    >>> gradient_of((3 * point).sum(), point), gradient_of((3 * point.detach()).sum(), point)
    (tensor([3., 3.]), tensor([0., 0.]))
    """
    return gradients_of(loss, [inputs], retain_graph=retain_graph)[0]


def gradients_of(loss: Tensor, inputs: Sequence[Tensor], *, retain_graph: bool = False) -> list[Tensor]:
    """Return the gradient of ``loss`` after each of several tensors, by one backward pass; see :func:`gradient_of`."""
    if not loss.requires_grad:
        return [torch.zeros_like(each) for each in inputs]
    try:
        found = torch.autograd.grad(loss, inputs, retain_graph=retain_graph, allow_unused=True, materialize_grads=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # no derivative, or a tensor that the network has overwritten
        return [torch.zeros_like(each) for each in inputs]
    return [torch.where(gradient.isfinite(), gradient, 0) for gradient in found]

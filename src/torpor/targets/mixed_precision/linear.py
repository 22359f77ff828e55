"""A linear layer in 8 bits whose outlier columns are computed in full precision (LLM.int8)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

MOST = 127
"""Largest magnitude in 8 bits."""


class LayerInputs(NamedTuple):
    """What decided the columns of one call.

    Attributes:
        inputs: of the layer, ``[B, T, D]``.
        largest: magnitude of each column over a sample's tokens, as a share of the threshold, ``[B, D]``; an outlier
            above 1.
        threshold: magnitude that an outlier is above.
    """

    inputs: Tensor
    largest: Tensor
    threshold: float

    def ratios(self) -> Tensor:
        """Return the magnitude of each input as a share of the threshold, ``[B, T, D]``, differentiable."""
        return self.inputs.abs() / self.threshold


class OutlierLinear(nn.Module):
    """Multiplies inputs in 8 bits, but for columns with an outlier, which it multiplies in full precision beside it.

    After LLM.int8 (Dettmers et al., NeurIPS 2022): inputs are scaled by the largest magnitude of their token, weights
    by that of their output; a column is the same feature of all tokens of a sample. Where gradients are asked for,
    rounding passes them straight through.

    Args:
        linear: the layer to convert.
        threshold: magnitude that an outlier is above.

    Attributes:
        seen: of the last call.

    >>> layer = OutlierLinear(nn.Linear(3, 2).double(), threshold=6.0)
    >>> out = layer(torch.tensor([[[0.1, 7.0, 0.2], [0.3, 0.1, 0.1]]], dtype=torch.float64))
    >>> (layer.seen.largest > 1).tolist()
    [[False, True, False]]
    """

    levels: Tensor
    scale: Tensor
    bias: nn.Parameter | None
    seen: LayerInputs

    def __init__(self, linear: nn.Linear, threshold: float) -> None:
        super().__init__()
        scale = linear.weight.detach().abs().amax(1, keepdim=True).clamp_min(1e-12) / MOST
        self.register_buffer("levels", (linear.weight.detach() / scale).round())  # whole numbers: sums are exact
        self.register_buffer("scale", scale.squeeze(1))
        self.bias = linear.bias
        self.threshold = threshold

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs ``[B, T, O]`` of ``[B, T, D]``, or ``[B, O]`` of ``[B, D]``."""
        if inputs.ndim == 2:
            whole: Tensor = self(inputs.unsqueeze(1)).squeeze(1)
            return whole
        largest = inputs.abs().amax(1) / self.threshold
        self.seen = LayerInputs(inputs, largest, self.threshold)
        total: Tensor = _Mixed.apply(inputs, self.levels, self.scale, largest.detach() > 1)  # type: ignore[no-untyped-call]
        return total if self.bias is None else total + self.bias


class _Mixed(torch.autograd.Function):
    """Inputs ``[B, T, D]`` times whole-numbered weights ``[O, D]`` and a scale ``[O]``; outlier columns stay unrounded.

    Gradients are those without rounding.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, levels: Tensor, scale: Tensor, outlier: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(levels, scale)
        regular = inputs.masked_fill(outlier.unsqueeze(1), 0)
        step = regular.abs().amax(-1, keepdim=True).clamp_min_(1e-12) / MOST
        total = (regular.div_(step).round_() @ levels.T).mul_(step)
        for row in outlier.any(1).nonzero().flatten().tolist():
            columns = outlier[row].nonzero().flatten()
            total[row] += inputs[row, :, columns] @ levels[:, columns].T
        return total.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        levels, scale = ctx.saved_tensors
        return grads[0] @ (levels * scale.unsqueeze(1)), None, None, None


def largest_of(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the largest magnitude of each column of each linear layer's inputs, ``[B, D]`` per layer."""
    found: list[Tensor] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].abs()
        found.append(values.amax(1) if values.ndim == 3 else values)

    hooks = [each.register_forward_pre_hook(look) for each in network.modules() if isinstance(each, nn.Linear)]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def thresholds_of(network: nn.Module, images: Tensor, share: float) -> list[float]:
    """Return for each linear layer the magnitude that a share of its columns reaches on images ``[B, C, H, W]``."""
    return [float(largest.flatten().quantile(1 - share)) for largest in largest_of(network, images)]

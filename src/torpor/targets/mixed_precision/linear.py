"""A linear layer in 8 bits whose outlier columns are computed in full precision (LLM.int8)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

MOST = 127
"""Largest magnitude in 8 bits."""


class LayerInputs(NamedTuple):
    """What decided the columns of one call.

    Attributes:
        ratios: magnitude of each input as a share of the threshold, ``[B, T, D]``, differentiable.
        largest: the largest of each column over a sample's tokens, ``[B, D]``; an outlier above 1.
    """

    ratios: Tensor
    largest: Tensor


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
        ratios = inputs.abs() / self.threshold
        largest = ratios.amax(1)
        self.seen = LayerInputs(ratios, largest)
        outlier = largest.detach() > 1
        regular = inputs.masked_fill(outlier.unsqueeze(1), 0)
        step = regular.detach().abs().amax(-1, keepdim=True).clamp_min(1e-12) / MOST
        levels = (regular / step).detach().round()
        levels = levels + (regular / step - (regular / step).detach())  # straight through
        total = (levels @ self.levels.T) * step
        total = total + self._outliers(inputs, outlier)
        return total * self.scale + (0 if self.bias is None else self.bias)

    def _outliers(self, inputs: Tensor, outlier: Tensor) -> Tensor:
        """Return what the outlier columns of each sample add, before the scale of outputs."""
        if torch.is_grad_enabled() and inputs.requires_grad:
            masked: Tensor = inputs.masked_fill(~outlier.unsqueeze(1), 0) @ self.levels.T
            return masked
        added = inputs.new_zeros(*inputs.shape[:2], len(self.levels))
        for row in outlier.any(1).nonzero().flatten().tolist():
            columns = outlier[row].nonzero().flatten()
            added[row] = inputs[row, :, columns] @ self.levels[:, columns].T
        return added


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

"""What the targets of this folder expect of a vision transformer."""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor, nn


class TransformerLayer(Protocol):
    """Attention, then a perceptron, each on normalized tokens and added to them."""

    heads: int
    norm1: nn.Module
    norm2: nn.Module
    qkv: nn.Linear
    proj: nn.Linear
    fc1: nn.Linear
    fc2: nn.Linear

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of ``tokens`` ``[B, N, D]``, each ``[B, H, N, D / H]``."""

    def perceptron(self, tokens: Tensor) -> Tensor:
        """Return what the perceptron adds to ``tokens`` ``[..., D]``."""


class TransformerModule(Protocol):
    """A vision transformer with a class token.

    Attributes:
        shape: ``(C, H, W)`` of one image.
        layers: of :class:`TransformerLayer`.
        norm: before the head.
        head: from the class token to class scores.
    """

    shape: tuple[int, int, int]
    layers: nn.ModuleList

    @property
    def norm(self) -> nn.Module:
        """See above."""

    @property
    def head(self) -> nn.Module:
        """See above."""

    def embed(self, images: Tensor) -> Tensor:
        """Return the class token and the patches, row by row, of ``images``, ``[B, 1 + N, D]``."""


def layers_of(module: TransformerModule) -> list[TransformerLayer]:
    """Return the layers of a transformer, in order."""
    return [cast(TransformerLayer, layer) for layer in module.layers]

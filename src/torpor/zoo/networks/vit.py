"""A small vision transformer: the backbone of everything in the zoo that skips tokens, heads or layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 10


class VisionLayer(nn.Module):
    """One layer: attention, then a perceptron, each on normalized tokens and added to them.

    Args:
        dim: width of a token.
        heads: of the attention.
        ratio: width of the perceptron over that of a token.
    """

    def __init__(self, dim: int, heads: int, ratio: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, ratio * dim), nn.Linear(ratio * dim, dim)

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of normalized ``tokens`` ``[B, N, D]``, each ``[B, H, N, D / H]``."""
        parts = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query, key, value

    def perceptron(self, tokens: Tensor) -> Tensor:
        """Return what the perceptron adds to ``tokens``, of any shape ``[..., D]``."""
        hidden: Tensor = self.fc2(F.gelu(self.fc1(self.norm2(tokens))))
        return hidden

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``tokens`` ``[B, N, D]`` after this layer."""
        query, key, value = self.split(tokens)
        # trained in bfloat16 on a CPU, faster than the fused kernel
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        mixed = scores.softmax(-1).to(value.dtype) @ value
        tokens = tokens + self.proj(mixed.transpose(1, 2).flatten(2))
        return tokens + self.perceptron(tokens)


class VisionTransformer(nn.Module):
    """A class token and one token per 4 x 4 pixels, from a stem of three convolutions.

    Args:
        channels: of the image.
        side: of the image, in pixels.
        dim: width of a token.
        depth: layers.
        heads: per layer.
        widths: of the first two convolutions.
    """

    def __init__(
        self,
        channels: int = 3,
        side: int = 32,
        dim: int = 96,
        depth: int = 6,
        heads: int = 4,
        widths: tuple[int, int] = (24, 48),
    ) -> None:
        super().__init__()
        first, second = widths
        self.stem = nn.Sequential(
            nn.Conv2d(channels, first, 3, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
            nn.Conv2d(second, dim, 3, stride=2, padding=1),
        )
        self.shape = (channels, side, side)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.randn(1, (side // 4) ** 2, dim) * 0.02)
        self.layers = nn.ModuleList(VisionLayer(dim, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, CLASSES)

    def embed(self, images: Tensor) -> Tensor:
        """Return the class token and the patches of ``images`` ``[B, C, S, S]``, ``[B, 1 + N, D]``."""
        features = self.stem(images * 4 - 2)
        patches = features.flatten(2).transpose(1, 2) + self._positions(features.shape[-1])
        return torch.cat([self.cls.expand(len(images), -1, -1).to(patches.dtype), patches], 1)

    def _positions(self, side: int) -> Tensor:
        """Return the position of each patch of an image with ``side`` patches a side, ``[1, N, D]``."""
        own = math.isqrt(self.position.shape[1])
        if side == own:
            return self.position
        grid = self.position.transpose(1, 2).unflatten(2, (own, own))
        return F.interpolate(grid, (side, side), mode="bilinear").flatten(2).transpose(1, 2)

    def forward(self, images: Tensor, keep: float = 1.0) -> Tensor:
        """Return logits ``[B, C]``; of the patches only a random share ``keep`` is looked at, in training."""
        tokens = self.embed(images)
        if keep < 1:
            batch, count, dim = tokens.shape
            order = torch.rand(batch, count - 1, device=tokens.device).argsort(1) + 1
            order = order[:, : max(1, round(keep * (count - 1)))]
            tokens = torch.cat([tokens[:, :1], tokens.gather(1, order[..., None].expand(-1, -1, dim))], 1)
        for layer in self.layers:
            tokens = layer(tokens)
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits

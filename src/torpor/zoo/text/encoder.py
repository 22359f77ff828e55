"""Small encoders of texts: one with an exit after each layer, one whose layers skim tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.zoo.networks.vit import VisionLayer
from torpor.zoo.text.people import CLASSES

LONGEST = 96
"""Tokens of a text that these encoders read, the first one counted."""


class FirstToken(nn.Module):
    """A classifier of the first token of ``[B, N, D]``.

    Args:
        dim: width of a token.
        classes: how many numbers it returns.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(dim), nn.Linear(dim, classes)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(tokens[:, 0]))
        return logits


class TextEncoder(nn.Module):
    """Words, positions and layers; texts of a batch have as many tokens each, so that nothing is padded.

    Args:
        vocabulary: number of tokens.
        dim: width of a token.
        depth: layers.
        heads: of the attention of each.
        longest: tokens of a text at most.
    """

    def __init__(
        self, vocabulary: int = 2000, dim: int = 80, depth: int = 6, heads: int = 4, longest: int = LONGEST
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, dim)
        nn.init.normal_(self.words.weight, std=0.5)
        self.position = nn.Parameter(torch.randn(longest, dim) * 0.1)
        self.layers = nn.ModuleList(VisionLayer(dim, heads) for _ in range(depth))

    def enter(self, vectors: Tensor) -> Tensor:
        """Return what enters the first layer, given the vectors of words ``[B, N, D]``."""
        return vectors + self.position[: vectors.shape[1]]


class ExitEncoder(TextEncoder):
    """An encoder with a classifier after each layer, and one that tells how sure an exit may be (learned to exit).

    It is built like any :class:`~torpor.targets.text.exits.ExitingModule`.
    """

    def __init__(
        self, vocabulary: int = 2000, dim: int = 80, depth: int = 6, heads: int = 4, longest: int = LONGEST
    ) -> None:
        super().__init__(vocabulary, dim, depth, heads, longest)
        self.heads = nn.ModuleList(FirstToken(dim, CLASSES) for _ in range(depth))
        self.certainty = FirstToken(dim, 1)

    @override
    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of every exit ``[B, L, C]`` and the logit of its certainty ``[B, L]``."""
        tokens, logits, sure = self.enter(self.words(ids)), [], []
        for layer, head in zip(self.layers, self.heads, strict=True):
            tokens = layer(tokens)
            logits.append(head(tokens))
            sure.append(self.certainty(tokens.detach()).squeeze(-1))
        return torch.stack(logits, 1), torch.stack(sure, 1)


class SkimEncoder(TextEncoder):
    """An encoder that asks before each layer which tokens it may leave out for good; the first one always stays.

    It is built like any :class:`~torpor.targets.text.skimming.SkimmingModule`.
    """

    def __init__(
        self, vocabulary: int = 2000, dim: int = 80, depth: int = 6, heads: int = 4, longest: int = LONGEST
    ) -> None:
        super().__init__(vocabulary, dim, depth, heads, longest)
        self.skims = nn.ModuleList(_skim(dim) for _ in range(depth))
        self.head = FirstToken(dim, CLASSES)


def _skim(dim: int) -> nn.Module:
    """Return a predictor that at first lets everything stay."""
    last = nn.Linear(dim // 4, 1)
    nn.init.constant_(last.bias, 3.0)
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim // 4), nn.GELU(), last)

"""A small router: a tiny gate, a cheap reader, and the zoo's encoder with all of its layers as the expensive one."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override

from torpor.zoo.text.encoder import LONGEST, ExitEncoder, FirstToken, TextEncoder
from torpor.zoo.text.people import CLASSES


class SmallReader(TextEncoder):
    """An encoder that answers by its first token.

    Args:
        vocabulary: number of tokens.
        answers: how many numbers it returns.
        dim: width of a token.
        depth: layers.
    """

    def __init__(self, vocabulary: int, answers: int, *, dim: int = 24, depth: int = 1) -> None:
        super().__init__(vocabulary, dim, depth, 2, LONGEST)
        self.head = FirstToken(dim, answers)

    def read(self, vectors: Tensor) -> Tensor:
        """Return the answers ``[B, A]`` given the vectors of words ``[B, N, D]``."""
        tokens = self.enter(vectors)
        for layer in self.layers:
            tokens = layer(tokens)
        answers: Tensor = self.head(tokens)
        return answers

    @override
    def forward(self, ids: Tensor) -> Tensor:
        """Return the answers ``[B, A]`` to ids ``[B, N]``."""
        return self.read(self.words(ids))


class LastExit(nn.Module):
    """An encoder with exits whose last one answers.

    Args:
        encoder: whose earlier exits are not asked.
    """

    def __init__(self, encoder: ExitEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @override
    def forward(self, ids: Tensor) -> Tensor:
        tokens = self.encoder.enter(self.encoder.words(ids))
        for layer in self.encoder.layers:
            tokens = layer(tokens)
        scores: Tensor = self.encoder.heads[-1](tokens)
        return scores


class SmallParts(nn.Module):
    """What is trained for a router: the gate and the cheap reader.

    Args:
        vocabulary: number of tokens.
    """

    def __init__(self, vocabulary: int = 2000) -> None:
        super().__init__()
        self.gate, self.cheap = SmallReader(vocabulary, 1, dim=16), SmallReader(vocabulary, CLASSES)


class Router(nn.Module):
    """A router, built like any :class:`~torpor.targets.text.routed.RouterModule`.

    Args:
        small: gate and cheap reader.
        encoder: the expensive one.
    """

    def __init__(self, small: SmallParts, encoder: ExitEncoder) -> None:
        super().__init__()
        self.small, self.large = small, LastExit(encoder)
        self.cheap = small.cheap

    @property
    def words(self) -> nn.Embedding:
        """What embeds ids for the gate."""
        return self.small.gate.words

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the expensive model."""
        return self.large.encoder.layers

    def gate(self, vectors: Tensor) -> Tensor:
        """Return how much each text needs the expensive model, logits ``[B]``."""
        return self.small.gate.read(vectors).squeeze(-1)

"""Captioners of the study "NICGSlowDown" (CVPR 2022) in small: convolutional encoder, attention, recurrent decoder.

The decoder is that of Xu et al., "Show, Attend and Tell" (ICML 2015), with soft attention and a gate on what is seen.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.zoo.backbones import BasicBlock
from torpor.zoo.captioning.vocabulary import Vocabulary

State = tuple[Tensor, ...]
"""What a decoder keeps between two steps, each ``[B, H]``; the first is the hidden state that words are read from."""


class GruCell(nn.Module):
    """Gated recurrent unit out of plain matrix products, which autocast and FLOP counters know."""

    states = 1

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(inputs, 3 * hidden)
        self.of_hidden = nn.Linear(hidden, 3 * hidden)

    def forward(self, inputs: Tensor, state: State) -> State:
        """Map inputs ``[B, I]`` and a state of one tensor ``[B, H]`` to the next state."""
        reset, update, new = self.of_input(inputs).chunk(3, -1)
        reset_kept, update_kept, new_kept = self.of_hidden(state[0]).chunk(3, -1)
        update = torch.sigmoid(update + update_kept)
        new = torch.tanh(new + torch.sigmoid(reset + reset_kept) * new_kept)
        return (new + update * (state[0] - new),)


class LstmCell(nn.Module):
    """Long short-term memory out of plain matrix products."""

    states = 2

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(inputs, 4 * hidden)
        self.of_hidden = nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, inputs: Tensor, state: State) -> State:
        """Map inputs ``[B, I]`` and a state of two tensors ``[B, H]`` to the next state."""
        write, keep, new, read = (self.of_input(inputs) + self.of_hidden(state[0])).chunk(4, -1)
        cell = torch.sigmoid(keep) * state[1] + torch.sigmoid(write) * torch.tanh(new)
        return torch.sigmoid(read) * torch.tanh(cell), cell


class Captioner(nn.Module):
    """Describe images, word by word.

    Args:
        encoder: maps images ``[B, 3, H, W]`` in [0, 1] to feature maps ``[B, width, h, w]``.
        cell: ``"gru"`` or ``"lstm"``.
        vocabulary: what the decoder can generate.
        width: channels of the feature map.
        positions: ``h * w``, written L below.
        hidden: size of the decoder's state.
        attention: size of the attention's hidden layer.
        embedding: size of a word's vector.

    >>> model = captioner_gru(Vocabulary.of(["a red one ."])).eval()
    >>> features = model.encode(torch.zeros(2, 3, 64, 64))
    >>> logits, state = model.step(features, torch.tensor([1, 1]), model.start(features))
    >>> logits.shape
    torch.Size([2, 8])
    """

    def __init__(
        self,
        encoder: nn.Module,
        cell: str,
        vocabulary: Vocabulary,
        *,
        width: int,
        positions: int,
        hidden: int = 256,
        attention: int = 128,
        embedding: int = 64,
    ) -> None:
        super().__init__()
        if cell not in ("gru", "lstm"):
            raise UsageError(f"expected cell gru or lstm, got {cell!r}")
        self.vocabulary = vocabulary
        self.width, self.attention = width, attention
        self.encoder = encoder
        self.places = nn.Parameter(torch.randn(positions, width) * 0.1)
        self.to_keys = nn.Linear(width, attention)
        self.to_query = nn.Linear(hidden, attention)
        self.to_score = nn.Linear(attention, 1, bias=False)
        self.to_gate = nn.Linear(hidden, width)
        self.embedding = nn.Embedding(len(vocabulary), embedding)
        make = GruCell if cell == "gru" else LstmCell
        self.cell = make(embedding + width, hidden)
        self.to_state = nn.Linear(width, hidden * make.states)
        self.to_words = nn.Linear(hidden, len(vocabulary))

    def encode(self, images: Tensor) -> Tensor:
        """Return the features of ``images``, ``[B, L, D]``: at each position what is seen, then its attention key.

        The keys depend on the image alone, so they are computed here, once, and not at every step.
        """
        seen = self.encoder(images).flatten(2).transpose(1, 2) + self.places
        return torch.cat([seen, self.to_keys(seen)], -1)

    def start(self, features: Tensor) -> State:
        """Return the state before the first word."""
        return tuple(self.to_state(features[..., : self.width].mean(1)).chunk(self.cell.states, -1))

    def step(self, features: Tensor, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one word per row, int64 ``[B]``, and return scores of the next, ``[B, V]``, and the next state."""
        state, _ = self._advance(features, self.embedding(ids), state)
        return self.to_words(state[0]), state

    def teacher(self, features: Tensor, ids: Tensor) -> Tensor:
        """Return the scores that predict each of ``ids`` (int64 ``[B, T]``, without the start), ``[B, T, V]``.

        Position t has read the start and the words before t.
        """
        return self.unroll(features, ids)[0]

    def unroll(self, features: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return :meth:`teacher`'s scores, and how the attention lay at each step, ``[B, T, L]``."""
        first = torch.full_like(ids[:, :1], self.vocabulary.start)
        words = self.embedding(torch.cat([first, ids[:, :-1]], 1))
        state = self.start(features)
        hidden, attention = [], []
        for word in words.unbind(1):
            state, weights = self._advance(features, word, state)
            hidden.append(state[0])
            attention.append(weights)
        return self.to_words(torch.stack(hidden, 1)), torch.stack(attention, 1)

    def _advance(self, features: Tensor, words: Tensor, state: State) -> tuple[State, Tensor]:
        """Look, read ``words`` ``[B, E]``, and return the next state and the attention ``[B, L]``."""
        seen, keys = features.split([self.width, self.attention], -1)
        scores = self.to_score(torch.relu(keys + self.to_query(state[0]).unsqueeze(1))).squeeze(-1)
        weights = scores.softmax(-1)
        context = torch.bmm(weights.to(seen.dtype).unsqueeze(1), seen).squeeze(1)
        context = torch.sigmoid(self.to_gate(state[0])) * context
        return self.cell(torch.cat([words, context], -1), state), weights


def _separable(channels_in: int, channels: int, stride: int) -> list[nn.Module]:
    """Return a 3 x 3 convolution per channel and a 1 x 1 convolution over channels (Howard et al., 2017)."""
    return [
        nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_in, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


def _stem(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def captioner_gru(vocabulary: Vocabulary) -> Captioner:
    """Build a MobileNet-like encoder and a GRU decoder for images of 64 x 64 pixels."""
    blocks = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 192, 2), (192, 192, 1), (192, 192, 1), (192, 192, 1)]
    layers = [layer for block in blocks for layer in _separable(*block)]
    return Captioner(nn.Sequential(*_stem(32), *layers), "gru", vocabulary, width=192, positions=64)


def captioner_lstm(vocabulary: Vocabulary) -> Captioner:
    """Build a ResNet-like encoder and an LSTM decoder for images of 64 x 64 pixels."""
    blocks = [BasicBlock(*block) for block in ((32, 64, 2), (64, 128, 2), (128, 128, 1))]
    return Captioner(nn.Sequential(*_stem(32), *blocks), "lstm", vocabulary, width=128, positions=64)

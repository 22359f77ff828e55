"""A small Tacotron (Wang et al., Interspeech 2017): text to a log-mel spectrogram, a few frames a step, until it stops.

Attention is a mixture of bells that only move forward (Graves, 2013; Battenberg et al., ICASSP 2020), which learns to
read a text in order from few recordings.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.zoo.captioning.captioner import GruCell
from torpor.zoo.speech.listener import Listener
from torpor.zoo.speech.symbols import END, PAD, Symbols

BANDS = 40
"""Mel bands of a frame."""
FRAMES = 2
"""Frames per decoder step."""

State = tuple[Tensor, ...]
"""What the decoder keeps, each ``[B, ...]``: hidden state, places of the bells, what it sees, its last frames."""


class Synthesizer(nn.Module):
    """Read a text aloud, as frames of a log-mel spectrogram, and say after each step whether that was all.

    Args:
        embedding: size of a character's vector.
        width: channels of the encoder.
        hidden: size of the decoder's state.
        bells: of the attention.
        dropout: of what the decoder is told of its last frames, in training.

    >>> model = Synthesizer().eval()
    >>> embedded, inside = model.embed(model.ids([model.symbols.encode("six")]))
    >>> memory = model.encode(embedded, inside)
    >>> frames, stop, state = model.step(memory, inside, model.start(memory))
    >>> frames.shape, stop.shape
    (torch.Size([1, 80]), torch.Size([1]))
    """

    symbols = Symbols()

    def __init__(
        self, embedding: int = 64, width: int = 128, hidden: int = 256, bells: int = 4, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.bells, self.hidden, self.width, self.dropout = bells, hidden, width, dropout
        self.embedding = nn.Embedding(self.symbols.size, embedding)
        self.near = nn.Conv1d(embedding, width, 5, padding=2)
        self.far = nn.Conv1d(width, width, 5, padding=2)
        self.told = nn.Linear(FRAMES * BANDS, 64)
        self.cell = GruCell(64 + width, hidden)
        self.to_bells = nn.Linear(hidden, 3 * bells)
        self.to_frames = nn.Linear(hidden + width, FRAMES * BANDS)
        self.to_stop = nn.Linear(hidden + width, 1)
        self.listener = Listener(BANDS)

    def ids(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return encoded texts with their end, padded, int64 ``[B, L]``."""
        longest = max(map(len, texts)) + 1
        return torch.tensor([[*text, END, *[PAD] * (longest - len(text) - 1)] for text in texts])

    def embed(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of tokens ``[B, L, E]``, and which are no padding, bool ``[B, L]``."""
        return self.embedding(ids), ids != PAD

    def encode(self, embedded: Tensor, inside: Tensor) -> Tensor:
        """Return what is read at each token, ``[B, L, D]``; padding has no influence on what is before it."""
        there = inside.unsqueeze(1).to(embedded)
        first = torch.relu(self.near(embedded.transpose(1, 2) * there)) * there
        second = torch.relu(self.far(first)) * there
        return second.transpose(1, 2)

    def start(self, memory: Tensor) -> State:
        """Return the state before the first step."""
        rows = len(memory)
        sizes = (self.hidden, self.bells, self.width, FRAMES * BANDS)
        return tuple(memory.new_zeros(rows, size) for size in sizes)

    def step(self, memory: Tensor, inside: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Return the next frames ``[B, FRAMES * BANDS]``, the logit of stopping after them ``[B]``, and the state."""
        told = self._tell(state[3])
        said, stop, state = self._advance(memory, inside, told, state)
        return said, stop, (*state[:3], said)

    def teacher(self, memory: Tensor, inside: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames and stop logits after each step, told the true frames before.

        Args:
            memory: of the texts, ``[B, L, D]``.
            inside: which are characters, ``[B, L]``.
            frames: true ones, ``[B, T, FRAMES * BANDS]``.

        Returns:
            Frames ``[B, T, FRAMES * BANDS]`` and logits ``[B, T]``.
        """
        before = torch.cat([torch.zeros_like(frames[:, :1]), frames[:, :-1]], 1)
        state, said, stops = self.start(memory), [], []
        for told in self._tell(before).unbind(1):
            one, stop, state = self._advance(memory, inside, told, state)
            said.append(one)
            stops.append(stop)
        return torch.stack(said, 1), torch.stack(stops, 1)

    def hear(self, frames: Tensor) -> str:
        """Return the names of the digits that are spoken in the frames of all steps, ``[T, FRAMES * BANDS]``."""
        return self.listener.hear(frames.to(self.embedding.weight).view(-1, BANDS))

    def _tell(self, frames: Tensor) -> Tensor:
        return F.dropout(torch.relu(self.told(frames)), self.dropout, self.training)

    def _advance(self, memory: Tensor, inside: Tensor, told: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        (hidden,) = self.cell(torch.cat([told, state[2]], 1), state[:1])
        share, move, spread = self.to_bells(hidden).chunk(3, 1)
        places = state[1] + F.softplus(move)
        spread = F.softplus(spread + 1) + 0.05
        away = torch.arange(memory.shape[1], device=memory.device) - places.unsqueeze(2)
        bells = torch.exp(-0.5 * (away / spread.unsqueeze(2)).square()) * (share.softmax(1) / spread / 2.5).unsqueeze(2)
        weights = bells.sum(1) * inside.to(bells)
        seen = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        both = torch.cat([hidden, seen], 1)
        said = self.to_frames(both)
        return said, self.to_stop(both).squeeze(1), (hidden, places, seen, state[3])

"""Exits of a language model: after each layer but the last, a score of how sure it is, and a way to the one head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ExitHeads(nn.Module):
    """One exit per layer but the last: a linear score, and a residual matrix before the model's own norm and head.

    Args:
        width: of hidden states.
        exits: how many.
        eps: of the norm.
    """

    def __init__(self, width: int, exits: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.score = nn.ModuleList(nn.Linear(width, 1) for _ in range(exits))
        mixes = [nn.Linear(width, width, bias=False) for _ in range(exits)]
        for mix in mixes:
            nn.init.zeros_(mix.weight)
        self.mix = nn.ModuleList(mixes)
        self.scale = nn.ParameterList(nn.Parameter(torch.ones(width)) for _ in range(exits))

    def __len__(self) -> int:
        return len(self.score)

    def sureness(self, number: int, states: Tensor) -> Tensor:
        """Return the log odds that the exit says what the last layer would, ``[...]``, of states ``[..., D]``."""
        found: Tensor = self.score[number](F.rms_norm(states, states.shape[-1:], eps=self.eps)).squeeze(-1)
        return found

    def leave(self, number: int, states: Tensor) -> Tensor:
        """Return what the head reads of states ``[..., D]`` that leave at an exit."""
        return F.rms_norm(states + self.mix[number](states), states.shape[-1:], self.scale[number], self.eps)

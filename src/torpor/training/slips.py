"""Mistakes in what a decoder is given in training: one that has seen only true beginnings loops at its first error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.zoo.language.tokenizer import SPECIAL


@dataclass(frozen=True)
class Slips:
    """Mistakes put into what a decoder is given, so that it learns to find back, and to end, after its own.

    Attributes:
        wrong: share of its tokens that are random ones instead.
        repeated: mean share of tokens that repeat the one before; rows differ, from none to twice as many.
    """

    wrong: float = 0.0
    repeated: float = 0.0

    def __call__(self, given: Tensor, vocabulary: int) -> Tensor:
        """Return tokens ``[B, T]`` with mistakes in place of some that are not special.

        >>> set(Slips(repeated=0.5)(torch.tensor([[1, 7, 8, 9]]), 10).flatten().tolist()) <= {1, 7, 8, 9}
        True
        """
        shape, device, own = given.shape, given.device, given >= len(SPECIAL)
        if self.wrong:
            random = torch.randint(len(SPECIAL), vocabulary, shape, device=device)
            given = torch.where((torch.rand(shape, device=device) < self.wrong) & own, random, given)
        if self.repeated:
            rates = 2 * self.repeated * torch.rand(shape[0], 1, device=device)
            repeats = (torch.rand(shape, device=device) < rates) & own & own.roll(1, 1)
            places = torch.arange(shape[1], device=device).where(~repeats, 0)
            given = given.gather(1, places.cummax(1).values)
        return given


FLAWLESS = Slips()

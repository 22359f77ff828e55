"""Stops: what ends an output before its end token or the cap does, step by step, while it is decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.core.errors import UsageError

PERIODS = 16
"""Tokens of the longest cycle that :class:`Repetition` looks for."""
SURE = 1 - 1e-6
"""Probabilities of the end token above this count as this: the hazard of certainty would be infinite."""


class Stop(ABC):
    """Decides after each step whether the output ends there, with the tokens so far.

    It sees what decoding computes anyway, and compares: it costs no FLOPs that torpor counts.
    """

    @abstractmethod
    def margin(self, ids: Tensor, ends: Tensor) -> Tensor:
        """Return how far each row is past its end, ``[B]``; 0 or more ends it.

        Args:
            ids: tokens so far, the newest included, int64 ``[B, T]``.
            ends: probability of the end tokens at each of these steps, before any processing, ``[B, T]``.
        """


@dataclass(frozen=True)
class Repetition(Stop):
    """End an output that goes in circles: its last tokens are one cycle, ``repeats`` times in a row.

    Attributes:
        repeats: rounds of a cycle that end the output.

    >>> Repetition(3).margin(torch.tensor([[9, 1, 2, 1, 2, 1, 2], [9, 1, 2, 1, 2, 1, 3]]), torch.zeros(2, 7)) >= 0
    tensor([ True, False])
    """

    repeats: int

    def __post_init__(self) -> None:
        if self.repeats < 2:
            raise UsageError(f"expected 2 rounds of a cycle or more, got {self.repeats}")

    def margin(self, ids: Tensor, ends: Tensor) -> Tensor:
        """See :meth:`Stop.margin`; infinite, since tokens do not depend on rounding."""
        circles = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        for period in range(1, min(PERIODS, ids.shape[1] // self.repeats) + 1):
            last = ids[:, -self.repeats * period :]
            circles |= (last[:, period:] == last[:, :-period]).all(1)
        return torch.where(circles, torch.inf, -torch.inf)


@dataclass(frozen=True)
class EndHazard(Stop):
    """End an output whose end token was likely for so long that clean outputs would have ended.

    The hazard of a step is ``-log(1 - p)``, where ``p`` is the probability of the end token; their sum is what survival
    analysis calls the cumulative hazard.

    Attributes:
        threshold: cumulative hazard that ends the output.

    >>> EndHazard(1.0).margin(torch.zeros(2, 2, dtype=torch.int64), torch.tensor([[0.5, 0.5], [0.1, 0.5]])) >= 0
    tensor([ True, False])
    """

    threshold: float

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise UsageError(f"expected a hazard above 0, got {self.threshold}")

    def margin(self, ids: Tensor, ends: Tensor) -> Tensor:
        """See :meth:`Stop.margin`; a logarithm of ratios, since hazards differ by orders of magnitude."""
        return (cumulative_hazard(ends)[:, -1] / self.threshold).log()


def cumulative_hazard(ends: Tensor) -> Tensor:
    """Return the sum of ``-log(1 - p)`` over the steps so far, float64 ``[B, T]``, of probabilities ``[B, T]``."""
    return -torch.log1p(-ends.to(torch.float64).clamp_max(SURE)).cumsum(1)


def end_probability(logits: Tensor, eos: Sequence[int]) -> Tensor:
    """Return the probability of the end tokens, ``[...]``, given logits ``[..., V]``.

    >>> end_probability(torch.tensor([[0.0, 0.0, 0.0, 0.0]]), (1, 2)).item()
    0.5
    """
    return logits.softmax(-1)[..., list(eos)].sum(-1)


def most_repeats(ids: Sequence[int]) -> int:
    """Return how many rounds in a row the longest-lasting cycle of an output makes, whole ones.

    >>> most_repeats([7, 1, 2, 1, 2, 1, 2, 1]), most_repeats([1, 2, 3])
    (3, 1)
    """
    most = 1
    for period in range(1, min(PERIODS, len(ids) // 2) + 1):
        same = 0
        for token, before in zip(ids[period:], ids, strict=False):
            same = same + 1 if token == before else 0
            most = max(most, 1 + same // period)
    return most


class Watch:
    """What a stop has seen of the rows that are still decoded.

    Args:
        stop: what decides; nothing if None.
        eos: ids of the tokens that end an output.
    """

    def __init__(self, stop: Stop | None, eos: Sequence[int]) -> None:
        self.stop, self.eos = stop, eos
        self._ids: list[Tensor] = []
        self._ends: list[Tensor] = []

    def __call__(self, tokens: Tensor, logits: Tensor) -> Tensor:
        """Return the margin ``[N]`` of each row after a step that chose ``tokens`` ``[N]`` by ``logits`` ``[N, V]``."""
        if self.stop is None:
            return torch.full(tokens.shape, -torch.inf, device=tokens.device)
        self._ids.append(tokens)
        self._ends.append(end_probability(logits.detach(), self.eos))
        return self.stop.margin(torch.stack(self._ids, 1), torch.stack(self._ends, 1))

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these: indices, or a mask, bool ``[N]``."""
        self._ids = [part[rows] for part in self._ids]
        self._ends = [part[rows] for part in self._ends]
